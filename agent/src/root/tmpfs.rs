//! Mounting a tmpfs (tmpfs(5)) with what the kernel can of what we want.

use std::ffi::CString;
use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::error::RootError;
use super::memory::interleave;

/// What a tmpfs shall be.
pub(super) struct Tmpfs<'a> {
    /// Bytes it may hold.
    pub(super) size: u64,
    /// Mode of its root.
    pub(super) mode: u32,
    /// Its pages never go to swap, where the kernel can promise that (6.4).
    pub(super) noswap: bool,
    /// Mount flags.
    pub(super) flags: MountFlags,
    /// What /proc/mounts shows as its source.
    pub(super) name: &'a str,
}

impl Tmpfs<'_> {
    /// Mounts it. Options that an older kernel refuses are left out, the least important first. Pages are spread over
    /// the NUMA nodes that have CPUs: the chunks arrive in one thread and would otherwise fill one node's memory.
    pub(super) fn mount(&self, target: &Path) -> Result<(), RootError> {
        let list = |name| fs::read_to_string(format!("/sys/devices/system/node/{name}")).unwrap_or_default();
        let policy = interleave(&list("has_cpu"), &list("has_memory"));
        let mut wanted: Vec<&str> = self.noswap.then_some("noswap").into_iter().collect();
        wanted.extend(policy.as_deref());
        loop {
            let mut options = format!("size={},mode={:o}", self.size, self.mode);
            for option in &wanted {
                options.push(',');
                options.push_str(option);
            }
            let what = format_args!("mount a tmpfs ({options}) on {}", target.display()).to_string();
            let data = CString::new(options).map_err(|_| RootError::during(&what)(Errno::INVAL))?;
            match mount(self.name, target, "tmpfs", self.flags, data.as_c_str()) {
                Ok(()) => return Ok(()),
                Err(Errno::INVAL) if !wanted.is_empty() => {
                    wanted.remove(0);
                }
                Err(error) => return Err(RootError::during(what)(error)),
            }
        }
    }
}

/// Mounts that are taken away again, the last first, unless the work they belong to ends well.
#[derive(Debug, Default)]
pub(super) struct Undo(Vec<std::path::PathBuf>);

impl Undo {
    /// Remembers a mount.
    pub(super) fn add(&mut self, target: &Path) {
        self.0.push(target.to_owned());
    }

    /// The work ended well.
    pub(super) fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        for target in self.0.iter().rev() {
            if let Err(error) = unmount(&**target, UnmountFlags::DETACH) {
                tracing::warn!(%error, target = %target.display(), "cannot unmount");
            }
        }
    }
}
