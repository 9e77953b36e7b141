//! DHCP and boot programs: what each kind of firmware of the machine would be answered.

use std::net::Ipv4Addr;
use std::path::Path;

use wulfpack_shared::id::Mac;

use super::model::{Known, Step};
use super::tell::Head;
use crate::boot::{Arch, SignedLoader};
use crate::dhcp::{Explanation, Question, State, explain};
use crate::image::head_loader;

/// What asks for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// Firmware of this architecture.
    Arch(Arch),
    /// iPXE, once it runs.
    Ipxe,
    /// The operating system, or the agent.
    System,
}

impl Firmware {
    /// What most machines are made of: what is shown where nobody asks for something else.
    pub const USUAL: [Self; 6] = [
        Self::Arch(Arch::BIOS),
        Self::Arch(Arch(7)),
        Self::Arch(Arch::X64_HTTP),
        Self::Arch(Arch(0x0b)),
        Self::Ipxe,
        Self::System,
    ];

    fn name(self) -> String {
        match self {
            Self::Arch(arch) => arch.to_string(),
            Self::Ipxe => "iPXE".into(),
            Self::System => "operating system".into(),
        }
    }
}

/// The machine at the level of DHCP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) mac: Mac,
    pub(super) known: Option<Known<'a>>,
    pub(super) link: Option<&'a str>,
    pub(super) relay: Option<Ipv4Addr>,
}

/// What DHCP says to each of these, and which interface it says it from.
pub(super) fn steps(head: &Head<'_>, asking: Asking<'_>, firmwares: &[Firmware]) -> (Vec<Step>, Option<String>) {
    let snapshot = head.registry.resolve();
    let ask = |firmware: &Firmware| {
        let (arch, ipxe) = match firmware {
            Firmware::Arch(arch) => (Some(arch.0), false),
            Firmware::Ipxe => (Some(0), true),
            Firmware::System => (None, false),
        };
        let Asking { mac, link, relay, .. } = asking;
        let settings = &head.boot.dhcp;
        explain(&Question { settings, nodes: &snapshot, state: head.state, mac, arch, ipxe, link, relay })
    };
    let told: Vec<(Firmware, Explanation)> = firmwares.iter().map(|firmware| (*firmware, ask(firmware))).collect();
    let Some((_, first)) = told.first() else { return (vec![], None) };
    // What holds for all of them is said once.
    let common: Vec<String> = first
        .reasons
        .iter()
        .filter(|reason| told.iter().all(|(_, told)| told.reasons.contains(reason)))
        .cloned()
        .collect();
    let mut all = Step { why: common.clone(), ..Step::new("dhcp") };
    if let Some(link) = &first.link {
        all = all.why(format!("asked from the head's interface {link}"));
    }
    if let Some(known) = asking.known {
        all.values = interface_values(known, asking.mac);
    }
    all.stops = told.iter().all(|(_, told)| !told.answered) && !matches!(head.state, Some(State::Proxy { .. }));
    let link = first.link.clone();
    let mut steps = vec![all];
    for (firmware, told) in told {
        steps.push(answer(firmware, &told, &common));
        steps.extend(program(head, firmware, &told, asking.known));
    }
    (steps, link)
}

fn interface_values(known: Known<'_>, mac: Mac) -> Vec<crate::registry::Origin> {
    let net = known.node.interface(mac).map(|interface| format!("network devices: {}", interface.net));
    net.map(|net| known.values(&[&net])).unwrap_or_default()
}

fn answer(firmware: Firmware, told: &Explanation, common: &[String]) -> Step {
    let mut step = Step::new("dhcp").about(firmware.name());
    step.why = told.reasons.iter().filter(|reason| !common.contains(reason)).cloned().collect();
    if told.answered {
        let address = told.address.map_or_else(|| "an address".to_owned(), |address| address.to_string());
        let file = told.boot_file.as_ref().map(|file| format!(", boot file {file}"));
        step = step.answer(format!("{address}{}", file.unwrap_or_default()));
    }
    step
}

/// The boot program that was named: whether it is there.
fn program(head: &Head<'_>, firmware: Firmware, told: &Explanation, known: Option<Known<'_>>) -> Option<Step> {
    let file = told.boot_file.as_deref()?;
    let rest = file.split_once("://")?.1.split_once('/')?.1;
    let name = rest.strip_prefix("nbp/").unwrap_or(rest);
    if name.starts_with("boot/") {
        return None;
    }
    let values = known.map(|known| known.values(&["boot program", "grubboot"])).unwrap_or_default();
    let step = Step::new("nbp").about(firmware.name()).values(values);
    if name.starts_with("grub/") {
        return Some(signed(head, step, known));
    }
    let bytes = head.boot.programs.get(name).map(|(_, bytes)| bytes.clone()).or_else(|| head.boot.programs.read(name));
    Some(match bytes {
        Some(bytes) => step.answer(format!("{name}, {}", indicatif::HumanBytes(bytes.len() as u64))),
        None => {
            let dirs: Vec<String> = head.boot.program_dirs.iter().map(|dir| dir.display().to_string()).collect();
            step.stop(format!("{name} lies in none of {}", dirs.join(", ")))
        }
    })
}

/// shim and GRUB, of the node's image or else of this host.
fn signed(head: &Head<'_>, step: Step, known: Option<Known<'_>>) -> Step {
    let image = known.and_then(|known| known.node.image.as_ref());
    let version = image.and_then(|image| match image.version {
        Some(id) => head.library.version(&image.name, id).ok(),
        None => head.library.active(&image.name).ok(),
    });
    if version.and_then(|version| version.loader(SignedLoader::Shim)).is_some() {
        return step.answer("shim, then GRUB, both of the image").why("Secure Boot: its kernel is signed by the same");
    }
    match head_loader(Path::new("/"), SignedLoader::Shim) {
        Ok(_) => step.answer("shim, then GRUB, both of this host").why("the image has none of its own"),
        Err(error) => step.stop(error),
    }
}
