//! `wulf image` where it cannot succeed: a full disk, a file that cannot be read, no kernel. The real program, as root; it says
//! what is wrong, and what was there before is there after.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;
use serde_json::Value;
use wulfpack_head::config::Paths;
use wulfpack_tests::harness::{TINY_RELEASE, head_binary, noise, require, tiny_root};

#[path = "lab_image/registry.rs"]
mod registry;
#[path = "lab_image/session.rs"]
mod session;
#[path = "lab_image/versions.rs"]
mod versions;

const MIB: usize = 1 << 20;

/// A head that was set up below a directory of its own.
struct Head {
    dir: PathBuf,
    paths: Paths,
    /// Capabilities that its commands do without.
    without: &'static [&'static str],
    /// Their environment, beside ours.
    environment: Vec<(&'static str, String)>,
}

impl Head {
    /// Runs `work` with a head whose state lies on a disk of `size`, which only this thread and its children see.
    fn on_disk(size: &str, work: impl FnOnce(Self) -> Result<()> + Send) -> Result<()> {
        require(&["mksquashfs", "setpriv", "tar"])?;
        // Outlives the thread, and with it what is mounted below.
        let scratch = tempfile::tempdir()?;
        let within = || {
            let dir = scratch.path().to_owned();
            let paths = Paths::below(&dir);
            fs::create_dir_all(&paths.state)?;
            unshare(CloneFlags::CLONE_NEWNS).context("a lab mounts file systems: it has to run as root")?;
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            let options = format!("size={size},mode=755");
            mount(Some("tmpfs"), &paths.state, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))?;
            let head = Self { dir, paths, without: &[], environment: vec![] };
            head.ok(&["init", "--below", &head.dir.to_string_lossy()])?;
            work(head)
        };
        std::thread::scope(|scope| scope.spawn(within).join()).map_err(|_| anyhow!("the test panicked"))?
    }

    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new("setpriv");
        if !self.without.is_empty() {
            command.arg("--bounding-set").arg(self.without.join(","));
        }
        command.arg("--").arg(head_binary()?).arg("--config").arg(self.paths.etc.join("wulfpack.yaml"));
        command.args(arguments).envs(self.environment.iter().cloned()).output().context("start wulf")
    }

    fn ok(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs what has to fail, and returns what it says.
    fn fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stderr)?)
    }

    fn import(&self, source: &Path) -> [String; 4] {
        ["image", "import", &source.to_string_lossy(), "tiny"].map(String::from)
    }

    /// What `wulf image list` and the disk know of images.
    fn images(&self) -> Result<(Value, Vec<String>)> {
        let list = serde_json::from_str(&self.ok(&["image", "list", "--output", "json"])?)?;
        let mut found = vec![];
        for image in fs::read_dir(self.paths.images())? {
            let image = image?.path();
            for entry in fs::read_dir(&image)? {
                found.push(format!("{}/{}", name_of(&image), name_of(&entry?.path())));
            }
        }
        found.sort();
        Ok((list, found))
    }

    /// Bytes in use on the disk.
    fn used(&self) -> Result<u64> {
        let disk = statvfs(&self.paths.state)?;
        Ok((disk.blocks() - disk.blocks_free()) * disk.fragment_size())
    }

    fn rootfs(&self) -> PathBuf {
        self.paths.images().join("tiny/rootfs")
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The text arguments as slices.
fn words(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// A source of that many bytes and some.
fn source(dir: &Path, len: usize) -> Result<PathBuf> {
    let root = dir.join(format!("tree-{len}"));
    tiny_root(&root, len, 0)?;
    Ok(root)
}

fn kernel(root: &Path) -> PathBuf {
    root.join("boot").join(format!("vmlinuz-{TINY_RELEASE}"))
}

/// The same as an archive.
fn archive(root: &Path) -> Result<PathBuf> {
    let tar = root.with_extension("tar");
    let status = Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(root).arg(".").status()?;
    assert!(status.success());
    Ok(tar)
}

#[test]
fn an_import_that_fills_the_disk_leaves_nothing_and_says_what_to_do() -> Result<()> {
    Head::on_disk("10m", |head| {
        let large = source(&head.dir, 16 * MIB)?;
        let before = head.used()?;
        for from in [&large, &archive(&large)?] {
            let error = head.fails(&words(&head.import(from)))?;
            assert!(
                error.contains("tiny") && error.contains("free some space and repeat, nothing was changed"),
                "{error}"
            );
            assert_eq!(head.images()?, (Value::Array(vec![]), vec![]));
            assert!(head.used()? < before + 64 * 1024, "{} bytes are in use, before it were {before}", head.used()?);
        }
        // What fits goes in; what does not fit in its place leaves it as it is.
        let small = source(&head.dir, 2 * MIB)?;
        head.ok(&words(&head.import(&small)))?;
        let content = fs::read(head.rootfs().join("etc/content"))?;
        let error = head.fails(&[&words(&head.import(&large))[..], &["--force"]].concat())?;
        assert!(error.contains("free some space"), "{error}");
        assert!(fs::read(head.rootfs().join("etc/content"))? == content);
        assert_eq!(head.images()?.1, ["tiny/lock", "tiny/origin.json", "tiny/rootfs"]);
        Ok(())
    })
}

#[test]
fn a_build_that_fills_the_disk_leaves_the_version_that_nodes_boot() -> Result<()> {
    Head::on_disk("16m", |head| {
        head.ok(&words(&head.import(&source(&head.dir, MIB)?)))?;
        head.ok(&["image", "build", "tiny"])?;
        let (built, before) = (head.images()?, head.used()?);
        let versions = || -> Result<Vec<String>> {
            let entries = fs::read_dir(head.paths.images().join("tiny/versions"))?;
            entries.map(|entry| Ok(name_of(&entry?.path()))).collect()
        };
        let version = versions()?;
        assert_eq!(version.len(), 1);
        let more = head.rootfs().join("etc/more");
        fs::write(&more, noise(8 * MIB, 1))?;
        let error = head.fails(&["image", "build", "tiny"])?;
        assert!(
            error.contains("image tiny") && error.contains("free some space and repeat, nothing was changed"),
            "{error}"
        );
        fs::remove_file(&more)?;
        assert_eq!((head.images()?, versions()?), (built, version));
        assert!(head.used()? < before + 64 * 1024);
        // With room again it builds, and knows that nothing has changed.
        assert!(head.run(&["image", "build", "tiny"])?.status.success());
        assert_eq!(versions()?.len(), 1);
        Ok(())
    })
}

#[test]
fn an_image_without_a_kernel_is_not_built_and_the_error_names_the_place() -> Result<()> {
    Head::on_disk("32m", |head| {
        let root = source(&head.dir, MIB)?;
        fs::remove_file(kernel(&root))?;
        head.ok(&words(&head.import(&root)))?;
        let error = head.fails(&["image", "build", "tiny"])?;
        assert!(error.contains("no kernel with the same release") && error.contains(TINY_RELEASE), "{error}");
        assert_eq!(head.images()?.1, ["tiny/lock", "tiny/origin.json", "tiny/rootfs"]);
        fs::write(kernel(&head.rootfs()), "a kernel")?;
        head.ok(&["image", "build", "tiny"])?;
        Ok(())
    })
}

#[test]
fn a_file_that_cannot_be_read_fails_import_and_build_by_name() -> Result<()> {
    Head::on_disk("32m", |mut head| {
        let root = source(&head.dir, MIB)?;
        let secret = |root: &Path| -> Result<()> {
            let file = root.join("etc/secret-of-lisa");
            fs::write(&file, "x")?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            Ok(lchown(&file, Some(1005), Some(100))?)
        };
        secret(&root)?;
        // Root on a network file system that squashes it: it may not read what belongs to others.
        head.without = &["-dac_override", "-dac_read_search"];
        let error = head.fails(&words(&head.import(&root)))?;
        assert!(error.contains("etc/secret-of-lisa"), "{error}");
        assert_eq!(head.images()?, (Value::Array(vec![]), vec![]));
        head.without = &[];
        head.ok(&words(&head.import(&root)))?;
        head.without = &["-dac_override", "-dac_read_search"];
        let error = head.fails(&["image", "build", "tiny"])?;
        assert!(error.contains("etc/secret-of-lisa"), "{error}");
        assert_eq!(head.images()?.1, ["tiny/lock", "tiny/origin.json", "tiny/rootfs"]);
        Ok(())
    })
}

#[test]
fn an_archive_that_was_cut_short_leaves_nothing() -> Result<()> {
    Head::on_disk("32m", |head| {
        let tar = archive(&source(&head.dir, 2 * MIB)?)?;
        fs::File::options().write(true).open(&tar)?.set_len(MIB as u64)?;
        let error = head.fails(&words(&head.import(&tar)))?;
        assert!(error.contains("cannot be read as an archive to its end"), "{error}");
        assert_eq!(head.images()?, (Value::Array(vec![]), vec![]));
        Ok(())
    })
}
