//! The archive of modules and firmware that belongs to one kernel of an image version.

use std::collections::BTreeSet;
use std::io::Write;

use serde::{Deserialize, Serialize};

use super::closure::BASE_FILE;
use super::cpio::{Archive, padding};
use super::firmware::Firmware;
use super::index::{DepmodFiles, Module, ModuleIndex, module_name, normal, plain_path};
use super::modinfo::ModInfo;
use super::select::{ROOT, Selection, choose};
use super::unpack;
use crate::config::InitramfsConfig;
use crate::image::ImageError;
use crate::image::error::Doing;
use crate::image::kernel::{KernelConfig, Support};
use crate::image::tree::Tree;

/// Largest module, unpacked. Bytes.
const MODULE_MAX: u64 = 256 << 20;
/// Directories of modprobe.d(5) that an image brings along.
const MODPROBE: [&str; 3] = ["lib/modprobe.d", "usr/local/lib/modprobe.d", "etc/modprobe.d"];

/// What an administrator wants in the initramfs beside what every node needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitramfsSettings {
    /// More modules, by name or alias.
    pub modules: Vec<String>,
    /// More firmware files, below `/lib/firmware`.
    pub firmware: Vec<String>,
    /// Modules to leave out, by name; `*` stands for anything. What another module cannot do without stays.
    pub omit: Vec<String>,
    /// InfiniBand adapters and IPoIB.
    pub infiniband: bool,
}

/// Stands in `initramfs.modules` for all InfiniBand adapters with IPoIB; no kernel has a module of this name.
const INFINIBAND: &str = "infiniband";
/// Chips of switches: their drivers lie among those of network cards, and their firmware is larger than all others'.
const SWITCHES: [&str; 2] = ["mlxsw_*", "prestera*"];

impl Default for InitramfsSettings {
    fn default() -> Self {
        Self { modules: vec![], firmware: vec![], omit: SWITCHES.map(Into::into).into(), infiniband: false }
    }
}

impl From<&InitramfsConfig> for InitramfsSettings {
    fn from(config: &InitramfsConfig) -> Self {
        let InitramfsConfig { mut modules, firmware, omit } = config.clone();
        let all = modules.len();
        modules.retain(|name| name != INFINIBAND);
        let infiniband = modules.len() < all;
        let mut settings = Self { modules, firmware, infiniband, ..Self::default() };
        settings.omit.extend(omit);
        settings
    }
}

/// What went into a modules archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModulesReport {
    /// Release of the kernel.
    pub release: String,
    /// Number of modules.
    pub modules: u32,
    /// Number of firmware files.
    pub firmware: u32,
    /// Bytes of all files unpacked: what the archive costs a node until the root is mounted.
    pub unpacked_len: u64,
    /// For the administrator: firmware that is missing, settings that match nothing.
    pub warnings: Vec<String>,
}

/// Reads depmod's results for the kernel `release`.
pub(in crate::image) fn load_index(tree: &Tree, release: &str) -> Result<LoadedIndex, ImageError> {
    let file = |name: &str| {
        let path = format!("lib/modules/{release}/{name}");
        tree.text(&path).doing("read", tree.root().join(path))
    };
    let mut files = DepmodFiles {
        dep: file("modules.dep")?,
        alias: file("modules.alias")?,
        softdep: file("modules.softdep")?,
        builtin: file("modules.builtin")?,
        order: file("modules.order")?,
    };
    if files.dep.is_empty() {
        let path = format!("lib/modules/{release}/modules.dep");
        return Err(ImageError::Module { path, why: format!("it is missing; run `depmod -a {release}` in the image") });
    }
    let modprobe = modprobe_files(tree)?;
    for (_, text) in &modprobe {
        files.softdep.extend(
            text.lines().filter(|line| line.trim_start().starts_with("softdep ")).flat_map(|line| [line, "\n"]),
        );
    }
    Ok(LoadedIndex { index: ModuleIndex::parse(release, &files), files, modprobe })
}

/// Depmod's results and modprobe's configuration.
#[derive(Debug)]
pub(in crate::image) struct LoadedIndex {
    index: ModuleIndex,
    files: DepmodFiles,
    modprobe: Vec<(String, String)>,
}

fn modprobe_files(tree: &Tree) -> Result<Vec<(String, String)>, ImageError> {
    let mut found = vec![];
    for directory in MODPROBE {
        for name in tree.names(directory).into_iter().filter(|name| name.ends_with(".conf")) {
            let path = format!("{directory}/{name}");
            let text = tree.text(&path).doing("read", tree.root().join(&path))?;
            found.push((path, text));
        }
    }
    Ok(found)
}

/// What the kernel lacks to mount the root, as options and modules; empty if it lacks nothing.
pub(in crate::image) fn can_mount_root(loaded: &LoadedIndex, config: &KernelConfig) -> Vec<String> {
    let options = ["BLK_DEV_LOOP", "SQUASHFS", "OVERLAY_FS"];
    let mut missing = vec![];
    for (module, option) in ROOT.into_iter().zip(options) {
        let present = loaded.index.get(module).is_some();
        let builtin = loaded.index.is_builtin(module);
        match config.get(option) {
            Support::Builtin => {}
            _ if present || builtin => {}
            Support::Module => {
                missing.push(format!("the module {module} (CONFIG_{option}=m, but modules.dep does not have it)"))
            }
            Support::Missing => missing.push(format!("CONFIG_{option}")),
            Support::Unknown => missing.push(format!("the module {module}")),
        }
    }
    if config.get("SQUASHFS_XATTR") == Support::Missing && config.get("SQUASHFS") != Support::Missing {
        missing.push("CONFIG_SQUASHFS_XATTR (extended attributes: file capabilities)".into());
    }
    missing
}

/// Writes the archive of modules and firmware for one kernel: compressed as the kernel can read it, padded to 512 bytes, and
/// the same bytes for the same tree.
pub(in crate::image) fn write_modules_archive(
    tree: &Tree,
    release: &str,
    loaded: &LoadedIndex,
    config: &KernelConfig,
    settings: &InitramfsSettings,
    sink: &mut dyn Write,
) -> Result<ModulesReport, ImageError> {
    let LoadedIndex { index, files, modprobe } = loaded;
    let drives_nic = |name: &str| {
        let read = index.get(name).and_then(|module| read_module(tree, release, module).ok());
        read.and_then(|bytes| ModInfo::parse(&bytes).ok()).is_some_and(|info| info.drives_nic)
    };
    let selection = choose(index, settings, drives_nic);
    let mut report = ModulesReport { release: release.to_owned(), ..ModulesReport::default() };
    for name in &selection.unknown {
        report.warnings.push(format!("kernel {release} has no module {name}, which initramfs.modules asks for"));
    }
    let mut archive = Archive::default();
    archive.directory("lib/firmware", 0o755);
    add_modules(tree, release, config, loaded, &selection, &mut archive, &mut report)?;
    add_settings_firmware(&mut Firmware::new(tree, release, config), settings, &mut archive, &mut report)?;
    let base: String = selection.base.iter().flat_map(|name| [name, "\n"]).collect();
    archive.file(&format!("lib/modules/{release}/{BASE_FILE}"), 0o644, base.into_bytes());
    for (name, text) in trimmed(files, &selection.modules) {
        archive.file(&format!("lib/modules/{release}/{name}"), 0o644, text.into_bytes());
    }
    for (path, text) in modprobe {
        archive.file(path, 0o644, text.clone().into_bytes());
    }
    report.unpacked_len = archive.content_len();
    let bytes = config.archive_compression().compress(vec![], |sink| archive.write(sink));
    let mut bytes = bytes.doing("pack the modules of", tree.root().join("lib/modules").join(release))?;
    bytes.resize(bytes.len() + padding(bytes.len()), 0);
    sink.write_all(&bytes).doing("write the modules of", tree.root().join("lib/modules").join(release))?;
    Ok(report)
}

/// The module's plain bytes, its signature included; links, as those of weak-updates, are followed.
fn read_module(tree: &Tree, release: &str, module: &Module) -> Result<Vec<u8>, ImageError> {
    let path = format!("lib/modules/{release}/{}", module.path);
    let bytes = tree.read(&path).and_then(|bytes| unpack(bytes, MODULE_MAX));
    bytes.map_err(|error| ImageError::Module { path, why: format!("{error}; does `depmod -a {release}` help?") })
}

fn add_modules(
    tree: &Tree,
    release: &str,
    config: &KernelConfig,
    loaded: &LoadedIndex,
    selection: &Selection,
    archive: &mut Archive,
    report: &mut ModulesReport,
) -> Result<(), ImageError> {
    let mut firmware = Firmware::new(tree, release, config);
    for name in &selection.modules {
        let Some(module) = loaded.index.get(name) else { continue };
        let bytes = read_module(tree, release, module)?;
        let path = format!("lib/modules/{release}/{}", plain_path(&module.path));
        let info = ModInfo::parse(&bytes)
            .map_err(|error| ImageError::Module { path: path.clone(), why: format!("it is no module: {error}") })?;
        let mut missing = vec![];
        for file in &info.firmware {
            if firmware.add(file, archive)? {
                report.firmware += 1;
            } else {
                missing.push(file.as_str());
            }
        }
        if !missing.is_empty() && selection.nics.contains(name) {
            report.warnings.push(missing_firmware(name, release, &missing));
        }
        archive.file(&path, 0o644, bytes);
        report.modules += 1;
    }
    Ok(())
}

fn missing_firmware(module: &str, release: &str, missing: &[&str]) -> String {
    let shown: Vec<&str> = missing.iter().copied().take(3).collect();
    let more = match missing.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "network driver {module} of kernel {release} may ask for firmware that the image does not have: {}{more}",
        shown.join(", ")
    )
}

fn add_settings_firmware(
    firmware: &mut Firmware<'_>,
    settings: &InitramfsSettings,
    archive: &mut Archive,
    report: &mut ModulesReport,
) -> Result<(), ImageError> {
    for name in &settings.firmware {
        if firmware.add(name, archive)? {
            report.firmware += 1;
        } else {
            report.warnings.push(format!("the image has no firmware {name}, which initramfs.firmware asks for"));
        }
    }
    Ok(())
}

/// Depmod's files with the lines of the chosen modules only, and their paths without the suffix of a compression.
pub(super) fn trimmed(files: &DepmodFiles, modules: &BTreeSet<String>) -> [(&'static str, String); 5] {
    let chosen = |name: Option<String>| name.is_some_and(|name| modules.contains(&name));
    let keep = |text: &str, test: &dyn Fn(&str) -> bool| {
        text.lines().filter(|line| test(line)).flat_map(|line| [line, "\n"]).collect::<String>()
    };
    let third = |line: &str| line.split_whitespace().nth(2).map(normal);
    let second = |line: &str| line.split_whitespace().nth(1).map(normal);
    let dep: String = files
        .dep
        .lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(path, _)| chosen(module_name(path)))
        .map(|(path, depends)| {
            let depends: String = depends.split_whitespace().flat_map(|path| [" ", plain_path(path)]).collect();
            format!("{}:{depends}\n", plain_path(path))
        })
        .collect();
    [
        ("modules.dep", dep),
        ("modules.alias", keep(&files.alias, &|line| chosen(third(line)))),
        (
            "modules.softdep",
            keep(&files.softdep, &|line| line.trim_start().starts_with("softdep ") && chosen(second(line))),
        ),
        ("modules.builtin", files.builtin.clone()),
        ("modules.order", keep(&files.order, &|line| chosen(module_name(line.trim())))),
    ]
}
