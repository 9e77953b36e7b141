//! From a blob to a root: loop + squashfs + overlayfs, or an unpacked tmpfs.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use wulfpack_shared::wire::RootMode;

use super::acls;
use super::copy::{copy_attributes, copy_tree, open_dir};
use super::dirs::mount_dirs;
use super::early::is_mounted;
use super::error::{RootError, make_dir};
use super::loopdev::LoopDevice;
use super::memory::MemoryPlan;
use super::tmpfs::{Tmpfs, Undo};

/// What to make.
#[derive(Clone, Debug)]
pub struct RootSpec<'a> {
    /// How the root lies on the node.
    pub mode: RootMode,
    /// The squashfs blob, complete and verified.
    pub blob: &'a Path,
    /// Sizes, from [`super::check_memory`].
    pub memory: MemoryPlan,
    /// Where the root is mounted; made if it is missing.
    pub newroot: &'a Path,
    /// A directory below /run for the layers below the root, which live as long as it; made 0700.
    pub work: &'a Path,
    /// Directories that become tmpfs of their own over the image's content, absolute as in the registry.
    pub tmpfs_dirs: &'a [String],
}

/// A mounted root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Where it is mounted.
    pub newroot: PathBuf,
    /// What the person at the console should know.
    pub notes: Vec<String>,
}

/// Mounts the root. Nothing of it stays mounted if it fails, so it may be called again. Blocks.
///
/// # Errors
/// The first step that failed.
pub fn assemble(spec: &RootSpec<'_>) -> Result<Root, RootError> {
    use std::os::unix::fs::DirBuilderExt;
    let make = RootError::io(format!("make the directory {}", spec.work.display()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(spec.work).map_err(make)?;
    make_dir(spec.newroot)?;
    clear(spec)?;
    let mut undo = Undo::default();
    let mut notes = vec![];
    match spec.mode {
        RootMode::Overlay => overlay(spec, &mut undo)?,
        RootMode::Tmpfs => unpack(spec, &mut undo, &mut notes)?,
    }
    acls::restore(spec.newroot, &mut notes)?;
    mount_dirs(spec, &mut undo, &mut notes)?;
    undo.keep();
    Ok(Root { newroot: spec.newroot.to_owned(), notes })
}

/// Takes away what a process left that ended between this step and the pivot.
fn clear(spec: &RootSpec<'_>) -> Result<(), RootError> {
    for left in [spec.newroot.to_owned(), spec.work.join("write"), spec.work.join("lower")] {
        while left.is_dir() && is_mounted(&left)? {
            let what = RootError::during(format!("unmount {} of an earlier try", left.display()));
            unmount(&left, UnmountFlags::DETACH).map_err(what)?;
        }
    }
    Ok(())
}

/// Mounts the blob read-only on `target`.
pub(super) fn squashfs(blob: &Path, target: &Path) -> Result<(), RootError> {
    make_dir(target)?;
    let device = LoopDevice::attach(blob)?;
    // Without it one core decompresses for all (Linux 6.2 and CONFIG_SQUASHFS_CHOICE_DECOMP_BY_MOUNT).
    let mut mounted = mount(device.path(), target, "squashfs", MountFlags::RDONLY, c"threads=multi");
    if mounted == Err(Errno::INVAL) {
        mounted = mount(device.path(), target, "squashfs", MountFlags::RDONLY, None);
    }
    mounted.map_err(RootError::during(format_args!(
        "mount the image (squashfs on {}) on {}",
        device.path().display(),
        target.display()
    )))
}

/// The tmpfs for what the node writes or for the unpacked tree.
fn root_tmpfs(spec: &RootSpec<'_>, target: &Path, name: &str) -> Result<(), RootError> {
    make_dir(target)?;
    // Device nodes of the image must work, and programs run from here.
    Tmpfs { size: spec.memory.root, mode: 0o755, noswap: false, flags: MountFlags::empty(), name }.mount(target)
}

fn overlay(spec: &RootSpec<'_>, undo: &mut Undo) -> Result<(), RootError> {
    let (lower, write) = (spec.work.join("lower"), spec.work.join("write"));
    squashfs(spec.blob, &lower)?;
    undo.add(&lower);
    root_tmpfs(spec, &write, "wulfpack-upper")?;
    undo.add(&write);
    let (upper, work) = (write.join("upper"), write.join("work"));
    make_dir(&upper)?;
    make_dir(&work)?;
    // The root directory itself shows the attributes of the upper layer.
    copy_attributes(open_dir(&lower)?.as_fd(), open_dir(&upper)?.as_fd())?;
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let what = format!("mount the root (overlay: {options}) on {}", spec.newroot.display());
    let options = CString::new(options).map_err(|_| RootError::during(&what)(Errno::INVAL))?;
    mount("wulfpack-root", spec.newroot, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(RootError::during(what))?;
    undo.add(spec.newroot);
    Ok(())
}

fn unpack(spec: &RootSpec<'_>, undo: &mut Undo, notes: &mut Vec<String>) -> Result<(), RootError> {
    let lower = spec.work.join("lower");
    squashfs(spec.blob, &lower)?;
    let mut image = Undo::default();
    image.add(&lower);
    root_tmpfs(spec, spec.newroot, "wulfpack-root")?;
    undo.add(spec.newroot);
    let copied = copy_tree(open_dir(&lower)?.as_fd(), open_dir(spec.newroot)?.as_fd())?;
    image.keep();
    unmount(&lower, UnmountFlags::empty()).map_err(RootError::during(format_args!("unmount {}", lower.display())))?;
    if copied.dropped_attributes > 0 {
        notes.push(format!(
            "{} extended attributes were left out, this kernel's tmpfs cannot hold them (user.* needs Linux 6.6)",
            copied.dropped_attributes
        ));
    }
    tracing::debug!(?copied, "image unpacked");
    Ok(())
}
