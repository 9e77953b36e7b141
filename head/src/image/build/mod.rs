//! The tree of an image becomes an immutable, signed version.
//!
//! * `survey`: one walk over the tree: how large it is, which files have access control lists.
//! * `squashfs`: mksquashfs. `seal`: the blob is cut, hashed and signed.

mod seal;
mod squashfs;
mod survey;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wulfpack_shared::id::{ImageName, VersionId};
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::image::{KernelEntry, Part, SignedHeader};
use wulfpack_shared::time::UnixTime;

use super::error::Doing as _;
use super::initramfs::{LoadedIndex, can_mount_root, load_index, write_modules_archive};
use super::kernel::{FoundKernel, KernelConfig, common_compression, find_kernels, read_kernel};
use super::library::{BLOB, HEADER, INFO, ImageLock, KERNEL, KERNELS, MODULES, TABLE, forbid_mounts, sync};
use super::loaders;
use super::tree::Tree;
use super::{ImageError, InitramfsSettings, Library, ModulesReport, Progress, Version, VersionInfo};

/// Directories whose content belongs to the running system, not to the image; they themselves stay.
const RUNTIME: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// How versions are built.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// What goes into the initramfs beside what every node needs.
    pub initramfs: InitramfsSettings,
    /// Kernel arguments that stand in the manifest, for where the registry has none.
    pub default_args: Vec<String>,
    /// Versions that are kept.
    pub keep: u32,
    /// Versions that nodes boot: they are never removed.
    pub in_use: BTreeSet<VersionId>,
    /// Make the new version the one that nodes boot.
    pub activate: bool,
    /// Who builds, for [`VersionInfo`].
    pub builder: String,
    /// The program that packs.
    pub mksquashfs: PathBuf,
}

impl Default for BuildSettings {
    fn default() -> Self {
        Self {
            initramfs: InitramfsSettings::default(),
            default_args: vec![],
            keep: 3,
            in_use: BTreeSet::new(),
            activate: true,
            builder: String::new(),
            mksquashfs: "mksquashfs".into(),
        }
    }
}

/// What a build made.
#[derive(Clone, Debug)]
pub struct Built {
    /// The version.
    pub version: Version,
    /// The tree had not changed: this version existed already.
    pub existed: bool,
    /// Old versions that were removed.
    pub pruned: Vec<VersionId>,
    /// What the administrator should know.
    pub warnings: Vec<String>,
}

/// A kernel that will be part of the version.
struct Kernel {
    found: FoundKernel,
    config: KernelConfig,
    loaded: LoadedIndex,
}

/// What one kernel's files became.
struct Packed {
    entries: Vec<KernelEntry>,
    reports: Vec<ModulesReport>,
}

impl Library {
    /// Builds a version of the image `name` from its tree, signs it with the cluster's key, activates it if told to, and removes
    /// versions that are not kept any more. The same tree gives the same version. On failure nothing has changed.
    ///
    /// # Errors
    /// Where there is no such image, it has no kernel that can boot from it, a file cannot be read, or the disk is full.
    pub fn build(
        &self,
        name: &ImageName,
        settings: &BuildSettings,
        cluster: &SecretKey,
        progress: &dyn Progress,
    ) -> Result<Built, ImageError> {
        let begun = Instant::now();
        let lock = ImageLock::take(&self.existing(name)?, false, progress)?;
        let tree = self.tree(name)?;
        forbid_mounts(tree.root(), &RUNTIME)?;
        let mut warnings = vec![];
        let kernels = usable_kernels(&tree, name, &mut warnings)?;
        let compression = common_compression(kernels.iter().map(|kernel| &kernel.config)).ok_or_else(|| {
            let why =
                "its kernels have no compression of squashfs in common (CONFIG_SQUASHFS_ZSTD, _ZLIB, _XZ); remove one";
            ImageError::NoKernel { name: name.clone(), why: why.into() }
        })?;
        let scratch = lock.temporary()?;
        let dir = scratch.path().join("version");
        fs::create_dir(&dir).doing("create", &dir)?;
        let packed = pack_kernels(&tree, &kernels, settings, &dir, progress)?;
        loaders::collect(&tree, &dir)?;
        warnings.extend(packed.reports.iter().flat_map(|report| report.warnings.clone()));

        progress.stage("Looking at the tree", None);
        let survey = survey::survey(tree.root(), &RUNTIME)?;
        let squash = squashfs::Squash { program: &settings.mksquashfs, compression, scratch: scratch.path() };
        squash.pack(tree.root(), &RUNTIME, &survey.acls, &dir.join(BLOB), progress)?;
        let sealed = seal::Sealing { name, compression, unpacked_len: survey.unpacked_len, kernels: packed.entries };
        let signed = sealed.seal(&dir, cluster, progress)?;
        let info = VersionInfo {
            created: now(),
            created_by: settings.builder.clone(),
            build_seconds: begun.elapsed().as_secs(),
            modules: packed.reports,
            warnings: warnings.clone(),
        };
        write(&dir.join(INFO), &serde_json::to_vec_pretty(&info).map_err(std::io::Error::from).doing("write", &dir)?)?;
        progress.stage("Writing to disk", None);
        let (id, existed) = self.publish(&lock, name, &dir, &signed)?;
        if settings.activate {
            self.activate_locked(&lock, name, id)?;
        }
        drop(scratch);
        drop(lock);
        let pruned = self.prune(name, settings.keep, &settings.in_use.iter().copied().chain([id]).collect())?;
        Ok(Built { version: self.version(name, id)?, existed, pruned, warnings })
    }

    /// Gives a finished version its name.
    fn publish(
        &self,
        lock: &ImageLock,
        name: &ImageName,
        dir: &Path,
        signed: &SignedHeader,
    ) -> Result<(VersionId, bool), ImageError> {
        let (id, versions) = (signed.id(), self.versions_dir(name));
        if !versions.is_dir() {
            fs::create_dir(&versions).doing("create", &versions)?;
            restrict(&versions, 0o750)?;
        }
        let target = versions.join(id.to_string());
        match self.version(name, id) {
            // The same bytes; but a signature by a key that was rotated out would be refused.
            Ok(known) if known.signed().signer == signed.signer => return Ok((id, true)),
            _ if target.exists() => lock.discard(&target)?,
            _ => {}
        }
        finish(dir)?;
        fs::rename(dir, &target).doing("create", &target)?;
        sync(&versions)?;
        Ok((id, false))
    }
}

/// The kernels that can boot from the image; the default one has to be among them.
fn usable_kernels(tree: &Tree, name: &ImageName, warnings: &mut Vec<String>) -> Result<Vec<Kernel>, ImageError> {
    let mut usable = vec![];
    for found in find_kernels(tree) {
        let release = &found.release;
        let config = KernelConfig::load(tree, release).doing("read", tree.root())?;
        let checked = load_index(tree, release).and_then(|loaded| match can_mount_root(&loaded, &config) {
            missing if missing.is_empty() => Ok(loaded),
            missing => Err(ImageError::KernelLacks { release: release.clone(), missing }),
        });
        match checked {
            Ok(loaded) => {
                if !config.is_known() {
                    warnings.push(format!(
                        "the configuration of kernel {release} is neither in /lib/modules/{release}/config nor in \
                         /boot/config-{release}: the image is compressed with gzip"
                    ));
                }
                usable.push(Kernel { found, config, loaded });
            }
            // Never silently another kernel than the one that everybody expects.
            Err(error) if usable.is_empty() => return Err(error),
            Err(error) => warnings.push(format!("left out: {error}")),
        }
    }
    if usable.is_empty() {
        let modules = tree.names("lib/modules");
        let why = if modules.is_empty() {
            "it has no kernel: neither /boot/vmlinuz-* nor /lib/modules/*/vmlinuz; install one in it".to_owned()
        } else {
            format!(
                "it has modules for {} but no kernel with the same release in /boot or /lib/modules",
                modules.join(", ")
            )
        };
        return Err(ImageError::NoKernel { name: name.clone(), why });
    }
    Ok(usable)
}

fn pack_kernels(
    tree: &Tree,
    kernels: &[Kernel],
    settings: &BuildSettings,
    dir: &Path,
    progress: &dyn Progress,
) -> Result<Packed, ImageError> {
    progress.stage("Packing modules and firmware", Some(kernels.len() as u64));
    let mut packed = Packed { entries: vec![], reports: vec![] };
    for (done, Kernel { found, config, loaded }) in kernels.iter().enumerate() {
        progress.set(done as u64);
        let place = dir.join(KERNELS).join(&found.release);
        fs::create_dir_all(&place).doing("create", &place)?;
        let kernel = read_kernel(tree, found).doing("read", tree.root().join(&found.path))?;
        write(&place.join(KERNEL), &kernel)?;
        let mut modules = vec![];
        let release = &found.release;
        packed.reports.push(write_modules_archive(tree, release, loaded, config, &settings.initramfs, &mut modules)?);
        write(&place.join(MODULES), &modules)?;
        packed.entries.push(KernelEntry {
            version: release.clone(),
            kernel: Part::of(&kernel),
            modules: Part::of(&modules),
            default_args: settings.default_args.clone(),
        });
    }
    progress.set(kernels.len() as u64);
    Ok(packed)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    fs::write(path, bytes).doing("write", path)
}

fn restrict(path: &Path, mode: u32) -> Result<(), ImageError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing("set the mode of", path)
}

/// Everything of a version is for root and the library's group, and on disk.
fn finish(dir: &Path) -> Result<(), ImageError> {
    for entry in walkdir::WalkDir::new(dir).contents_first(true) {
        let entry = entry.map_err(std::io::Error::from).doing("list", dir)?;
        restrict(entry.path(), if entry.file_type().is_dir() { 0o750 } else { 0o640 })?;
        sync(entry.path())?;
    }
    Ok(())
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
