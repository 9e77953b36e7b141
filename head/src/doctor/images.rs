//! Images: whether what nodes boot is there, whole, and what the tree holds.

use std::path::Path;

use wulfpack_shared::id::PublicKey;

use super::model::{Group, some_of};
use crate::boot::{SignedLoader, choose_kernel};
use crate::config::Config;
use crate::image::{ImageInfo, Library, head_loader};
use crate::registry::{ImageRef, Snapshot};

/// Looks at every image, and at those that nodes want. `keys`: those of the cluster, as far as they are known.
pub(super) fn check(
    config: &Config,
    library: &Library,
    images: &[ImageInfo],
    snapshot: &Snapshot,
    keys: &[PublicKey],
) -> Group {
    let mut group = Group::new("images");
    if images.is_empty() {
        group.warning(
            "images",
            format!("there is none in {}", config.paths.images().display()),
            "wulf image import docker://… NAME",
        );
    }
    for image in images {
        one(library, image, snapshot, keys, &mut group);
    }
    wanted(library, snapshot, &mut group);
    group
}

fn one(library: &Library, image: &ImageInfo, snapshot: &Snapshot, keys: &[PublicKey], group: &mut Group) {
    let name = &image.name;
    let check = format!("image {name}");
    for (id, why) in library.ailments(name, keys) {
        let active = if image.active == Some(id) { ", which nodes boot," } else { "" };
        group.bad(&check, format!("version {id:.12}{active}: {why}"), format!("wulf image build {name} --force"));
    }
    let used = snapshot.nodes().filter(|node| node.image.as_ref().is_some_and(|wanted| wanted.name == *name)).count();
    let build = format!("wulf image build {name}");
    if image.active.is_none() {
        let found = "it was never built, or no version is active";
        return if used > 0 { group.bad(check, found, build) } else { group.warning(check, found, build) };
    }
    if image.rootfs.is_dir()
        && let Some(why) = unbuildable(library, image)
    {
        group.warning(
            &check,
            format!("the next build will fail: {why}"),
            format!("mend the tree: wulf image shell {name}"),
        );
    }
    match library.unbuilt(name) {
        _ if !image.rootfs.is_dir() => group.ok(check, format!("{used} nodes; it has no tree any more")),
        Ok(0) => group.ok(check, format!("{used} nodes, {} versions, built as its tree is", image.versions.len())),
        Ok(files) => group.warning(check, format!("{files} files of its tree differ from what nodes boot"), build),
        Err(error) => group.skipped(check, format!("its tree was not compared: {error}")),
    }
}

/// Why no initramfs can be made from the tree as it is.
fn unbuildable(library: &Library, image: &ImageInfo) -> Option<String> {
    match library.kernels(&image.name) {
        Err(error) => Some(error.to_string()),
        Ok(kernels) if kernels.is_empty() => Some("it has no kernel".into()),
        Ok(kernels) if kernels.iter().any(|kernel| kernel.problem.is_none()) => None,
        Ok(kernels) => {
            kernels.into_iter().find_map(|kernel| Some(format!("kernel {}: {}", kernel.release, kernel.problem?)))
        }
    }
}

/// What nodes want and would not get.
fn wanted(library: &Library, snapshot: &Snapshot, group: &mut Group) {
    let mut troubles: Vec<(String, Vec<String>)> = vec![];
    let mut add = |what: String, node: &str| match troubles.iter_mut().find(|(known, _)| *known == what) {
        Some((_, nodes)) => nodes.push(node.to_owned()),
        None => troubles.push((what, vec![node.to_owned()])),
    };
    let mut known: Vec<(ImageRef, Result<crate::image::Version, String>)> = vec![];
    for node in snapshot.nodes() {
        let Some(image) = &node.image else { continue };
        if !known.iter().any(|(name, _)| name == image) {
            let version = match image.version {
                Some(id) => library.version(&image.name, id),
                None => library.active(&image.name),
            };
            known.push((image.clone(), version.map_err(|error| error.to_string())));
        }
        match known.iter().find(|(name, _)| name == image).map(|(_, version)| version) {
            Some(Err(why)) => add(why.clone(), node.name.as_str()),
            Some(Ok(version)) => {
                if let Err(error) = choose_kernel(node, version.header()) {
                    add(error.to_string(), node.name.as_str());
                }
                let signed = node.boot.grub == Some(true) && version.loader(SignedLoader::Shim).is_none();
                if signed && head_loader(Path::new("/"), SignedLoader::Shim).is_err() {
                    add(
                        format!("grubboot, and neither {} nor this host has shim and a signed GRUB", image.name),
                        node.name.as_str(),
                    );
                }
            }
            None => {}
        }
    }
    for (what, nodes) in troubles {
        group.bad(
            "wanted by nodes",
            format!("{}: {what}", some_of(&nodes)),
            "wulf node set NODESET --image …, or build it",
        );
    }
}
