//! In a network namespace of its own, with a veth pair, as root; skipped aloud where that is not possible.

use std::net::Ipv4Addr;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use tokio::sync::watch;
use wulfpack_shared::bootargs::FixedAddress;

use super::*;

const LONG: Duration = Duration::from_secs(30);

fn ip(arguments: &str) {
    assert!(Command::new("ip").args(arguments.split(' ')).status().unwrap().success(), "ip {arguments}");
}

/// A process that keeps a namespace alive, ended with the test.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Runs `test` on a thread with a network namespace and a tokio runtime of its own.
fn in_network<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("SKIPPED: no network namespace ({error}); run as root");
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    thread.join().unwrap();
}

#[test]
fn an_interface_is_named_brought_up_and_reaches_its_neighbour() {
    in_network(|| async {
        let links = Links::open().unwrap();
        let (waiting, seen) = watch::channel(Waiting::default());
        // Somebody else has the name that the registry gives the boot interface, and both are down.
        ip("link add boot0 address 02:00:00:00:00:07 type veth peer name far0 address 02:00:00:00:00:01");
        ip("link add eth0 type veth peer name spare0");
        let mac = Some("02:00:00:00:00:07".parse().unwrap());
        let found = links.find_interface(mac, LONG, &waiting).await.unwrap();
        assert_eq!(found.name, "boot0");
        let boot = links.prepare(&found, Some("eth0"), Some(1400)).await.unwrap();
        let names: Vec<_> = links.interfaces().await.unwrap().into_iter().map(|one| (one.index, one.name)).collect();
        assert!(names.contains(&(found.index, "eth0".into())), "{names:?}");
        assert!(names.iter().any(|(index, name)| *index != found.index && name == "boot0"), "{names:?}");
        links.up(&boot).await.unwrap();

        // No carrier while the far end is down; the console says so.
        let short = links.wait_carrier(&boot, Duration::ZERO, &waiting).await.unwrap_err();
        assert!(matches!(short, LinkError::NoCarrier { .. }));
        let carrier = async {
            let wait = links.wait_carrier(&boot, LONG, &waiting);
            let raise = async {
                let mut seen = seen.clone();
                seen.wait_for(|now| matches!(now, Waiting::Carrier { .. })).await.unwrap();
                ip("link set far0 up");
            };
            tokio::join!(wait, raise).0
        };
        carrier.await.unwrap();

        // One of another network, and what this machine had before in its own.
        for other in ["10.9.9.9", "10.0.0.200", "10.0.0.201"] {
            ip(&format!("addr add {other}/24 dev eth0"));
        }
        let (own, head) = (Ipv4Addr::new(10, 0, 0, 7), Ipv4Addr::new(10, 0, 0, 1));
        let address = FixedAddress { ip: own.into(), prefix: 24, gateway: Some(head.into()) };
        links.set_address(&boot, address).await.unwrap();
        links.set_address(&boot, address).await.unwrap(); // again after a lost link
        let text = Command::new("ip").args(["-4", "addr", "show", "eth0"]).output().unwrap();
        let text = String::from_utf8(text.stdout).unwrap();
        assert!(
            text.contains("10.0.0.7/24") && text.matches("inet ").count() == 1 && text.contains("mtu 1400"),
            "{text}"
        );
        let routes = Command::new("ip").args(["route"]).output().unwrap();
        let routes = String::from_utf8(routes.stdout).unwrap();
        assert!(routes.contains("default via 10.0.0.1 dev eth0"), "{routes}");

        // Nobody has the gateway's address.
        let targets = on_link_targets(address, &[]);
        let no_answer = links.arp_probe(&boot, own, &targets, Duration::from_millis(1), &waiting).await;
        assert!(matches!(no_answer, Err(LinkError::NoAnswer { .. })));
        assert!(links.arp_probe(&boot, own, &[], LONG, &waiting).await.unwrap().is_none());
    });
}

#[test]
fn a_neighbour_that_comes_late_is_found_and_a_lost_link_is_told() {
    in_network(|| async {
        let links = Links::open().unwrap();
        let (waiting, seen) = watch::channel(Waiting::default());
        // The far end needs a namespace of its own, or the kernel answers nothing for an address that is local.
        let holder = Holder(Command::new("unshare").args(["-n", "sleep", "600"]).spawn().unwrap());
        ip("link add eth0 type veth peer name far0");
        let pid = holder.0.id();
        // `unshare` needs a moment to reach its namespace; moving far0 before that would leave it here.
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap()
            == std::fs::read_link("/proc/thread-self/ns/net").unwrap()
        {
            tokio::task::yield_now().await;
        }
        ip(&format!("link set far0 netns {pid}"));
        let far = |command: &str| {
            let done =
                Command::new("nsenter").args(["-n", "-t", &pid.to_string(), "ip"]).args(command.split(' ')).status();
            assert!(done.unwrap().success(), "{command}");
        };
        let found = links.find_interface(None, LONG, &waiting).await.unwrap();
        let boot = links.prepare(&found, None, None).await.unwrap();
        links.up(&boot).await.unwrap();
        far("link set far0 up");
        links.wait_carrier(&boot, LONG, &waiting).await.unwrap();
        let (own, head) = (Ipv4Addr::new(10, 0, 0, 7), Ipv4Addr::new(10, 0, 0, 1));
        links.set_address(&boot, FixedAddress { ip: own.into(), prefix: 24, gateway: None }).await.unwrap();
        let targets = [head];
        let probe = links.arp_probe(&boot, own, &targets, LONG, &waiting);
        let answer = async {
            let mut seen = seen.clone();
            seen.wait_for(|now| matches!(now, Waiting::Neighbour { rounds: 1.., .. })).await.unwrap();
            far("addr add 10.0.0.1/24 dev far0");
        };
        let (probed, ()) = tokio::join!(probe, answer);
        assert_eq!(probed.unwrap().unwrap().ip, head);

        let up = links.interface(boot.index).await.unwrap().unwrap();
        let mut carrier = links.watch_carrier(&up);
        assert_eq!(*carrier.borrow(), Carrier::Up);
        far("link set far0 down");
        tokio::time::timeout(LONG, carrier.wait_for(|now| *now == Carrier::Lost)).await.unwrap().unwrap();
        ip("link del eth0");
        tokio::time::timeout(LONG, carrier.wait_for(|now| *now == Carrier::Gone)).await.unwrap().unwrap();
    });
}

#[test]
fn what_is_missing_is_named() {
    in_network(|| async {
        let links = Links::open().unwrap();
        let (waiting, _) = watch::channel(Waiting::default());
        ip("link add eth7 type veth peer name spare0");
        let mac = Some("02:00:00:00:00:09".parse().unwrap());
        let error = links.find_interface(mac, Duration::ZERO, &waiting).await.unwrap_err().to_string();
        assert!(error.contains("02:00:00:00:00:09") && error.contains("eth7"), "{error}");
    });
}
