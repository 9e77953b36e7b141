//! Commands of `wulf` against a head that runs.

use std::collections::BTreeSet;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use wulfpack_shared::id::{BootId, ImageName, Mac, NodeName, PublicKey, VersionId};
use wulfpack_shared::identity::Role;

use super::super::facts::RunningHead;
use super::*;
use crate::admin::HeadFacts;
use crate::cli::Wulf;
use crate::dhcp;
use crate::exit::{Ended, Exit};
use crate::fleet::{Input, Joined};
use crate::store::Member;

/// A head that writes what it learns, and whose configuration is a file.
async fn running(last: u8, change: impl FnOnce(&mut Config)) -> (Head, watch::Sender<bool>, JoinHandle<()>) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = set_up(dir.path(), last);
    change(&mut config);
    // A member that the registry does not name would be locked out.
    fs::write(config.paths.nodes_file(), "nodes:\n  n1: {}\n").unwrap();
    fs::write(dir.path().join("wulfpack.yaml"), serde_saphyr::to_string(&config).unwrap()).unwrap();
    build(&config, &noise(100_000, 1));
    let head = start(dir, config).await;
    let (stop, told) = watch::channel(false);
    let writer = tokio::spawn(head.core.fleet.clone().write_to(Arc::clone(&head.core.store), told));
    (head, stop, writer)
}

async fn end(head: Head, stop: watch::Sender<bool>, writer: JoinHandle<()>) {
    stop.send_replace(true);
    writer.await.unwrap();
    head.services.control.shutdown().await;
}

fn small() -> ImageName {
    "small".parse().unwrap()
}

impl Head {
    /// Runs `wulf ARGS --yes`, as from another process.
    async fn wulf(&self, args: &[&str]) -> anyhow::Result<ExitCode> {
        let config = self.dir.path().join("wulfpack.yaml");
        let line = ["wulf", "--yes", "--config", config.to_str().unwrap()];
        let wulf = Wulf::try_parse_from(line.iter().chain(args))?;
        tokio::task::spawn_blocking(move || wulf.run()).await.unwrap()
    }

    fn audited(&self) -> Vec<(String, String)> {
        let records = self.core.store.audits(100).unwrap();
        records.into_iter().map(|record| (record.what, record.detail)).collect()
    }

    fn active(&self) -> VersionId {
        self.core.catalogue.0.active(&small()).unwrap().id()
    }

    fn versions(&self) -> BTreeSet<VersionId> {
        self.core.catalogue.0.versions(&small()).unwrap().iter().map(crate::image::Version::id).collect()
    }

    /// Changes the image's tree and builds it.
    async fn change(&self, seed: u8) -> VersionId {
        fs::write(self.core.catalogue.0.rootfs(&small()).join("content"), noise(100_000, seed)).unwrap();
        self.wulf(&["image", "build", "small"]).await.unwrap();
        self.active()
    }

    fn waits(&self, name: &str, last: u8) {
        let (mac, addr) = (Mac([2, 0, 0, 0, 0, last]), "127.0.0.1".parse().unwrap());
        self.core.fleet.tell(Input::Waits { node: name.parse().unwrap(), mac, addr });
    }

    /// n1 boots into this version.
    fn join(&self, image: VersionId) {
        let (node, key): (NodeName, _) = ("n1".parse().unwrap(), PublicKey([9; 32]));
        let (boot, now) = (BootId(image.0[..16].try_into().unwrap()), self.core.clock.now());
        let (name, role, nonce) = (node.clone(), Role::Node, [0; 16]);
        let member = Member { key, name, role, rack: None, boot, nonce, issued: now, not_after: now };
        self.core.members.put(member).unwrap();
        let (addr, agent) = ("127.0.0.1".parse().unwrap(), "0".into());
        let joined = Joined { node, key, boot, addr, image, agent, memory: 1, clock_offset_ms: 0 };
        self.core.fleet.tell(Input::Joined(joined));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn approve_takes_many_and_its_exit_code_says_whether_all_waited() {
    let (head, stop, writer) = running(4, |_| ()).await;
    head.waits("n1", 1);
    head.waits("n2", 2);
    assert_eq!(head.wulf(&["node", "approve", "n[1-3]"]).await.unwrap(), Exit::Failed.into(), "n3 does not wait");
    let approved = "n1 (02:00:00:00:00:01), n2 (02:00:00:00:00:02)";
    assert_eq!(head.audited(), [("approve".into(), approved.into())]);
    let error = head.wulf(&["node", "approve", "n1"]).await.unwrap_err();
    assert_eq!(Ended::code_of(&error), Exit::NothingMatched);
    head.waits("n4", 4);
    assert_eq!(head.wulf(&["node", "approve", "n4", "--output", "json"]).await.unwrap(), ExitCode::SUCCESS);
    for output in ["table", "json", "yaml"] {
        head.wulf(&["events", "--count", "3", "--output", output]).await.unwrap();
    }
    end(head, stop, writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_just_added_gets_its_ticket_and_is_shown() {
    let (head, stop, writer) = running(10, |_| ()).await;
    for name in ["n5", "n6", "n7"] {
        head.wulf(&["node", "add", name, "--image", "small"]).await.unwrap();
        let file = head.dir.path().join(name);
        head.wulf(&["ticket", name, "--out", file.to_str().unwrap()]).await.unwrap();
        assert!(fs::read_to_string(file).unwrap().parse::<Ticket>().is_ok());
    }
    head.wulf(&["node", "delete", "n5"]).await.unwrap();
    assert_eq!(head.status().await.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["n1", "n6", "n7"]);
    let error = head.wulf(&["ticket", "n5"]).await.unwrap_err();
    assert!(error.to_string().contains("there is no node n5"), "{error}");
    end(head, stop, writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dhcp_that_is_off_is_said_to_be_and_cannot_be_overridden() {
    let (head, stop, writer) = running(5, |_| ()).await;
    let status: crate::admin::DhcpStatus = head.client.get("/v1/dhcp").await.unwrap();
    let answers = |name: &str| status.services[name].answers;
    assert!(answers("http") && answers("control") && !answers("dhcp") && !answers("tftp"), "{status:?}");
    assert_eq!((status.other_server, status.overridden), (None, false));
    for output in ["table", "json", "yaml"] {
        head.wulf(&["dhcp", "status", "--output", output]).await.unwrap();
    }
    let error = head.wulf(&["dhcp", "override", "on"]).await.unwrap_err();
    assert!(error.to_string().contains("DHCP is off"), "{error}");
    end(head, stop, writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_withholds_dhcp_is_named_and_overridden() {
    let (head, stop, writer) = running(8, |_| ()).await;
    let state = dhcp::State::OtherServer { address: [10, 0, 0, 254].into(), withheld: true };
    let mut facts = RunningHead::new(Arc::clone(&head.core));
    let status = dhcp::Status { state, counters: dhcp::Counters::default() };
    RunningHead::dhcp(&mut facts, dhcp::Handle::saying(status), &["eth1".into()]);
    let status = HeadFacts::dhcp(&facts);
    assert_eq!((status.other_server, status.overridden), (Some([10, 0, 0, 254].into()), false));
    let service = &status.services["dhcp"];
    assert!(!service.answers && service.detail.starts_with("on eth1: withheld"), "{service:?}");
    assert_eq!(facts.override_dhcp(true), Ok(()));
    assert!(HeadFacts::dhcp(&facts).overridden);
    end(head, stop, writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_a_node_runs_is_kept_until_it_runs_another() {
    let (head, stop, writer) = running(6, |config| config.image.keep = 1).await;
    let first = head.active();
    head.join(first);
    head.change(2).await;
    let third = head.change(3).await;
    assert_eq!(head.versions(), BTreeSet::from([first, third]), "nobody ran the second");
    // The registry names no node with this image, and yet one runs it.
    let error = head.wulf(&["image", "delete", "small"]).await.unwrap_err();
    assert!(error.to_string().contains("n1 (runs version"), "{error}");
    head.join(third);
    let fourth = head.change(4).await;
    assert_eq!(head.versions(), BTreeSet::from([third, fourth]));

    // Out of reach: its state is in use, so that nobody can say what nodes run.
    fs::rename(head.core.config.paths.admin_socket(), head.dir.path().join("elsewhere")).unwrap();
    let fifth = head.change(5).await;
    assert_eq!(head.versions(), BTreeSet::from([third, fourth, fifth]));
    assert!(head.wulf(&["image", "delete", "small"]).await.unwrap_err().to_string().contains("stays"));
    end(head, stop, writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_copy_and_no_change_of_the_keys_without_its_record() {
    let (head, stop, writer) = running(7, |_| ()).await;
    let path = |name: &str| head.dir.path().join(name).to_str().unwrap().to_owned();
    head.wulf(&["key", "backup", &path("first.keys")]).await.unwrap();
    let record = ("key-backup".to_owned(), format!("all secret keys to {}", path("first.keys")));
    assert_eq!(head.audited(), std::slice::from_ref(&record));
    let first = head.core.cluster_keys().public();
    head.wulf(&["key", "rotate"]).await.unwrap();
    let second = head.core.cluster_keys().public();
    assert_ne!(first, second);
    let trusted = format!("trusted, the newest first: {second:.16}, {first:.16}");
    assert_eq!(head.audited(), [record, ("key-rotate".to_owned(), trusted)]);
    // Out of reach: its state is in use, so that nobody can write there.
    fs::rename(head.core.config.paths.admin_socket(), path("elsewhere")).unwrap();
    let error = head.wulf(&["key", "backup", &path("second.keys")]).await.unwrap_err();
    assert!(format!("{error:#}").contains("in use"), "{error:#}");
    assert!(!Path::new(&path("second.keys")).exists());
    assert!(head.wulf(&["key", "rotate"]).await.is_err());
    assert_eq!(Keys::load(&head.core.config.paths).unwrap().cluster.public(), second);
    end(head, stop, writer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_the_running_head_takes_nodesets() {
    let (head, stop, writer) = running(9, |_| ()).await;
    head.join(head.active());
    head.waits("n2", 2);
    for args in [
        &["node", "status", "n*"][..],
        &["node", "status", "@*!n[2-9]", "--output", "json"],
        &["boot", "report", "n[1-9]&@*"],
        &["boot", "report", "n[1-10000]", "--output", "json"],
        &["node", "log", "n1"],
        &["node", "log", "n[1-2]", "--output", "json"],
    ] {
        assert_eq!(head.wulf(args).await.unwrap(), ExitCode::SUCCESS, "{args:?}");
    }
    assert_eq!(head.wulf(&["node", "log", "n[1-3]"]).await.unwrap(), Exit::Failed.into(), "n3 never booted");
    for (args, text) in [
        (&["node", "status", "n[1,3-5]"][..], "there is no node n[3-5]"),
        (&["node", "status", "@rack:r1"], "no node has rack \"r1\""),
        (&["boot", "report", "n[7-9]"], "none of these nodes"),
    ] {
        let error = head.wulf(args).await.unwrap_err();
        assert_eq!((Ended::code_of(&error), error.to_string().contains(text)), (Exit::NothingMatched, true), "{error}");
    }
    end(head, stop, writer).await;
}
