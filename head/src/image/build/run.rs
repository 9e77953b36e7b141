//! One build from beginning to end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use wulfpack_shared::id::{Hash, ImageName, VersionId};
use wulfpack_shared::identity::SecretKey;
use wulfpack_shared::image::SignedHeader;

use super::excludes::Excludes;
use super::kernels::{Former, pack_kernels, usable_kernels};
use super::listing::Listing;
use super::{CREATED_BY, seal, selinux, squashfs, survey};
use crate::image::error::Doing as _;
use crate::image::kernel::common_compression;
use crate::image::library::{BLOB, FILES, INFO, ImageLock, forbid_mounts, sync};
use crate::image::loaders;
use crate::image::source::now;
use crate::image::{ImageError, InitramfsSettings, Library, Progress, Version, VersionInfo};

/// The tree as it was last built, with what is known of its files.
const SCAN: &str = "scan.zst";
/// And what came of it.
const LAST: &str = "last.json";
/// Directories whose content belongs to the running system, not to the image; they themselves stay.
pub(super) const RUNTIME: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

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
    /// Build although nothing has changed since the last time.
    pub force: bool,
    /// Compute SELinux labels where the image has a policy.
    pub selinux: bool,
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
            force: false,
            selinux: true,
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
        let labels = if settings.selinux { selinux::label(&tree, progress)? } else { selinux::look(&tree) };
        warnings.extend(labels.warning());

        progress.stage("Looking at the tree", None);
        let excludes = Excludes::load(&tree).doing("read the excludes of", tree.root())?;
        let before = Listing::load(&self.image_dir(name).join(SCAN));
        let survey = survey::survey(tree.root(), &RUNTIME, &excludes, before, progress)?;
        let wanted = Last::wanted(&survey.listing, settings, cluster);
        let last = Last::load(&self.image_dir(name));
        let former = last.as_ref().and_then(|last| self.version(name, last.version).ok());
        if let (Some(last), Some(version), false) = (&last, &former, settings.force)
            && last.made_from == wanted
            && version.is_whole()
        {
            let id = version.id();
            if settings.activate {
                self.activate_locked(&lock, name, id)?;
            }
            drop(lock);
            let warnings = version.info().warnings;
            return self.built(name, id, true, settings, warnings);
        }
        let former = former.map(|version| {
            let info = version.info();
            Former { version, inputs: info.inputs, reports: info.modules }
        });
        let scratch = lock.temporary()?;
        let dir = scratch.path().join("version");
        fs::create_dir(&dir).doing("create", &dir)?;
        let packed = pack_kernels((&tree, &survey.listing), &kernels, settings, former.as_ref(), &dir, progress)?;
        loaders::collect(&tree, &dir)?;
        warnings.extend(packed.reports.iter().flat_map(|report| report.warnings.clone()));
        let squash = squashfs::Squash { program: &settings.mksquashfs, compression, scratch: scratch.path() };
        let without = (&RUNTIME[..], &survey.left_out[..]);
        squash.pack(tree.root(), without, survey.acls.as_deref(), &dir.join(BLOB), progress)?;
        let sealed = seal::Sealing { name, compression, unpacked_len: survey.unpacked_len, kernels: packed.entries };
        let signed = sealed.seal(&dir, cluster, progress)?;
        let info = VersionInfo {
            created: now(),
            created_by: settings.builder.clone(),
            build_seconds: begun.elapsed().as_secs(),
            modules: packed.reports,
            warnings: warnings.clone(),
            origin: self.origin(name),
            selinux: labels,
            inputs: packed.inputs,
        };
        write(&dir.join(INFO), &serde_json::to_vec_pretty(&info).map_err(std::io::Error::from).doing("write", &dir)?)?;
        survey.listing.save(&dir.join(FILES)).doing("write", dir.join(FILES))?;
        progress.stage("Writing to disk", None);
        let (id, existed) = self.publish(&lock, name, &dir, &signed)?;
        if settings.activate {
            self.activate_locked(&lock, name, id)?;
        }
        // Only the next build would be slower without.
        drop(self.remember(&lock, name, &survey.listing, &Last { made_from: wanted, version: id }));
        drop(scratch);
        drop(lock);
        self.built(name, id, existed, settings, warnings)
    }

    fn built(
        &self,
        name: &ImageName,
        id: VersionId,
        existed: bool,
        settings: &BuildSettings,
        warnings: Vec<String>,
    ) -> Result<Built, ImageError> {
        let pruned = self.prune(name, settings.keep, &settings.in_use.iter().copied().chain([id]).collect())?;
        Ok(Built { version: self.version(name, id)?, existed, pruned, warnings })
    }

    /// Keeps what the next build wants to know.
    fn remember(&self, lock: &ImageLock, name: &ImageName, listing: &Listing, last: &Last) -> Result<(), ImageError> {
        let scratch = lock.temporary()?;
        let (scan, file) = (scratch.path().join(SCAN), scratch.path().join(LAST));
        listing.save(&scan).doing("write", &scan)?;
        write(&file, &serde_json::to_vec(last).map_err(std::io::Error::from).doing("write", &file)?)?;
        for path in [&scan, &file] {
            restrict(path, 0o640)?;
            let target = self.image_dir(name).join(path.file_name().unwrap_or_default());
            fs::rename(path, &target).doing("replace", &target)?;
        }
        Ok(())
    }

    /// Every file of an image's tree as a build would take it.
    pub(in crate::image) fn scan(&self, name: &ImageName) -> Result<Listing, ImageError> {
        let tree = self.tree(name)?;
        let excludes = Excludes::load(&tree).doing("read the excludes of", tree.root())?;
        let before = Listing::load(&self.image_dir(name).join(SCAN));
        Ok(survey::survey(tree.root(), &RUNTIME, &excludes, before, &crate::image::Silent)?.listing)
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

/// What was built last.
#[derive(Serialize, Deserialize)]
struct Last {
    /// Everything that a version depends on.
    made_from: Hash,
    version: VersionId,
}

impl Last {
    /// A hash of everything that a version of this tree would depend on.
    fn wanted(listing: &Listing, settings: &BuildSettings, cluster: &SecretKey) -> Hash {
        let BuildSettings { initramfs, default_args, selinux, mksquashfs, .. } = settings;
        let how =
            format!("{CREATED_BY} {initramfs:?} {default_args:?} {selinux} {mksquashfs:?} {:?}", cluster.public());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&listing.hash().0).update(how.as_bytes());
        Hash(*hasher.finalize().as_bytes())
    }

    fn load(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join(LAST)).ok()?).ok()
    }
}

/// Writes a file of a version.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
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
