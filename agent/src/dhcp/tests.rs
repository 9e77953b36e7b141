use core::net::Ipv4Addr;
use core::time::Duration;
use std::process::Command;
use std::sync::mpsc;

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Encodable};
use nix::sched::{CloneFlags, unshare};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wulfpack_shared::time::Mono;

use super::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);

fn id() -> ClientId {
    ClientId { mac: "02:00:00:00:00:07".parse().unwrap(), hostname: Some("n7".parse().unwrap()) }
}

fn client() -> Client {
    Client::new(id(), ChaCha8Rng::from_seed([3; 32]))
}

fn at(secs: u64) -> Mono {
    Mono::from_millis(secs * 1000)
}

/// A server's answer to a packet of the client.
fn answer(asked: &[u8], kind: MessageType, options: &[DhcpOption]) -> Vec<u8> {
    let mut reply = Message::from_bytes(asked).unwrap();
    reply.set_opcode(Opcode::BootReply).set_yiaddr(IP);
    reply.opts_mut().clear();
    reply.opts_mut().insert(DhcpOption::MessageType(kind));
    reply.opts_mut().insert(DhcpOption::ServerIdentifier(SERVER));
    reply.opts_mut().insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
    reply.opts_mut().insert(DhcpOption::AddressLeaseTime(1000));
    for option in options {
        reply.opts_mut().insert(option.clone());
    }
    reply.to_vec().unwrap()
}

/// Ticks until the client says something; what it said, to whom, and when.
fn said(client: &mut Client) -> (Mono, Option<Ipv4Addr>, Vec<u8>) {
    loop {
        let (now, _) = client.poll_timeout().expect("a client that waits has a timer");
        client.handle_input(now, Input::Tick);
        while let Some(output) = client.poll_output() {
            if let Output::Send { to, packet } = output {
                return (now, to, packet);
            }
        }
    }
}

fn kind(packet: &[u8]) -> MessageType {
    Message::from_bytes(packet).unwrap().opts().msg_type().unwrap()
}

/// A client with a lease that was asked for at second 0.
fn bound(options: &[DhcpOption]) -> (Client, Lease) {
    let mut client = client();
    let (_, to, discover) = said(&mut client);
    assert_eq!((to, kind(&discover)), (None, MessageType::Discover));
    client.handle_input(at(0), Input::Packet(&answer(&discover, MessageType::Offer, options)));
    let Some(Output::Send { to: None, packet: request }) = client.poll_output() else { panic!("no request") };
    let message = Message::from_bytes(&request).unwrap();
    assert_eq!(message.opts().get(OptionCode::RequestedIpAddress), Some(&DhcpOption::RequestedIpAddress(IP)));
    assert_eq!(message.opts().get(OptionCode::ServerIdentifier), Some(&DhcpOption::ServerIdentifier(SERVER)));
    client.handle_input(at(0), Input::Packet(&answer(&request, MessageType::Ack, options)));
    let Some(Output::Bound(lease)) = client.poll_output() else { panic!("no lease") };
    (client, lease)
}

#[test]
fn a_lease_holds_what_the_server_said() {
    let (client, lease) = bound(&[
        DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 0, 254)]),
        DhcpOption::InterfaceMtu(9000),
        DhcpOption::DomainNameServer(vec![SERVER; 9]),
        DhcpOption::DomainName("cluster.example.".into()),
        DhcpOption::Hostname("bad name; rm".into()),
    ]);
    let expected = Lease {
        ip: IP,
        prefix: 24,
        gateway: Some(Ipv4Addr::new(10, 0, 0, 254)),
        mtu: Some(9000),
        dns: vec![SERVER; 4],
        domain: Some("cluster.example".into()),
        hostname: None,
        server: SERVER,
        lease_s: 1000,
        renew_s: 500,
        rebind_s: 875,
    };
    assert_eq!((client.lease(), &lease), (Some(&expected), &expected));
    assert_eq!(client.poll_timeout(), Some((at(500), Reason::Lease)));
    let (_, classless) = bound(&[
        DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 0, 254)]),
        DhcpOption::ClasslessStaticRoute(vec![("0.0.0.0/0".parse().unwrap(), Ipv4Addr::new(10, 0, 0, 253))]),
    ]);
    assert_eq!(classless.gateway, Some(Ipv4Addr::new(10, 0, 0, 253)));
}

#[test]
fn silence_is_answered_with_doubling_jittered_waits() {
    let mut client = client();
    let mut times = vec![];
    for _ in 0..8 {
        let (now, to, packet) = said(&mut client);
        assert_eq!((to, kind(&packet)), (None, MessageType::Discover));
        times.push(now);
    }
    for (pair, wait) in times.windows(2).zip([4u64, 8, 16, 32, 64, 64, 64]) {
        let waited = u64::try_from(pair[1].since(pair[0]).as_millis()).unwrap();
        assert!(waited.abs_diff(wait * 1000) <= 1000, "{waited} {wait}");
    }
    assert!(times.iter().any(|time| time.as_millis() % 1000 != 0));
}

#[test]
fn a_lease_is_renewed_at_its_server_then_anywhere_then_lost() {
    let (mut client, _) = bound(&[]);
    let (now, to, packet) = said(&mut client);
    assert_eq!((now, to, kind(&packet)), (at(500), Some(SERVER), MessageType::Request));
    let message = Message::from_bytes(&packet).unwrap();
    assert!(message.ciaddr() == IP && !message.opts().contains(OptionCode::ServerIdentifier));
    // Half of what is left until T2, at least a minute.
    assert_eq!(client.poll_timeout(), Some((Mono::from_millis(687_500), Reason::Repeat)));
    let mut rebinding = None;
    loop {
        let (now, _) = client.poll_timeout().unwrap();
        client.handle_input(now, Input::Tick);
        match client.poll_output().unwrap() {
            Output::Send { to, .. } => {
                assert_eq!(to, if now >= at(875) { None } else { Some(SERVER) });
                rebinding = rebinding.or((now >= at(875)).then_some(now));
            }
            Output::Lost(why) => {
                assert_eq!((now, why), (at(1000), LostReason::Expired));
                break;
            }
            Output::Bound(_) => panic!("nobody answered"),
        }
    }
    assert_eq!(rebinding, Some(at(875)));
    assert!(client.lease().is_none());
    assert_eq!(kind(&said(&mut client).2), MessageType::Discover);
}

#[test]
fn an_answer_extends_and_a_refusal_ends_the_lease() {
    let (mut client, _) = bound(&[]);
    let (now, _, packet) = said(&mut client);
    client.handle_input(now, Input::Packet(&answer(&packet, MessageType::Ack, &[DhcpOption::AddressLeaseTime(60)])));
    let Some(Output::Bound(lease)) = client.poll_output() else { panic!() };
    assert_eq!((lease.lease_s, lease.renew_s, lease.rebind_s), (60, 30, 49));
    assert_eq!(client.poll_timeout(), Some((at(530), Reason::Lease)));
    let (now, _, packet) = said(&mut client);
    client.handle_input(now, Input::Packet(&answer(&packet, MessageType::Nak, &[])));
    assert_eq!(client.poll_output(), Some(Output::Lost(LostReason::Refused)));
    let (again, ..) = said(&mut client);
    assert!(again.since(now) >= Duration::from_secs(3));
}

#[test]
fn an_offer_that_nobody_confirms_or_that_is_refused_is_given_up() {
    let mut client = client();
    let (_, _, discover) = said(&mut client);
    client.handle_input(at(0), Input::Packet(&answer(&discover, MessageType::Offer, &[])));
    let _request = client.poll_output();
    let kinds: Vec<_> = (0..4).map(|_| kind(&said(&mut client).2)).collect();
    assert_eq!(kinds, [MessageType::Request, MessageType::Request, MessageType::Request, MessageType::Discover]);
}

#[test]
fn a_lease_without_end_has_no_timer() {
    let (client, lease) = bound(&[DhcpOption::AddressLeaseTime(u32::MAX)]);
    assert_eq!((client.poll_timeout(), lease.lease_s), (None, u32::MAX));
}

#[test]
fn packets_for_others_or_without_sense_change_nothing() {
    let mut client = client();
    let (_, _, discover) = said(&mut client);
    let good = answer(&discover, MessageType::Offer, &[]);
    let altered = |change: &dyn Fn(&mut Message)| {
        let mut message = Message::from_bytes(&good).unwrap();
        change(&mut message);
        message.to_vec().unwrap()
    };
    let bad = [
        altered(&|message| {
            message.set_xid(message.xid() ^ 1);
        }),
        altered(&|message| {
            message.set_opcode(Opcode::BootRequest);
        }),
        altered(&|message| {
            message.set_chaddr(&[2, 0, 0, 0, 0, 8]);
        }),
        altered(&|message| {
            message.set_yiaddr(Ipv4Addr::UNSPECIFIED);
        }),
        altered(&|message| {
            message.opts_mut().remove(OptionCode::ServerIdentifier);
        }),
        altered(&|message| {
            message.opts_mut().remove(OptionCode::AddressLeaseTime);
        }),
        altered(&|message| {
            message.opts_mut().insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 255, 0)));
        }),
        good[..200].to_vec(),
        vec![],
    ];
    for packet in bad {
        client.handle_input(at(1), Input::Packet(&packet));
        assert_eq!(client.poll_output(), None);
    }
    client.handle_input(at(1), Input::Packet(&good));
    assert!(matches!(client.poll_output(), Some(Output::Send { .. })));
}

#[test]
fn a_lease_survives_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lease.json");
    assert_eq!(read_lease(&path).unwrap(), None);
    let (_, lease) = bound(&[]);
    write_lease(&path, &lease).unwrap();
    assert_eq!(read_lease(&path).unwrap(), Some(lease));
    std::fs::write(&path, "{").unwrap();
    assert!(read_lease(&path).unwrap_err().to_string().contains("lease.json"));
}

proptest::proptest! {
    #[test]
    fn any_bytes_and_any_ticks_are_survived(
        inputs: Vec<(u32, Option<Vec<u8>>)>,
        flips in proptest::collection::vec((0usize..300, proptest::num::u8::ANY), 0..8),
    ) {
        let mut client = client();
        let (_, _, asked) = said(&mut client);
        let mut damaged = answer(&asked, MessageType::Offer, &[]);
        for (place, value) in flips {
            if let Some(byte) = damaged.get_mut(place) {
                *byte ^= value;
            }
        }
        client.handle_input(at(0), Input::Packet(&damaged));
        let mut now = Mono::ZERO;
        for (millis, bytes) in inputs {
            now = now + Duration::from_millis(u64::from(millis));
            client.handle_input(now, bytes.as_deref().map_or(Input::Tick, Input::Packet));
            while client.poll_output().is_some() {}
        }
    }
}

/// A server for one client, on `far0` in a namespace of its own; the kernel would drop answers from a local address.
fn serve(ready: &mpsc::Sender<i32>, moved: &mpsc::Receiver<()>) {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ready.send(nix::unistd::gettid().as_raw()).unwrap();
    moved.recv().unwrap();
    ip(&["addr add 10.0.0.1/24 dev far0", "link set far0 up"]);
    let server = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    server.set_broadcast(true).unwrap();
    server.bind_device(Some(b"far0")).unwrap();
    server.bind(&std::net::SocketAddr::from((Ipv4Addr::UNSPECIFIED, 67)).into()).unwrap();
    let server = std::net::UdpSocket::from(server);
    server.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    ready.send(0).unwrap();
    let mut buffer = [0; 1500];
    for kind in [MessageType::Offer, MessageType::Ack] {
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(from.ip(), Ipv4Addr::UNSPECIFIED);
        server.send_to(&answer(&buffer[..len], kind, &[]), (Ipv4Addr::BROADCAST, 68)).unwrap();
    }
}

fn ip(commands: &[&str]) {
    for command in commands {
        assert!(Command::new("ip").args(command.split(' ')).status().unwrap().success(), "ip {command}");
    }
}

/// In network namespaces of its own, as root; skipped aloud where that is not possible.
#[test]
fn the_socket_asks_and_hears_without_an_address() {
    let run = || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("SKIPPED: no network namespace ({error}); run as root");
            return;
        }
        let (tell_ready, ready) = mpsc::channel();
        let (tell_moved, moved) = mpsc::channel();
        let server = std::thread::spawn(move || serve(&tell_ready, &moved));
        let thread = ready.recv().unwrap();
        ip(&["link add eth0 type veth peer name far0", &format!("link set far0 netns {thread}"), "link set eth0 up"]);
        tell_moved.send(()).unwrap();
        ready.recv().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = DhcpClient::start("eth0", id()).unwrap();
            let mut lease = client.lease();
            let found = lease.wait_for(Option::is_some).await.unwrap().clone().unwrap();
            assert_eq!((found.ip, found.address().prefix), (IP, 24));
        });
        server.join().unwrap();
    };
    std::thread::spawn(run).join().unwrap();
}
