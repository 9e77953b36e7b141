//! A registry of container images, and images to put into it: Debian's docker-registry, umoci and skopeo.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::process::Process;
use super::tool::{require, run};

/// Its only user, where it has users.
pub const REGISTRY_USER: &str = "lisa";
/// That user's password.
pub const REGISTRY_PASSWORD: &str = "s3cret";
/// bcrypt of the password, the only form that the registry reads.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG";

/// A running registry on the loopback of this thread's network namespace, speaking plain HTTP.
#[derive(Debug)]
pub struct OciRegistry {
    storage: PathBuf,
    port: u16,
    _process: Process,
}

impl OciRegistry {
    /// Starts one that keeps everything below `dir`; with `auth` only its user may read and write.
    pub fn start(dir: &Path, port: u16, auth: bool) -> Result<Self> {
        require(&["docker-registry", "skopeo", "umoci"])?;
        let storage = dir.join(format!("registry-{port}"));
        fs::create_dir_all(&storage)?;
        let (config, users) = (storage.join("config.yml"), storage.join("htpasswd"));
        fs::write(&users, format!("{REGISTRY_USER}:{HASH}\n"))?;
        let mut text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            storage.display()
        );
        if auth {
            text += &format!("auth:\n  htpasswd: {{realm: lab, path: {}}}\n", users.display());
        }
        fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config);
        let log = storage.join("log");
        let process = Process::start("docker-registry", command, &log)?;
        process.console().wait_for("listening on", Duration::from_secs(30)).context("the registry does not listen")?;
        Ok(Self { storage, port, _process: process })
    }

    /// `docker://HOST/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("docker://127.0.0.1:{}/{name}", self.port)
    }

    /// Puts an image in, from what skopeo reads. `all`: with every platform of an index.
    pub fn push(&self, from: &str, name: &str, all: bool) -> Result<()> {
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet", "--dest-tls-verify=false"]).args(all.then_some("--all"));
        command.args(["--dest-creds", &format!("{REGISTRY_USER}:{REGISTRY_PASSWORD}")]);
        run(command.args([from, &self.reference(name)])).map(drop)
    }

    /// The file that the registry keeps a blob in, for who wants to damage it.
    pub fn blob(&self, hex: &str) -> Result<PathBuf> {
        let blobs = self.storage.join("docker/registry/v2/blobs/sha256");
        let path = blobs.join(hex.get(..2).unwrap_or(hex)).join(hex).join("data");
        fs::metadata(&path).with_context(|| format!("the registry has no blob {hex}"))?;
        Ok(path)
    }
}

/// Changes the root file system in a directory.
pub type Step<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// Makes an image `tag` in the layout `layout`: one layer for each step, which changes the root file system it is handed.
pub fn make_image(layout: &Path, tag: &str, steps: &[Step<'_>]) -> Result<()> {
    let scratch = tempfile::tempdir_in(layout.parent().unwrap_or(layout))?;
    let image = format!("{}:{tag}", layout.display());
    if !layout.exists() {
        run(Command::new("umoci").args(["init", "--layout"]).arg(layout))?;
    }
    run(Command::new("umoci").args(["new", "--image", &image]))?;
    for (number, step) in steps.iter().enumerate() {
        let bundle = scratch.path().join(number.to_string());
        run(Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle))?;
        step(&bundle.join("rootfs"))?;
        run(Command::new("umoci").args(["repack", "--refresh-bundle", "--image", &image]).arg(&bundle))?;
        fs::remove_dir_all(&bundle)?;
    }
    Ok(())
}
