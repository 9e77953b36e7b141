//! The kernels of a version: which can boot from it, and what their files become.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use wulfpack_shared::id::{Hash, ImageName};
use wulfpack_shared::image::{KernelEntry, Part};

use super::listing::{FileEntry, FileKind, Listing};
use super::run::write;
use super::{BuildSettings, CREATED_BY};
use crate::image::error::Doing as _;
use crate::image::initramfs::{LoadedIndex, can_mount_root, load_index, write_modules_archive};
use crate::image::kernel::{FoundKernel, KernelConfig, find_kernels, read_kernel};
use crate::image::library::{KERNEL, KERNELS, MODULES};
use crate::image::tree::Tree;
use crate::image::{ImageError, ModulesReport, Progress, Version};

/// A kernel that will be part of the version.
pub(super) struct Kernel {
    pub(super) found: FoundKernel,
    pub(super) config: KernelConfig,
    loaded: LoadedIndex,
}

/// What one kernel's files became.
#[derive(Default)]
pub(super) struct Packed {
    pub(super) entries: Vec<KernelEntry>,
    pub(super) reports: Vec<ModulesReport>,
    /// By kernel, a hash of what its archive was made from.
    pub(super) inputs: BTreeMap<String, Hash>,
}

/// The kernels that can boot from the image; the default one has to be among them.
pub(super) fn usable_kernels(
    tree: &Tree,
    name: &ImageName,
    warnings: &mut Vec<String>,
) -> Result<Vec<Kernel>, ImageError> {
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

/// Where the files of the version before lie, and what they were made from.
pub(super) struct Former {
    pub(super) version: Version,
    pub(super) inputs: BTreeMap<String, Hash>,
    pub(super) reports: Vec<ModulesReport>,
}

/// Writes kernels and their archives. An archive that would be made from the same files in the same way is taken from the version
/// before.
pub(super) fn pack_kernels(
    (tree, listing): (&Tree, &Listing),
    kernels: &[Kernel],
    settings: &BuildSettings,
    former: Option<&Former>,
    dir: &Path,
    progress: &dyn Progress,
) -> Result<Packed, ImageError> {
    progress.stage("Packing modules and firmware", Some(kernels.len() as u64));
    let mut packed = Packed::default();
    for (done, Kernel { found, config, loaded }) in kernels.iter().enumerate() {
        progress.set(done as u64);
        let place = dir.join(KERNELS).join(&found.release);
        fs::create_dir_all(&place).doing("create", &place)?;
        let kernel = read_kernel(tree, found).doing("read", tree.root().join(&found.path))?;
        write(&place.join(KERNEL), &kernel)?;
        let release = &found.release;
        let inputs = inputs(listing, release, settings);
        let (modules, report) = match former.and_then(|former| former.archive(release, inputs)) {
            Some(known) => known,
            None => {
                let mut modules = vec![];
                let report = write_modules_archive(tree, release, loaded, config, &settings.initramfs, &mut modules)?;
                (modules, report)
            }
        };
        write(&place.join(MODULES), &modules)?;
        packed.reports.push(report);
        packed.inputs.insert(release.clone(), inputs);
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

impl Former {
    /// The archive of this kernel and what is known of it, if it was made from just this and is whole.
    fn archive(&self, release: &str, inputs: Hash) -> Option<(Vec<u8>, ModulesReport)> {
        if self.inputs.get(release) != Some(&inputs) {
            return None;
        }
        let at = self.version.header().kernels.iter().position(|kernel| kernel.version == release)?;
        let bytes = fs::read(self.version.modules(release)?).ok()?;
        let kernel = self.version.header().kernels.get(at)?;
        (Part::of(&bytes) == kernel.modules).then_some(())?;
        Some((bytes, self.reports.get(at)?.clone()))
    }
}

/// A hash of all files that an archive may be made from, and of how it is made.
fn inputs(listing: &Listing, release: &str, settings: &BuildSettings) -> Hash {
    let own = |path: &str| {
        let path = path.strip_prefix("usr/").unwrap_or(path);
        let of_kernel = path.strip_prefix("lib/modules/").is_some_and(|rest| rest.split('/').next() == Some(release));
        of_kernel
            || ["lib/firmware", "lib/modprobe.d", "etc/modprobe.d"].iter().any(|dir| path.starts_with(dir))
            || path.strip_prefix("boot/").is_some_and(|rest| rest.contains(release))
            // Links that lead there.
            || matches!(path, "lib" | "usr" | "lib/modules" | "boot" | "etc")
    };
    // A directory's time says nothing of what is in it.
    let some = |entry: &FileEntry| entry.kind != FileKind::Directory && own(&entry.path);
    let files = listing.hash_of(some);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&files.0).update(format!("{CREATED_BY} {:?}", settings.initramfs).as_bytes());
    Hash(*hasher.finalize().as_bytes())
}
