//! Boot script, kernel, archives, kernel arguments: what a loader gets over HTTP.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};

use indicatif::HumanBytes;
use wulfpack_shared::id::Mac;
use wulfpack_shared::identity::HeadAddr;

use super::model::{Known, Step};
use super::tell::Head;
use crate::boot::{
    BootPlan, DEFAULT_TEMPLATE, DISCOVER_TEMPLATE, HeadSettings, InitramfsFormat, Loader, Scripts, Visit, choose_kernel,
};
use crate::config::TokenEvidence;
use crate::discover::{Networks, seat};
use crate::image::Version;
use crate::registry::ImageRef;

/// The head's address that a machine on this interface asks: one of its network, else the first.
pub(super) fn base(head: &Head<'_>, link: Option<&str>, ip: Option<IpAddr>) -> Option<(SocketAddr, TokenEvidence)> {
    let of_link = |address: &IpAddr| {
        let links = head.boot.dhcp.links.iter().filter(|known| link.is_none_or(|link| known.name == link));
        links.into_iter().any(|link| {
            link.addresses.iter().any(|net| IpAddr::from(net.addr()) == *address)
                || link.addresses6.iter().any(|net| IpAddr::from(net.addr()) == *address)
        })
    };
    let same_family = |address: &IpAddr| ip.is_none_or(|ip| ip.is_ipv4() == address.is_ipv4());
    let all = &head.boot.addresses;
    let found = all.iter().find(|(address, _)| of_link(address) && same_family(address)).or_else(|| all.first())?;
    Some((SocketAddr::new(found.0, head.config.ports.http), found.1))
}

/// What a machine that nobody knows gets.
pub(super) fn unknown(head: &Head<'_>, base: Option<SocketAddr>, mac: Mac) -> Step {
    let step = Step::new("script");
    let Some(base) = base else { return step.stop(NO_ADDRESS) };
    if Networks::new(&head.config.dhcp).cover(mac, base.ip()) {
        return discovery(head, step.answer(format!("http://{base}/boot/{}/script.ipxe", mac.dashed())));
    }
    let reason = format!("no node has the MAC address {mac}: \"wulf node add\" makes this machine one");
    let text = Scripts::new(Some(&head.config.paths.etc)).waiting(Loader::Ipxe, base, mac, &reason).ok();
    let step = step.answer(format!("http://{base}/boot/{}/script.ipxe", mac.dashed()));
    Step { text, ..step.stop(format!("it says this, and asks again every few seconds: {reason}")) }
}

/// Where discovery is on: the agent, without an image.
fn discovery(head: &Head<'_>, step: Step) -> Step {
    let any = || {
        let images = head.library.list().unwrap_or_default();
        images
            .into_iter()
            .find(|image| image.active.is_some())
            .map(|image| ImageRef { name: image.name, version: None })
    };
    let step = step.why("discovery is on in this network (`dhcp: subnets: … discover`): it boots the agent, tells what it is, and waits until it is a node (wulf discover list, wulf node adopt)");
    match seat(&head.config.discover, &head.registry.resolve(), any).and_then(|seat| seat.image) {
        Some(image) => {
            step.why(format!("with the kernel of {image}, without its system; nobody gets a token for a node by it"))
        }
        None => step.stop(
            "there is no image with a version to boot for discovery: build one, or name it under `discover: image`",
        ),
    }
}

const NO_ADDRESS: &str = "the head has no address: name an interface below `interfaces:` in wulfpack.yaml";

/// Everything from the script to the arguments; it ends where the boot would.
pub(super) fn steps(
    head: &Head<'_>,
    known: Known<'_>,
    mac: Mac,
    base: Option<(SocketAddr, TokenEvidence)>,
) -> Vec<Step> {
    let node = known.node;
    let template = node.ipxe.as_deref().unwrap_or(DEFAULT_TEMPLATE);
    let values = known.values(&["ipxe template"]);
    let mut script = Step::new("script").values(values).why(match (&head.once, node.ipxe.is_some()) {
        (Some(once), _) => format!("template {template}, for the next boot only ({once})"),
        (None, true) => format!("template {template}"),
        (None, false) => format!("template {template}: neither node nor profile names one"),
    });
    let Some((base, proof)) = base else { return vec![script.stop(NO_ADDRESS)] };
    script = script.answer(format!("http://{base}/boot/{}/script.ipxe", mac.dashed()));
    let scripts = Scripts::new(Some(&head.config.paths.etc));
    if !scripts.boots_image(Loader::Ipxe, template) {
        let text = scripts.without_image(Loader::Ipxe, template, (base, mac), node.name.as_str());
        script.why.push("it boots no image".into());
        return vec![match text {
            Ok(text) => Step { text: Some(text), ..script },
            Err(error) => script.stop(error),
        }];
    }
    let version = match version(head, known) {
        Ok(version) => version,
        Err(why) => return vec![script.stop(why)],
    };
    let plan = match plan(head, known, mac, base, &version) {
        Ok(plan) => plan,
        Err(why) => return vec![script.stop(why)],
    };
    if proof == TokenEvidence::Approve {
        script
            .why
            .push(format!("each boot waits until it is approved (`token: approve`): wulf node approve {}", node.name));
    }
    match scripts.boot(Loader::Ipxe, template, &plan) {
        Ok(text) => script.text = Some(text),
        Err(error) => return vec![script.stop(error)],
    }
    let mut steps = vec![script];
    steps.extend(files(head, known, &version, &plan));
    steps
}

/// The version that its image resolves to; the error is for a person.
pub(super) fn version(head: &Head<'_>, known: Known<'_>) -> Result<Version, String> {
    let node = &known.node.name;
    let image = known.node.image.as_ref();
    let image =
        image.ok_or_else(|| format!("node {node} has no image: \"wulf node set {node} --image NAME\" gives it one"))?;
    let version = match image.version {
        Some(id) => head.library.version(&image.name, id),
        None => head.library.active(&image.name),
    };
    version.map_err(|error| error.to_string())
}

fn plan(head: &Head<'_>, known: Known<'_>, mac: Mac, base: SocketAddr, version: &Version) -> Result<BootPlan, String> {
    let kernel = choose_kernel(known.node, version.header()).map_err(|error| error.to_string())?;
    let format = modules_format(version, &kernel.version)?;
    let heads = head.keys.map(|(key, _)| {
        let control = head.boot.with_port(head.config.ports.control);
        control.into_iter().map(|control| HeadAddr { key: *key, control }).collect()
    });
    let settings = HeadSettings {
        heads: heads.unwrap_or_default(),
        cluster: head.keys.map(|(_, cluster)| cluster.to_vec()).unwrap_or_default(),
        neighbour: None,
        debug: false,
    };
    let visit = Visit {
        node: known.node,
        mac,
        version: version.id(),
        header: version.header(),
        format,
        base,
        now: head.now,
        neighbours: &[],
        discover: known.node.ipxe.as_deref() == Some(DISCOVER_TEMPLATE),
    };
    BootPlan::new(&settings, &visit).map_err(|error| error.to_string())
}

fn modules_format(version: &Version, release: &str) -> Result<InitramfsFormat, String> {
    let path = version
        .modules(release)
        .ok_or_else(|| format!("image version {:.12} has no modules for kernel {release}", version.id()))?;
    let mut first = [0; 6];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut first));
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(InitramfsFormat::of(&first).unwrap_or(InitramfsFormat::Plain))
}

fn files(head: &Head<'_>, known: Known<'_>, version: &Version, plan: &BootPlan) -> Vec<Step> {
    let node = known.node;
    let mut kernel = Step::new("kernel").answer(&plan.kernel).values(known.values(&["kernel: version"]));
    kernel.why.push(match &node.kernel_version {
        Some(asked) => format!("{}, the kernel that {asked:?} names", plan.release),
        None => format!("{}, the image's default: neither node nor profile names one", plan.release),
    });
    let entry = version.header().kernel(Some(&plan.release));
    kernel.why.extend(entry.map(|entry| HumanBytes(entry.kernel.len).to_string()));
    let mut steps = vec![kernel];
    for initrd in &plan.initrds {
        let step = Step::new("initramfs").about(initrd.name).answer(&initrd.url);
        steps.push(match initrd.name {
            "modules" => {
                let len = entry.map(|entry| HumanBytes(entry.modules.len).to_string()).unwrap_or_default();
                step.why(format!("modules and firmware of image version {}, {len}", plan.image))
            }
            "agent" => agent(head, step),
            _ => step.why("the one-time join token, made when it is asked for"),
        });
    }
    let arguments =
        Step::new("arguments").answer(&plan.command_line).values(known.values(&["kernel: args", "on fail"]));
    let arguments = match (node.kernel_args.is_empty(), head.keys) {
        (true, _) => arguments.why("kernel arguments: the image's defaults; neither node nor profile has any"),
        (false, _) => arguments,
    };
    let without = "wulf.head= and wulf.cluster= are missing here: only root can read the head's keys";
    steps.push(if head.keys.is_none() { arguments.why(without) } else { arguments });
    steps
}

fn agent(head: &Head<'_>, step: Step) -> Step {
    let path = head.config.paths.agent_binary(std::env::consts::ARCH);
    match path.metadata() {
        Ok(_) => step.why(format!("the agent of this head, {}", path.display())),
        Err(error) => step.stop(format!("the agent {} is not installed: {error}", path.display())),
    }
}
