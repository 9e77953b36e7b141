//! What is mounted inside an image. Every place is found as the image's own processes would find it, so that no link of the image
//! leads to a place of the head.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::spec::Spec;
use super::{Bind, BindMode};
use crate::image::ImageError;
use crate::image::error::Doing as _;
use crate::image::tree::Tree;

const NONE: Option<&str> = None;
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Device files that programs expect.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What lies over the tree.
pub(super) struct Laid {
    /// The directory that becomes the root.
    pub(super) root: PathBuf,
    /// Whether it is an overlay file system with the tree as its upper layer.
    pub(super) overlaid: bool,
}

fn attach(source: &str, target: &Path, kind: &str, flags: MsFlags, options: &str) -> Result<(), ImageError> {
    mount(Some(source), target, Some(kind), flags, Some(options)).doing("mount", target)
}

/// Binds `source` to `target`.
pub(super) fn bind(source: &Path, target: &Path, read_only: bool) -> Result<(), ImageError> {
    mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).doing("mount", source)?;
    if read_only {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(NONE, target, NONE, flags, NONE).doing("mount read-only", target)?;
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), ImageError> {
    DirBuilder::new().recursive(true).mode(0o755).create(path).doing("create", path)
}

/// Lays an overlay file system over the tree where something is missing that is to be mounted on, or nothing may be changed.
pub(super) fn lay(spec: &Spec) -> Result<Laid, ImageError> {
    let tree = Tree::new(&spec.root);
    let (merged, lower, work) = (spec.scratch.join("root"), spec.scratch.join("lower"), spec.scratch.join("work"));
    let upper = spec.scratch.join("upper");
    for path in [&merged, &lower, &work, &upper] {
        make_dir(path)?;
    }
    if spec.view {
        let layers = [("lowerdir", &spec.root), ("upperdir", &upper), ("workdir", &work)];
        overlay(&layers, &merged)?;
        // Only for this session, and before it becomes read-only.
        places(spec).into_iter().try_for_each(|place| make_place(&merged, &place))?;
        return Ok(Laid { root: merged, overlaid: false });
    }
    let missing: Vec<Place> = places(spec).into_iter().filter(|place| tree.resolve(&place.path).is_err()).collect();
    if missing.is_empty() {
        // A mount of its own, as chroot in a tree that is one behaves best.
        bind(&spec.root, &merged, false)?;
        return Ok(Laid { root: merged, overlaid: false });
    }
    // Below the tree lies a layer that has nothing but the mount points: the image itself gets none.
    for place in &missing {
        let inside = existing_part(&tree, &place.path);
        make_place(&lower, &Place { path: inside, is_dir: place.is_dir })?;
    }
    overlay(&[("lowerdir", &lower), ("upperdir", &spec.root), ("workdir", &work)], &merged)?;
    Ok(Laid { root: merged, overlaid: true })
}

fn overlay(layers: &[(&str, &PathBuf)], target: &Path) -> Result<(), ImageError> {
    let mut options = vec![];
    for (name, path) in layers {
        let path = path
            .to_str()
            .filter(|path| !path.contains([',', ':', '\\']))
            .ok_or_else(|| io::Error::other("its path has a character that a mount option cannot have"));
        options.push(format!("{name}={}", path.doing("mount", path_of(layers))?));
    }
    attach("overlay", target, "overlay", MsFlags::empty(), &options.join(","))
}

fn path_of<'a>(layers: &[(&str, &'a PathBuf)]) -> &'a Path {
    layers.first().map_or(Path::new("overlay"), |(_, path)| path)
}

/// Something that is to be mounted on.
struct Place {
    path: PathBuf,
    is_dir: bool,
}

fn places(spec: &Spec) -> Vec<Place> {
    let fixed = ["/proc", "/sys", "/dev", "/run", "/tmp"].map(|path| Place { path: path.into(), is_dir: true });
    let mut places: Vec<Place> = fixed.into();
    if spec.binds.iter().all(|bind| bind.target != Path::new(RESOLV_CONF)) && Path::new(RESOLV_CONF).exists() {
        places.push(Place { path: RESOLV_CONF.into(), is_dir: false });
    }
    let binds = spec.binds.iter().filter(|bind| bind.mode != BindMode::Copy || spec.view);
    places.extend(binds.map(|bind| Place { path: bind.target.clone(), is_dir: bind.source.is_dir() }));
    places
}

/// The path without links as far as the tree has it: where a mount point has to be below the tree.
fn existing_part(tree: &Tree, path: &Path) -> PathBuf {
    let found = tree.resolve_or(path, |_| Ok(()));
    let found = found.unwrap_or_else(|_| tree.root().join(path.strip_prefix("/").unwrap_or(path)));
    found.strip_prefix(tree.root()).unwrap_or(&found).to_owned()
}

/// Makes a mount point below `root`, which has no foreign links, or is written to for this session only.
fn make_place(root: &Path, place: &Place) -> Result<(), ImageError> {
    let tree = Tree::new(root);
    let make = |path: &Path, is_dir: bool| -> io::Result<()> {
        if is_dir {
            DirBuilder::new().mode(0o755).create(path)
        } else {
            File::options().write(true).create_new(true).mode(0o644).open(path).map(drop)
        }
    };
    let above = place.path.parent().unwrap_or(Path::new("/"));
    let above = tree.resolve_or(above, |missing| make(missing, true)).doing("create", above)?;
    let last = above.strip_prefix(root).unwrap_or(&above).join(place.path.file_name().unwrap_or_default());
    tree.resolve_or(&last, |missing| make(missing, place.is_dir)).doing("create", &place.path)?;
    Ok(())
}

/// Mounts everything that programs expect, and what they were given.
pub(super) fn furnish(root: &Path, spec: &Spec) -> Result<(), ImageError> {
    let tree = Tree::new(root);
    let place = |path: &str| tree.resolve(path).doing("find", path);
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    attach("proc", &place("/proc")?, "proc", quiet, "")?;
    attach("sysfs", &place("/sys")?, "sysfs", quiet | MsFlags::MS_RDONLY, "")?;
    attach("tmpfs", &place("/run")?, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=755")?;
    if spec.view {
        attach("tmpfs", &place("/tmp")?, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777")?;
    }
    furnish_dev(&place("/dev")?)?;
    resolv_conf(&tree, spec)?;
    for given in &spec.binds {
        match given.mode {
            BindMode::Copy if !spec.view => {}
            mode => {
                let target = tree.resolve(&given.target).doing("find", &given.target)?;
                bind(&given.source, &target, mode != BindMode::ReadWrite || spec.view)?;
            }
        }
    }
    Ok(())
}

fn furnish_dev(dev: &Path) -> Result<(), ImageError> {
    attach("tmpfs", dev, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, "mode=755")?;
    for name in DEVICES {
        let (device, target) = (Path::new("/dev").join(name), dev.join(name));
        if device.exists() {
            File::create(&target).doing("create", &target)?;
            bind(&device, &target, false)?;
        }
    }
    let pts = dev.join("pts");
    make_dir(&pts)?;
    let options = "newinstance,ptmxmode=0666,mode=620,gid=5";
    attach("devpts", &pts, "devpts", MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, options)?;
    let shm = dev.join("shm");
    make_dir(&shm)?;
    attach("tmpfs", &shm, "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, "mode=1777")?;
    for (link, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        let link = dev.join(link);
        symlink(target, &link).doing("create", &link)?;
    }
    Ok(())
}

/// Names are looked up as on the head. In many images the file is a link into `/run`, which is empty here.
fn resolv_conf(tree: &Tree, spec: &Spec) -> Result<(), ImageError> {
    let own = Path::new(RESOLV_CONF);
    if spec.binds.iter().any(|bind| bind.target == own) || !own.exists() {
        return Ok(());
    }
    let make = |missing: &Path| -> io::Result<()> {
        // Only below /run is anything missing by now, and that is this session's.
        if missing.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".conf")) {
            File::create(missing).map(drop)
        } else {
            DirBuilder::new().mode(0o755).create(missing)
        }
    };
    let target = tree.resolve_or(own, make).doing("create", own)?;
    let source = fs::canonicalize(own).doing("find", own)?;
    bind(&source, &target, true)
}

/// Puts copies of the head's files into the tree where it has none. Returns those that were made.
pub(super) fn copy_in(root: &Path, binds: &[Bind]) -> Result<Vec<(PathBuf, Vec<u8>)>, ImageError> {
    let (tree, mut made) = (Tree::new(root), vec![]);
    for given in binds.iter().filter(|bind| bind.mode == BindMode::Copy) {
        if tree.resolve(&given.target).is_ok() {
            continue;
        }
        let content = fs::read(&given.source).doing("read", &given.source)?;
        make_place(root, &Place { path: given.target.clone(), is_dir: false })?;
        let target = tree.resolve(&given.target).doing("find", &given.target)?;
        fs::copy(&given.source, &target).doing("write", &target)?;
        made.push((target, content));
    }
    Ok(made)
}

/// Removes copies that nobody changed.
pub(super) fn copies_out(made: &[(PathBuf, Vec<u8>)]) {
    for (path, content) in made {
        if fs::read(path).is_ok_and(|now| now == *content) {
            // It stays then, as a changed one does.
            drop(fs::remove_file(path));
        }
    }
}
