//! What a machine is told that has become a node: its arguments, and the join token that only its key can show.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wulfpack_shared::id::NodeName;
use wulfpack_shared::wire::{Adoption, Phase, Refusal, RefusalReason};

use super::seat::{own_args, runs};
use super::service::Discovery;
use crate::boot::{boot_args, choose_kernel};
use crate::fleet::{BootEvent, Input, Severity};
use crate::registry::Node;
use crate::store::{AuditRecord, PendingMachine, Redeemed};

/// The answer, or what keeps the node from booting, for the person at the console.
pub(super) type Answer = Result<Adoption, String>;

impl Discovery {
    /// The answer to a machine that is this node now. Blocks for as long as reading an image's header and a flush of the disk take.
    pub(super) fn become_node(&self, machine: &PendingMachine, node: &Node) -> Result<Answer, Refusal> {
        let name = node.name.clone();
        let waits = |why: &str| Ok(Err(format!("this machine is {name} now, and cannot boot yet: {why}")));
        let Some(image) = &node.image else {
            return waits(&format!("node {name} has no image; \"wulf node set {name} --image NAME\" gives it one"));
        };
        let version = match self.0.versions.active(image) {
            Ok(version) => version,
            Err(why) => return waits(&why),
        };
        let kernel = match choose_kernel(node, &version.header) {
            Ok(kernel) => kernel,
            Err(error) => return waits(&error.to_string()),
        };
        // Another template means that the node boots something else than its image.
        let template = node.ipxe.as_deref().filter(|template| *template != crate::boot::DEFAULT_TEMPLATE);
        if template.is_some() || runs(kernel, node) != machine.runs {
            let why = match template {
                Some(template) => format!("its boot script is {template}"),
                None => {
                    let args = own_args(node, kernel).join(" ");
                    format!("it boots kernel {} with {args:?}, and something else runs here", kernel.version)
                }
            };
            self.tell_adopted(machine, &name, "it starts again to boot as the node wants it");
            return Ok(Ok(Adoption::Restart { node: name, why }));
        }
        let token = self.token(machine, &name)?;
        let via = match machine.from {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let head = std::sync::Arc::clone(&self.0.head.borrow());
        let args = boot_args(&head, node, machine.mac, SocketAddr::new(via, 0), self.0.clock.now());
        Ok(Ok(Adoption::Adopted { node: name, args: args.to_string(), token }))
    }

    /// The join token of this boot, spent already by the key that asks: nobody else can show it.
    fn token(&self, machine: &PendingMachine, name: &NodeName) -> Result<Vec<u8>, Refusal> {
        let (token, body) = self.0.tokens.for_adopted(name, machine.mac, machine.boot, self.0.clock.now());
        let redeemed = self.0.store.redeem(body.nonce, 1, body.expires, machine.key);
        match redeemed.map_err(|error| super::service::busy(&error))? {
            Redeemed::First => self.tell_adopted(machine, name, "it goes on without a restart"),
            Redeemed::Again => {}
            Redeemed::Taken { .. } => {
                let text = "another key has become this node in this boot".to_owned();
                return Err(Refusal { reason: RefusalReason::Token, text });
            }
        }
        Ok(token)
    }

    fn tell_adopted(&self, machine: &PendingMachine, name: &NodeName, how: &str) {
        let serial = &machine.inventory.system.serial;
        let serial = if serial.is_empty() { String::new() } else { format!(", serial number {serial}") };
        let text = format!("the machine {}{serial} is {name} now: {how}", machine.mac);
        self.0.fleet.tell(Input::Event { severity: Severity::Info, node: Some(name.clone()), text });
        // The boot that goes on is this interface's.
        let event = BootEvent {
            mac: machine.mac,
            node: Some(name.clone()),
            phase: Phase::Script,
            ip: Some(machine.from),
            detail: "adopted".into(),
            bytes: 0,
        };
        self.0.fleet.tell(Input::Boot(event));
        let (at, who, what) = (self.0.clock.now(), "discovery".into(), "adopted".into());
        let record = AuditRecord { at, who, what, detail: format!("{} is {name}: {how}", machine.mac) };
        if let Err(error) = self.0.store.audit(&record) {
            tracing::error!(%error, "an adoption cannot be recorded");
        }
    }
}
