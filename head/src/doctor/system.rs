//! This host: clock, disk space, programs, the service, the agent.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use indicatif::HumanBytes;
use object::{Object as _, ObjectKind};

use super::examine::RunningHead;
use super::model::Group;
use crate::config::Config;
use crate::image::ImageInfo;

/// Below this much of free space a build fails half-way.
const DISK_MIN: u64 = 2 << 30;
/// A clock may be behind by this much.
const CLOCK: Duration = Duration::from_secs(60);
/// Where units lie, the administrator's own first.
const UNITS: [&str; 3] = ["/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Programs that are called, what for, and Debian's package.
const PROGRAMS: [(&str, &str, &str, bool); 6] = [
    ("mksquashfs", "builds images", "squashfs-tools", true),
    ("skopeo", "fetches images from registries", "skopeo", false),
    ("ssh", "wulf ssh", "openssh-client", false),
    ("setfiles", "SELinux labels of images that enforce", "policycoreutils", false),
    ("exportfs", "NFS exports", "nfs-kernel-server", false),
    ("systemctl", "starts the service", "systemd", false),
];

/// Looks at the host.
pub(super) fn check(config: &Config, running: Option<&RunningHead>, images: &[ImageInfo], controllers: bool) -> Group {
    let mut group = Group::new("system");
    service(running, &mut group);
    clock(config, images, &mut group);
    disk(config, images, &mut group);
    programs(controllers, &mut group);
    agent(config, &mut group);
    group
}

fn service(running: Option<&RunningHead>, group: &mut Group) {
    let own = env!("CARGO_PKG_VERSION");
    match running {
        Some(head) if head.version != own => {
            let found = format!("version {} runs, this is {own}", head.version);
            group.warning("head", found, "systemctl restart wulfpack");
        }
        Some(head) => group.ok("head", format!("runs, version {}", head.version)),
        None => group.warning(
            "head",
            "does not run, or this user may not ask it",
            "systemctl start wulfpack, or wulf serve",
        ),
    }
    if !Path::new("/run/systemd/system").is_dir() {
        return group.skipped("unit", "this host does not run systemd");
    }
    let unit = UNITS.iter().map(|dir| Path::new(dir).join("wulfpack.service")).find(|path| path.is_file());
    let Some(unit) = unit else {
        return group.warning(
            "unit",
            "there is no wulfpack.service: the head does not start with this host",
            "wulf init --systemd",
        );
    };
    let wanted = Path::new("/etc/systemd/system/multi-user.target.wants/wulfpack.service");
    if fs::symlink_metadata(wanted).is_err() {
        let fix = "systemctl enable wulfpack";
        return group.warning(
            "unit",
            format!("{} is not enabled: the head does not start with this host", unit.display()),
            fix,
        );
    }
    group.ok("unit", format!("{}, enabled", unit.display()));
}

/// Certificates and boots go by the clock. What was written before cannot be later than now.
fn clock(config: &Config, images: &[ImageInfo], group: &mut Group) {
    let now = SystemTime::now();
    let written = [config.paths.nodes_file(), config.paths.head_key(), config.paths.cluster_key()];
    let written = written.iter().filter_map(|path| fs::metadata(path).ok()?.modified().ok());
    let built = images.iter().flat_map(|image| image.versions.iter().map(|version| version.created));
    let built = built.map(|at| SystemTime::UNIX_EPOCH + Duration::from_millis(at.0));
    let latest = written.chain(built).max().unwrap_or(SystemTime::UNIX_EPOCH);
    if let Ok(ahead) = latest.duration_since(now)
        && ahead > CLOCK
    {
        let found =
            format!("it is at least {} s behind: files of this head were written later than it says", ahead.as_secs());
        return group.bad("clock", found, "set it, and let chrony or systemd-timesyncd keep it");
    }
    match synchronised() {
        Some(true) => group.ok("clock", "synchronised"),
        Some(false) => {
            group.warning("clock", "nothing keeps it right; nodes are given this head's time", "apt install chrony")
        }
        None => group.skipped("clock", "plausible; nobody here says whether it is synchronised"),
    }
}

/// What systemd knows of it.
fn synchronised() -> Option<bool> {
    let mut command = Command::new("timedatectl");
    command.args(["show", "--property=NTPSynchronized", "--value"]).stdin(Stdio::null()).stderr(Stdio::null());
    match command.output().ok().filter(|output| output.status.success())?.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

fn disk(config: &Config, images: &[ImageInfo], group: &mut Group) {
    let path = &config.paths.state;
    let stat = match nix::sys::statvfs::statvfs(path) {
        Ok(stat) => stat,
        Err(error) => return group.skipped("disk space", format!("{}: {error}", path.display())),
    };
    let free = stat.blocks_available() * stat.fragment_size();
    let (files, free_files) = (stat.files(), stat.files_available());
    // A build holds the old version and the new one.
    let largest =
        images.iter().flat_map(|image| image.versions.iter().map(|version| version.blob_len)).max().unwrap_or(0);
    let wanted = DISK_MIN.max(largest * 2);
    let found = format!("{} free in {}", HumanBytes(free), path.display());
    let fix = "wulf clean --dry-run shows what can go; wulf image prune";
    if free < DISK_MIN / 4 {
        group.bad("disk space", found, fix);
    } else if free < wanted {
        group.warning("disk space", format!("{found}, the next build may want {}", HumanBytes(wanted)), fix);
    } else if files > 0 && free_files < files / 50 {
        group.warning("disk space", format!("{found}, and only {free_files} files more can be made there"), fix);
    } else {
        group.ok("disk space", found);
    }
}

fn programs(controllers: bool, group: &mut Group) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut there = vec![];
    let ipmi = controllers.then_some(("ipmitool", "power and consoles of nodes", "ipmitool", false));
    for (name, why, package, needed) in PROGRAMS.into_iter().chain(ipmi) {
        match find(&path, name) {
            Some(_) => there.push(name),
            None if needed => group.bad(name, format!("is not installed: {why}"), format!("apt install {package}")),
            None if name == "systemctl" || name == "exportfs" => {}
            None => group.warning(
                name,
                format!("is not installed: {why}"),
                format!("apt install {package}, if you need that"),
            ),
        }
    }
    if !there.is_empty() {
        group.ok("programs", there.join(", "));
    }
}

/// The program of this name, as a shell finds it; in the administrator's directories too.
pub(super) fn find(path: &OsStr, name: &str) -> Option<PathBuf> {
    let usual = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(path).chain(usual).map(|dir| dir.join(name)).find(|path| path.is_file())
}

fn agent(config: &Config, group: &mut Group) {
    let path = config.paths.agent_binary(std::env::consts::ARCH);
    let place = path.display();
    let install = format!("scripts/build-agent, then: install -D wulf-agent {place}");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => return group.bad("agent", format!("{place}: {error}: no node can boot"), install),
    };
    match interpreter(&bytes) {
        Ok(None) => group.ok("agent", format!("{place}, static, {}", HumanBytes(bytes.len() as u64))),
        Ok(Some(interpreter)) => {
            let found = format!("{place} wants {interpreter}, and no initramfs has that: it must be linked statically");
            group.bad("agent", found, install);
        }
        Err(why) => group.bad("agent", format!("{place} is no program: {why}"), install),
    }
}

/// The dynamic linker that a program wants.
pub(super) fn interpreter(bytes: &[u8]) -> Result<Option<String>, String> {
    let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
    if !matches!(file.kind(), ObjectKind::Executable | ObjectKind::Dynamic) {
        return Err("it is a library or an object file".into());
    }
    let section = object::ObjectSection::data(&match object::Object::section_by_name(&file, ".interp") {
        Some(section) => section,
        None => return Ok(None),
    });
    let text = section.map_err(|error| error.to_string())?;
    Ok(Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned()))
}
