//! What a node gets when it joins: image, root, overlays.

use indicatif::HumanBytes;
use wulfpack_shared::overlay::{Bundle, Context, EntryKind, set_hash};

use super::model::{Known, Step};
use super::script::version;
use super::tell::Head;
use crate::config::{Seed, TokenEvidence};
use crate::overlay::{Facts, Origin, Renderer, Site, read_authorized_keys};

/// What the machine has to show to be the node.
pub(super) fn join(proof: TokenEvidence) -> Step {
    let step = Step::new("join").answer("membership certificate, manifest, overlays, peers");
    step.why(match proof {
        TokenEvidence::Dhcp => "the token goes to the address that this head's DHCP gave to that MAC address (`token: dhcp`)",
        TokenEvidence::Neighbour => {
            "the token goes to the address at which the head's neighbour table has that MAC address (`token: neighbour`)"
        }
        TokenEvidence::Approve => "the token is given once the boot was approved (`token: approve`)",
    })
}

/// The image version that it fetches.
pub(super) fn image_step(head: &Head<'_>, known: Known<'_>) -> Step {
    let mut step = Step::new("image").values(known.values(&["image name"]));
    if head.once.as_ref().and_then(|once| once.image()).is_some() {
        step.why.push("for the next boot only".into());
    }
    let pinned = known.node.image.as_ref().is_some_and(|image| image.version.is_some());
    match version(head, known) {
        Ok(version) => {
            let (header, info) = (version.header(), version.info());
            let step = step.answer(format!("{}@{}", version.name(), version.id()));
            let step = step.why(if pinned { "this version is pinned" } else { "the image's active version" });
            let len = HumanBytes(header.blob.len);
            step.why(format!("{len} in {} chunks, built {} by {}", header.chunk_count, info.created, info.created_by))
        }
        Err(why) => step.stop(why),
    }
}

/// How its root file system lies in memory.
pub(super) fn root(known: Known<'_>) -> Step {
    let node = known.node;
    let mode = serde_json::to_value(node.root).ok().and_then(|mode| mode.as_str().map(str::to_owned));
    let values = known.values(&["root", "root size", "init", "seed", "rack"]);
    let answer =
        format!("{}, upper layer {} % of memory, then {}", mode.unwrap_or_default(), node.root_percent, node.init);
    let rack = node.rack.as_ref().map_or_else(|| "in no rack".to_owned(), |rack| format!("in rack {rack}"));
    Step::new("root").answer(answer).values(values).why(format!("it serves its image for {}, {rack}", Seed(node.seed)))
}

/// Each overlay with what it makes.
pub(super) fn overlays(head: &Head<'_>, known: Known<'_>) -> Vec<Step> {
    let values = known.values(&["system overlay", "runtime overlay"]);
    let all = Step::new("overlay").values(values);
    let bundles = match render(head, known) {
        Ok(bundles) => bundles,
        Err(why) => return vec![all.stop(why)],
    };
    let hash = |context| format!("{:.12}", set_hash(&bundles, context));
    let all = all.answer(format!("system {}, runtime {}", hash(Context::System), hash(Context::Runtime)));
    let places = Site::new(head.config.paths.overlays.clone(), head.config.paths.shipped_overlays()).list();
    let places = places.unwrap_or_default();
    let mut steps = vec![all];
    for bundle in &bundles {
        let when = match bundle.context {
            Context::System => "system",
            Context::Runtime => "runtime",
        };
        let files = bundle.entries.iter().filter(|entry| !matches!(entry.kind, EntryKind::Directory)).count();
        let step = Step::new("overlay").about(&bundle.name);
        let step = step.answer(format!("{when}: {files} files, {}", HumanBytes(bundle.len() as u64)));
        steps.push(step.why(match places.get(bundle.name.as_str()) {
            Some(Origin::Site) => "of this site",
            _ => "as shipped",
        }));
    }
    steps
}

fn render(head: &Head<'_>, known: Known<'_>) -> Result<Vec<Bundle>, String> {
    let ssh = head.ssh.ok_or("only root can render overlays: they hold the node's SSH host key")?;
    let keys = read_authorized_keys(&head.config.paths).map_err(|error| format!("authorized_keys: {error}"))?;
    let heads: Vec<_> = head.boot.addresses.iter().map(|(address, _)| *address).collect();
    let facts = Facts::new(head.config, &head.registry.resolve(), &heads, &keys, ssh.clone());
    Renderer::of(&head.config.paths).render(known.node, &facts).map_err(|error| error.to_string())
}
