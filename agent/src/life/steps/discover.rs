//! Discovery: tells the heads what this machine is, and waits until it is a node. Nothing on it is touched.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use wulfpack_shared::bootargs::BootArgs;
use wulfpack_shared::id::{BootId, Mac, NodeName};
use wulfpack_shared::net::control::{ControlClient, ControlError};
use wulfpack_shared::wire::{
    Adoption, AwaitAdoption, ControlRequest, ControlResponse, DiscoverRequest, Inventory, Neighbour, Refusal,
};

use super::join::own_key;
use crate::discover::{HEARING, hear, inventory};
use crate::life::context::{Context, StepError};
use crate::link::{Interface, Links};
use crate::member::ask;
use crate::modules::Loader;
use crate::paths;

/// How long a head may hold a question for what has become of this machine, in seconds.
const WAIT_S: u16 = 60;
/// What lets the kernel speak to the management controller, where the initramfs has it.
const IPMI: [&str; 2] = ["ipmi_si", "ipmi_devintf"];

/// This machine, as it speaks to the heads.
struct Unknown {
    client: ControlClient,
    token: Vec<u8>,
    mac: Mac,
    boot: BootId,
    inventory: Inventory,
}

pub(super) async fn discover(context: &Arc<Context>) -> Result<(), StepError> {
    let token = std::fs::read(paths::TOKEN).with_context(|| {
        format!("no token in {}: the head gave this machine none; it has to boot again", paths::TOKEN)
    })?;
    let key = own_key(context).await?;
    let (links, own) = {
        let left = context.left();
        let linked = left.linked.as_ref().context("the network is not up")?;
        (linked.links.clone(), linked.interface.clone())
    };
    let mac = context.args().mac.or(own.permanent).or(own.mac).context("the boot interface has no hardware address")?;
    let client = ControlClient::new(context.args().heads.clone(), &key).map_err(StepError::again)?;
    context.doing("looking at the hardware");
    tokio::task::spawn_blocking(load_ipmi).await.map_err(StepError::again)?;
    let others = bring_up_others(&links, own.index).await?;
    let boot = context.state().boot;
    let mut machine = Unknown { client, token, mac, boot, inventory: look(&links).await? };
    match machine.tell(context, false).await {
        Err(error) if context.args().node.is_none() => return Err(error),
        // A node goes on in any case.
        _told => {}
    }
    let indices: Vec<u32> = others.iter().map(|one| one.index).chain([own.index]).collect();
    let mut hearing = Some(tokio::spawn(async move { hear(&indices, HEARING).await }));
    if context.args().node.is_some() {
        return show_and_go_on(context, &mut machine, &links, hearing).await;
    }
    context.doing(format!("waiting to be adopted: \"wulf node adopt {mac} NAME\" on the head"));
    let adoption = loop {
        tokio::select! {
            heard = heard(&mut hearing) => {
                hearing = None;
                machine.inventory = look(&links).await?;
                machine.add(&links.interfaces().await.map_err(StepError::again)?, &heard);
                machine.tell(context, true).await?;
            }
            answer = machine.wait() => match answer? {
                Adoption::Waiting { .. } => {}
                Adoption::Forgotten => machine.tell(context, hearing.is_none()).await?,
                adoption => break adoption,
            },
        }
    };
    if let Some(hearing) = hearing {
        hearing.abort();
    }
    // Other cards are the node's own business again; whether one goes down is not worth a boot.
    for other in others {
        if let Err(error) = links.down(&other).await {
            tracing::debug!(%error, "after discovery");
        }
    }
    match adoption {
        Adoption::Adopted { node, args, token } => become_node(context, &node, &args, &token),
        Adoption::Restart { node, why } => {
            context.say(format!("this machine is {node} now; {why}: it starts again"));
            context.left().restart = Some(why);
            Ok(())
        }
        Adoption::Waiting { .. } | Adoption::Forgotten => Ok(()),
    }
}

/// A node that was told to show what it is does so, and goes on, whatever the head makes of it.
async fn show_and_go_on(
    context: &Context,
    machine: &mut Unknown,
    links: &Links,
    mut hearing: Option<JoinHandle<BTreeMap<u32, Neighbour>>>,
) -> Result<(), StepError> {
    context.doing("listening for its switches");
    let heard = heard(&mut hearing).await;
    machine.inventory = look(links).await?;
    machine.add(&links.interfaces().await.map_err(StepError::again)?, &heard);
    if let Err(error) = machine.tell(context, true).await {
        context.say(format!("the head does not take what this machine is: {}", error.reason));
    }
    Ok(())
}

impl Unknown {
    async fn tell(&self, context: &Context, complete: bool) -> Result<(), StepError> {
        let request = DiscoverRequest {
            token: self.token.clone(),
            mac: self.mac,
            boot: self.boot,
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            inventory: self.inventory.clone(),
            complete,
        };
        let told = |answer| if let ControlResponse::Discovered(told) = answer { Some(told.text) } else { None };
        let text = ask(&self.client, ControlRequest::Discover(Box::new(request)), told).await;
        context.say(text.map_err(StepError::again)?);
        Ok(())
    }

    async fn wait(&self) -> Result<Adoption, StepError> {
        let request = AwaitAdoption { mac: self.mac, boot: self.boot, wait_s: WAIT_S };
        match self.client.listen(ControlRequest::AwaitAdoption(request)).await {
            Ok(ControlResponse::Adoption(adoption)) => Ok(adoption),
            Ok(ControlResponse::Refused(Refusal { text, .. })) => Err(StepError::again(text)),
            Ok(_) => Err(StepError::again("the head answered something else than what was asked")),
            Err(error @ (ControlError::Setup(_) | ControlError::Unreachable { .. })) => Err(StepError::again(error)),
        }
    }

    fn add(&mut self, interfaces: &[Interface], heard: &BTreeMap<u32, Neighbour>) {
        for nic in &mut self.inventory.nics {
            let index = interfaces.iter().find(|one| one.name == nic.name).map(|one| one.index);
            nic.neighbour = index.and_then(|index| heard.get(&index)).cloned();
        }
    }
}

/// What was heard; never, once that was taken.
async fn heard(hearing: &mut Option<JoinHandle<BTreeMap<u32, Neighbour>>>) -> BTreeMap<u32, Neighbour> {
    match hearing {
        Some(hearing) => hearing.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

/// A machine without a management controller, or without these modules, has none to tell of.
fn load_ipmi() {
    let Ok(release) = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()) else {
        return;
    };
    if let Ok(mut loader) = Loader::new(Path::new("/"), &release) {
        let report = loader.load_by_name(IPMI);
        tracing::debug!(?report, "IPMI");
    }
}

/// Every other Ethernet interface, up: only then it has a carrier and hears its switch.
async fn bring_up_others(links: &Links, own: u32) -> Result<Vec<Interface>, StepError> {
    let all = links.interfaces().await.map_err(StepError::again)?;
    let mut raised = vec![];
    for other in all.into_iter().filter(|one| one.ethernet && !one.loopback && !one.up && one.index != own) {
        match links.up(&other).await {
            Ok(()) => raised.push(other),
            Err(error) => tracing::debug!(%error, "discovery"),
        }
    }
    Ok(raised)
}

/// What this machine is now, with the addresses that are burnt in.
async fn look(links: &Links) -> Result<Inventory, StepError> {
    let mut found = tokio::task::spawn_blocking(|| inventory(Path::new("/"))).await.map_err(StepError::again)?;
    for interface in links.interfaces().await.map_err(StepError::again)? {
        if let Some(permanent) = interface.permanent
            && let Some(nic) = found.nics.iter_mut().find(|nic| nic.name == interface.name)
        {
            nic.mac = permanent;
        }
    }
    Ok(found)
}

/// From here on this boot is that of the node; a worker that has to start again finds it so.
fn become_node(context: &Context, node: &NodeName, args: &str, token: &[u8]) -> Result<(), StepError> {
    let parsed: BootArgs = args.parse().map_err(StepError::again)?;
    write(Path::new(paths::TOKEN), token)?;
    write(Path::new(paths::ADOPTED), args.as_bytes())?;
    context.say(format!("this machine is {node} now, and goes on"));
    {
        let mut state = context.state();
        state.heads.clone_from(&parsed.heads);
        state.cluster.clone_from(&parsed.cluster);
    }
    context.adopt(parsed);
    context.save();
    // The lease was that of an unknown machine.
    if let Some(linked) = context.left().linked.as_mut() {
        linked.client = None;
    }
    Ok(())
}

/// Whole or not at all, readable for nobody else.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    let work = || {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        std::fs::rename(&fresh, path)
    };
    work().with_context(|| format!("failed to write {}", path.display()))
}
