//! Opens the sockets of every service, then starts them. Each that cannot start, or ends, is named.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use wulfpack_shared::identity::HeadAddr;
use wulfpack_shared::net::control::ControlServer;

use super::agent::InstalledAgent;
use super::core::{Core, Streams};
use super::discovery;
use super::facts::RunningHead;
use super::neighbours::ReadyNodes;
use super::places::Places;
use super::sources::BootTokens;
use crate::admin::{AdminServer, AdminServices};
use crate::boot::{Arch, HeadSettings, Nbps, Programs, Scripts};
use crate::config::{Config, NeighbourBoot, TokenEvidence};
use crate::dhcp::{self, Evidence};
use crate::dhcp6;
use crate::discover::Control;
use crate::fleet::{Input, Severity, check_logins};
use crate::http;
use crate::join::{NextBoots, RENEWAL_GRACE};
use crate::ndp;
use crate::tftp;
use crate::trace::Recorder;

/// How often the head gives itself a new certificate, and looks whether an old key's time is over.
const RENEW: Duration = Duration::from_secs(3600);
/// How often what ran out is forgotten.
const PRUNE: Duration = Duration::from_secs(3600);
/// Most heads on a kernel command line.
const HEADS_MAX: usize = 8;

/// Everything that runs.
#[derive(Debug)]
pub(super) struct Services {
    tasks: JoinSet<()>,
    names: Vec<(Id, &'static str)>,
    /// Where agents reach this head.
    pub(super) control: ControlServer,
}

impl Services {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.names.push((id, name));
    }

    /// Returns when a service has ended, which none should; the error names it.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        let name = |id: Id| self.names.iter().find(|(known, _)| *known == id).map_or("a service", |(_, name)| *name);
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => anyhow::anyhow!("{} ended; the log above says why", name(id)),
            Some(Err(error)) => anyhow::anyhow!("{} failed: {error}", name(error.id())),
            None => anyhow::anyhow!("no service runs"),
        }
    }

    /// Binds and starts everything.
    pub(super) async fn start(core: &Arc<Core>, streams: Streams) -> anyhow::Result<Self> {
        let config = &core.config;
        let control_addrs = core.places.with_port(config.ports.control);
        let evidence = Evidence::default();
        let mut facts = RunningHead::new(Arc::clone(core));
        // Bind.
        let admin = AdminServer::bind(&config.paths.admin_socket()).context("the administrator's socket")?;
        let boot = bind_boot(core, &mut facts)?;
        let settings = watch::Sender::new(Arc::new(head_settings(core, &control_addrs)));
        let discovery = discovery::open(core, settings.subscribe())?;
        let handler = Control { join: core.join.clone(), discovery: discovery.clone() };
        let control = ControlServer::start(control_addrs, &core.head, Arc::new(handler));
        let control = control.await.context("the control plane")?;
        facts.say("control", list(control.local_addrs()));
        facts.say("data", list(core.swarm.local_addrs()));
        // Start.
        let admin_services = AdminServices {
            facts: Arc::new(facts),
            fleet: core.fleet.clone(),
            trace: core.trace.clone(),
            orders: core.orders.clone(),
            once: core.once.clone(),
            store: Arc::clone(&core.store),
            registry: Arc::clone(&core.registry) as _,
            overlays: Arc::clone(&core.overlays) as _,
            images: Arc::new(core.catalogue.clone()),
            tokens: core.tokens.clone(),
            clock: core.clock.clone(),
            cluster: core.cluster.subscribe(),
            head: core.head.public(),
            control: control.local_addrs().to_vec(),
            discovery: Some(discovery.clone()),
        };
        let mut services = Self { tasks: JoinSet::new(), names: vec![], control };
        services.spawn("the administrator's API", async move {
            if let Err(error) = admin.run(admin_services).await {
                tracing::error!(%error, "the administrator's API");
            }
        });
        services.start_boot(core, boot, evidence, settings);
        services.start_keepers(core, streams);
        services.spawn("discovery", discovery.keep(core.members.clone()));
        services.spawn("the list of adopted machines", discovery::follow_claims(Arc::clone(core)));
        Ok(services)
    }

    fn start_boot(
        &mut self,
        core: &Arc<Core>,
        boot: Boot,
        evidence: Evidence,
        settings: watch::Sender<Arc<HeadSettings>>,
    ) {
        let recorder = Recorder { fleet: core.fleet.clone(), trace: core.trace.clone() };
        let events = || Arc::new(recorder.clone());
        let head = settings.subscribe();
        self.spawn("the keeper of the cluster's keys", follow_keys(Arc::clone(core), settings));
        if let Some(server) = boot.http {
            let (fleet, members) = (core.fleet.clone(), core.members.clone());
            let next_boots = NextBoots::new(Arc::clone(&core.store), members, fleet.clone());
            let tokens = BootTokens {
                maker: core.tokens.clone(),
                next_boots,
                fleet,
                clock: core.clock.clone(),
                refused: Arc::default(),
            };
            let paths = &core.config.paths;
            let agent = InstalledAgent::new(paths.agent_binary(std::env::consts::ARCH), paths.packed_agents());
            let (agent, library) = (Arc::new(agent), Arc::clone(&core.catalogue.0));
            let early = Arc::clone(&agent);
            // Nobody waits for its end: a node that asks sooner waits for the archive itself.
            tokio::task::spawn_blocking(move || early.warm(&library));
            let desk = http::Services {
                nodes: core.nodes.subscribe(),
                head,
                evidence: evidence.clone(),
                events: events(),
                versions: Arc::new(core.catalogue.clone()),
                tokens: Arc::new(tokens),
                agent,
                programs: boot.programs,
                scripts: Arc::new(Scripts::new(Some(&paths.etc))),
                wave: core.config.boot.wave,
                once: core.once.clone(),
                neighbours: neighbours(core),
                unknown: discovery::unknown(core),
            };
            let desk = Arc::new(http::Desk::new(desk));
            self.spawn("the HTTP boot service", server.run(Arc::clone(&desk)));
            if let Some(server) = boot.tftp {
                self.spawn("the TFTP service", server.run(desk));
            }
        }
        if let Some(server) = boot.ndp {
            self.spawn("the IPv6 neighbour service", server.run(core.nodes.subscribe()));
        }
        if let Some(server) = boot.dhcp6 {
            self.spawn("the DHCPv6 service", server.run(core.nodes.subscribe(), evidence.clone(), events()));
        }
        if let Some(server) = boot.dhcp {
            let services = dhcp::Services {
                nodes: core.nodes.subscribe(),
                evidence,
                events: events(),
                trace: core.trace.clone(),
                store: Arc::clone(&core.store),
            };
            self.spawn("the DHCP service", server.run(services));
        }
    }

    /// Tasks that keep things as they should be.
    fn start_keepers(&mut self, core: &Arc<Core>, streams: Streams) {
        let Streams { probes, swarm } = streams;
        self.spawn("the login check", check_logins(core.fleet.clone(), core.config.ready, probes));
        self.spawn("the orders to nodes", core.orders.clone().run());
        self.spawn("the seed", Arc::clone(&core.seeds).follow());
        self.spawn("the swarm", Arc::clone(&core.seeds).listen(core.fleet.clone(), swarm));
        self.spawn("the registry watcher", follow_registry(Arc::clone(core)));
        self.spawn("the revocation list", follow_revocations(Arc::clone(core)));
        self.spawn("the pruning of the state", prune(Arc::clone(core)));
    }
}

/// Boot services whose sockets are open.
#[derive(Debug, Default)]
struct Boot {
    http: Option<http::Server>,
    tftp: Option<tftp::Server>,
    dhcp: Option<dhcp::Server>,
    dhcp6: Option<dhcp6::Server>,
    ndp: Option<ndp::Server>,
    programs: Arc<Programs>,
}

fn bind_boot(core: &Core, facts: &mut RunningHead) -> anyhow::Result<Boot> {
    let (config, places) = (&core.config, &core.places);
    let mut boot = Boot::default();
    if places.addresses.is_empty() {
        for name in ["http", "tftp", "dhcp"] {
            facts.off(name, "no interface is configured");
        }
        return Ok(boot);
    }
    let listen = |(address, proof): &(IpAddr, TokenEvidence)| http::Listen {
        address: SocketAddr::new(*address, config.ports.http),
        proof: *proof,
    };
    let options = http::Options { listen: places.addresses.iter().map(listen).collect() };
    let server = http::Server::bind(&options).context("the HTTP boot service")?;
    facts.say("http", list(&server.addresses()));
    boot.http = Some(server);
    boot.programs = Arc::new(Programs::find(&program_dirs(config), config.boot.programs.values().cloned()));
    if boot.programs.is_empty() {
        // Machines with iPXE in their firmware, and hosts that fetch, need none.
        tracing::warn!(
            "no network boot program was found, and machines without iPXE in their firmware cannot boot: install iPXE (on Debian the package ipxe) or build it with scripts/build-ipxe.sh"
        );
    }
    if !places.tftp {
        facts.off("tftp", "the interfaces serve neither DHCP nor TFTP");
    } else {
        let listen = places.addresses.iter().map(|(address, proof)| http::Listen {
            address: SocketAddr::new(*address, config.ports.tftp),
            proof: *proof,
        });
        let options = tftp::Options { listen: listen.collect(), http_port: config.ports.http };
        let server = tftp::Server::bind(&options).context("the TFTP service")?;
        facts.say("tftp", list(&server.addresses()));
        boot.tftp = Some(server);
    }
    bind_six(core, facts, &mut boot)?;
    if places.dhcp.is_empty() {
        facts.off("dhcp", "no interface with an IPv4 address serves it");
        return Ok(boot);
    }
    let (server, handle) =
        dhcp::Server::bind(dhcp_options(config, places, &boot.programs)?).context("the DHCP service")?;
    facts.dhcp(handle, &places.dhcp);
    boot.dhcp = Some(server);
    Ok(boot)
}

/// What IPv6 needs: DHCPv6 where the head has an address, and an answer to who asks for a router.
fn bind_six(core: &Core, facts: &mut RunningHead, boot: &mut Boot) -> anyhow::Result<()> {
    let (config, places) = (&core.config, &core.places);
    if config.dhcp.answer_router_solicitations {
        let (server, failed) = ndp::Server::bind(&dhcp::links(&places.ndp)?);
        failed.iter().for_each(|error| tracing::info!("{error}"));
        boot.ndp = Some(server);
    }
    if places.dhcp6.is_empty() {
        facts.off("dhcp6", "no interface with an IPv6 address serves it");
        return Ok(());
    }
    let links = dhcp::links(&places.dhcp6)?.into_iter();
    let settings = dhcp6::Settings {
        links: links.map(|link| dhcp6::Link { index: link.index, mac: link.mac, networks: link.addresses6 }).collect(),
        http_port: config.ports.http,
        lease: Duration::from_secs(config.dhcp.lease_seconds.into()),
        dns: config.dns.iter().filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(*ip) } else { None }).collect(),
        nbps: nbps(config, &boot.programs)?,
    };
    boot.dhcp6 = Some(dhcp6::Server::bind(&places.dhcp6, settings).context("the DHCPv6 service")?);
    facts.say("dhcp6", places.dhcp6.join(", "));
    Ok(())
}

/// Port on which nodes give kernel and modules: the head's own, since a script names both alike.
fn neighbour_port(config: &Config) -> Option<u16> {
    (config.boot.neighbours == NeighbourBoot::Accept).then_some(config.ports.http)
}

fn neighbours(core: &Core) -> Option<Arc<dyn http::Neighbours>> {
    let port = neighbour_port(&core.config)?;
    tracing::warn!(
        "boot: neighbours: accept: kernel and modules may come from nodes that are up; no boot loader verifies them"
    );
    Some(Arc::new(ReadyNodes::new(core.fleet.clone(), core.nodes.subscribe(), port)))
}

/// Where network boot programs lie, the preferred place first.
pub(super) fn program_dirs(config: &Config) -> Vec<PathBuf> {
    let shipped = config.paths.data.join("ipxe");
    let usual = ["/usr/local/share/ipxe", "/usr/lib/ipxe", "/usr/share/ipxe", "/boot"].map(PathBuf::from);
    [config.paths.ipxe.clone(), shipped].into_iter().chain(usual).collect()
}

/// The boot programs that DHCP names.
fn nbps(config: &Config, programs: &Programs) -> anyhow::Result<Nbps> {
    let read = |(arch, name): (&String, &String)| {
        let arch = arch.parse::<Arch>().map_err(|why| anyhow::anyhow!("boot: programs: {arch:?}: {why}"))?;
        anyhow::Ok((arch, name.trim_start_matches('/').to_owned()))
    };
    let named = config.boot.programs.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Nbps::of(&programs.names().map(str::to_owned).collect(), named, config.boot.grub))
}

pub(super) fn dhcp_options(config: &Config, places: &Places, programs: &Programs) -> anyhow::Result<dhcp::Options> {
    let v4 = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => Some(*ip),
        IpAddr::V6(_) => None,
    };
    Ok(dhcp::Options {
        nbps: nbps(config, programs)?,
        lease: Duration::from_secs(config.dhcp.lease_seconds.into()),
        domain: (!config.domain.is_empty()).then(|| config.domain.clone()),
        dns: config.dns.iter().filter_map(v4).collect(),
        override_other: config.dhcp.ignore_other_servers,
        policy: dhcp::Policy::new(&config.dhcp),
        ..dhcp::Options::new(places.dhcp.clone(), config.ports.http)
    })
}

fn list(addrs: &[SocketAddr]) -> String {
    addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What the head says to every node.
fn head_settings(core: &Core, control: &[SocketAddr]) -> HeadSettings {
    let head = |control: &SocketAddr| HeadAddr { key: core.head.public(), control: *control };
    let heads = control.iter().take(HEADS_MAX).map(head).collect();
    let cluster = core.cluster_keys().trusted(core.clock.now());
    HeadSettings { heads, cluster, neighbour: neighbour_port(&core.config), debug: false }
}

async fn follow_registry(core: Arc<Core>) {
    let mut watched = core.registry.watcher().subscribe();
    let mut told = None;
    loop {
        let (snapshot, error) = {
            let now = watched.borrow_and_update();
            (Arc::clone(&now.snapshot), now.error.clone())
        };
        if error != told {
            let (severity, text) = match &error {
                Some(error) => (Severity::Warning, format!("the registry is not in force as it is now: {error}")),
                None => (Severity::Info, "the registry is in force again as it is".into()),
            };
            core.fleet.tell(Input::Event { severity, node: None, text });
            told = error;
        }
        discovery::tell_nodes(&core);
        let join = core.join.clone();
        let followed = tokio::task::spawn_blocking(move || join.follow(&snapshot)).await;
        if let Ok(Err(error)) = followed {
            tracing::error!(%error, "nodes that left the registry are not locked out");
        }
        if watched.changed().await.is_err() {
            return;
        }
    }
}

async fn follow_revocations(core: Arc<Core>) {
    let mut revocations = core.members.revocations();
    loop {
        let now = revocations.borrow_and_update().clone();
        core.tracker.set_revoked(now.epoch, now.keys.clone());
        if core.swarm.revoke(now.keys).await.is_err() || revocations.changed().await.is_err() {
            return;
        }
    }
}

/// Boot scripts and the data plane go by the keys that count now. Joins and tickets look for themselves.
async fn follow_keys(core: Arc<Core>, settings: watch::Sender<Arc<HeadSettings>>) {
    let mut keys = core.cluster.subscribe();
    loop {
        let cluster = keys.borrow_and_update().trusted(core.clock.now());
        settings
            .send_modify(|settings| *settings = Arc::new(HeadSettings { cluster, ..HeadSettings::clone(settings) }));
        if let Err(error) = core.renew_own() {
            tracing::error!(%error, "the head's own certificate is not renewed");
        }
        // Without a change it waits for the next look; the sender lives as long as the head.
        let _waited = tokio::time::timeout(RENEW, keys.changed()).await;
    }
}

async fn prune(core: Arc<Core>) {
    loop {
        let (members, now) = (core.members.clone(), core.clock.now());
        // Nodes whose certificate ran out while the head was down may still come back.
        let before = now - RENEWAL_GRACE;
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || members.prune(before)).await {
            tracing::error!(%error, "the state is not pruned");
        }
        tokio::time::sleep(PRUNE).await;
    }
}
