//! A read-only loop device (loop(4)).
#![expect(unsafe_code, reason = "no dependency wraps the loop driver's ioctls")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno as NixErrno;
use rustix::io::Errno;

use super::error::RootError;

const READ_ONLY: u32 = 1;
/// The device lets go of its file when it is last closed or unmounted.
const AUTOCLEAR: u32 = 4;
/// Devices that another process may take between "which is free" and "mine".
const TRIES: usize = 16;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo>() == 232 && size_of::<LoopConfig>() == 304);

mod ioctl {
    use super::{LoopConfig, LoopInfo};
    nix::ioctl_none_bad!(ctl_get_free, 0x4c82);
    nix::ioctl_write_ptr_bad!(configure, 0x4c0a, LoopConfig);
    nix::ioctl_write_int_bad!(set_fd, 0x4c00);
    nix::ioctl_write_ptr_bad!(set_status64, 0x4c04, LoopInfo);
    nix::ioctl_none_bad!(clear_fd, 0x4c01);
}

fn info(path: &Path) -> LoopInfo {
    let mut file_name = [0; 64];
    // What losetup(8) shows; the last byte stays zero.
    for (to, from) in file_name.iter_mut().take(63).zip(path.as_os_str().as_encoded_bytes()) {
        *to = *from;
    }
    LoopInfo {
        device: 0,
        inode: 0,
        rdevice: 0,
        offset: 0,
        size_limit: 0,
        number: 0,
        encrypt_type: 0,
        encrypt_key_size: 0,
        flags: READ_ONLY | AUTOCLEAR,
        file_name,
        crypt_name: [0; 64],
        encrypt_key: [0; 32],
        init: [0; 2],
    }
}

/// A loop device over a file. Drop it after mounting: the mount keeps the device, and the last unmount frees it.
#[derive(Debug)]
pub(super) struct LoopDevice {
    _open: File,
    path: PathBuf,
}

impl LoopDevice {
    /// Attaches `file` read-only to a free device.
    pub(super) fn attach(file: &Path) -> Result<Self, RootError> {
        let failed = |what: &str| {
            let what = format!("{what} for {}", file.display());
            move |error: io::Error| RootError::io(what)(error)
        };
        let backing = File::open(file).map_err(failed("open the image"))?;
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")
            .map_err(failed("open /dev/loop-control"))?;
        for _ in 0..TRIES {
            // SAFETY: takes no argument, returns a number.
            let number = unsafe { ioctl::ctl_get_free(control.as_raw_fd()) };
            let number = number.map_err(|error| failed("get a free loop device")(error.into()))?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = File::open(&path).map_err(failed(&format!("open {}", path.display())))?;
            match configure(&device, &backing, file) {
                Ok(()) => return Ok(Self { _open: device, path }),
                Err(NixErrno::EBUSY) => {}
                Err(error) => return Err(failed(&format!("set {} up", path.display()))(error.into())),
            }
        }
        Err(RootError::during("get a free loop device")(Errno::BUSY))
    }

    /// Its path below /dev.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn configure(device: &File, backing: &File, name: &Path) -> Result<(), NixErrno> {
    let fd = u32::try_from(backing.as_raw_fd()).map_err(|_| NixErrno::EBADF)?;
    let config = LoopConfig { fd, block_size: 0, info: info(name), reserved: [0; 8] };
    // SAFETY: the kernel reads one loop_config, which this is.
    match unsafe { ioctl::configure(device.as_raw_fd(), &raw const config) } {
        Ok(_) => Ok(()),
        // Before Linux 5.8 there are two steps.
        Err(NixErrno::EINVAL | NixErrno::ENOTTY) => {
            // SAFETY: takes a descriptor by value.
            unsafe { ioctl::set_fd(device.as_raw_fd(), backing.as_raw_fd()) }?;
            // SAFETY: the kernel reads one loop_info64, which this is.
            let set = unsafe { ioctl::set_status64(device.as_raw_fd(), &raw const config.info) };
            if set.is_err() {
                // SAFETY: takes no argument.
                let _cleared = unsafe { ioctl::clear_fd(device.as_raw_fd()) };
            }
            set.map(drop)
        }
        Err(error) => Err(error),
    }
}
