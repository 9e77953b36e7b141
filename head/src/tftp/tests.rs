//! A client as firmware is one, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use wulfpack_shared::id::Mac;
use wulfpack_shared::wire::Phase;

use super::{Options, Server};
use crate::boot::Programs;
use crate::config::TokenEvidence;
use crate::fleet::BootEvent;
use crate::http::test_support::{self, Events};
use crate::http::{Desk, Listen};

const MAC: Mac = test_support::MAC;
const RRQ: u8 = 1;
const WRQ: u8 = 2;
const DATA: u8 = 3;
const ERROR: u8 = 5;
const OACK: u8 = 6;

struct World {
    server: SocketAddr,
    events: Arc<Events>,
    nbp: Vec<u8>,
    _tasks: tokio::task::JoinSet<()>,
}

fn world() -> World {
    let nbp: Vec<u8> = (0..5000u32).map(|n| (n % 251) as u8).collect();
    let (mut services, events) = test_support::services();
    let mut programs = Programs::default();
    programs.insert("snponly.efi", nbp.clone().into());
    services.programs = Arc::new(programs);
    let listen = Listen { address: "127.0.0.1:0".parse().unwrap(), proof: TokenEvidence::Dhcp };
    let server = Server::bind(&Options { listen: vec![listen], http_port: 9872 }).unwrap();
    let address = server.addresses()[0];
    services.evidence.given(MAC, Ipv4Addr::LOCALHOST, true, Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(server.run(Arc::new(Desk::new(services))));
    World { server: address, events, nbp, _tasks: tasks }
}

async fn client() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

fn request(code: u8, name: &str, options: &[(&str, &str)]) -> Vec<u8> {
    let mut packet = vec![0, code];
    let words = [name, "octet"].into_iter().chain(options.iter().flat_map(|(name, value)| [*name, *value]));
    for word in words {
        packet.extend(word.as_bytes());
        packet.push(0);
    }
    packet
}

async fn receive(client: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 2048];
    let got = tokio::time::timeout(Duration::from_secs(20), client.recv_from(&mut buffer)).await;
    let (len, from) = got.expect("the server answers").unwrap();
    buffer.truncate(len);
    (buffer, from)
}

/// Reads a file; what the OACK said, the file, and the sizes of its blocks.
async fn read(
    client: &UdpSocket,
    server: SocketAddr,
    name: &str,
    options: &[(&str, &str)],
) -> (String, Vec<u8>, Vec<usize>) {
    client.send_to(&request(RRQ, name, options), server).await.unwrap();
    let (mut oack, mut file, mut sizes, mut block_len) = (String::new(), vec![], vec![], 512);
    loop {
        let (packet, from) = receive(client).await;
        assert_eq!(from.ip(), server.ip());
        let number = match packet[1] {
            OACK => {
                oack = String::from_utf8(packet[2..].to_vec()).unwrap().replace('\0', " ");
                let words: Vec<_> = oack.split(' ').collect();
                if let Some(position) = words.iter().position(|word| *word == "blksize") {
                    block_len = words[position + 1].parse().unwrap();
                }
                [0, 0]
            }
            DATA => {
                let number = [packet[2], packet[3]];
                if usize::from(u16::from_be_bytes(number)) == sizes.len() + 1 {
                    sizes.push(packet.len() - 4);
                    file.extend(&packet[4..]);
                }
                number
            }
            other => panic!("{other} {}", String::from_utf8_lossy(&packet[2..])),
        };
        client.send_to(&[0, 4, number[0], number[1]], from).await.unwrap();
        if packet[1] == DATA && packet.len() - 4 < block_len {
            return (oack, file, sizes);
        }
    }
}

/// Waits for an event without watching the clock.
async fn events(world: &World) -> Vec<BootEvent> {
    loop {
        let events = world.events.0.lock().unwrap().clone();
        if !events.is_empty() {
            return events;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_file_is_read_with_and_without_options() {
    let world = world();
    let (oack, file, sizes) = read(&client().await, world.server, "/SNPONLY.EFI", &[]).await;
    assert_eq!((oack.as_str(), file == world.nbp, sizes.len()), ("", true, 10));

    let options = [("blksize", "1432"), ("tsize", "0")];
    let (oack, file, sizes) = read(&client().await, world.server, "snponly.efi", &options).await;
    assert_eq!((oack.trim(), file == world.nbp, sizes), ("blksize 1432 tsize 5000", true, vec![1432, 1432, 1432, 704]));

    // Never more than a frame holds, and no fragments.
    let (oack, file, _) = read(&client().await, world.server, "snponly.efi", &[("blksize", "65464")]).await;
    assert_eq!((oack.trim(), file == world.nbp), ("blksize 1468", true));

    let event = events(&world).await.remove(0);
    assert_eq!((event.mac, event.phase, event.bytes), (MAC, Phase::Nbp, 5000));
    assert_eq!(event.detail, "snponly.efi");
}

#[tokio::test]
async fn a_size_probe_that_is_aborted_is_no_boot_and_the_real_request_follows() {
    let world = world();
    let probe = client().await;
    let options = [("tsize", "0"), ("blksize", "1468")];
    probe.send_to(&request(RRQ, "snponly.efi", &options), world.server).await.unwrap();
    let (packet, from) = receive(&probe).await;
    assert_eq!(packet[1], OACK);
    // What PXE ROMs send: error 8, option negotiation failed (RFC 2347).
    probe.send_to(b"\0\x05\0\x08User aborted\0", from).await.unwrap();
    assert!(world.events.0.lock().unwrap().is_empty());
    let (_, file, _) = read(&client().await, world.server, "snponly.efi", &options).await;
    assert_eq!(file, world.nbp);
    assert_eq!(events(&world).await.len(), 1);
}

#[tokio::test]
async fn ipxe_finds_a_script_that_leads_to_this_head() {
    let world = world();
    let (_, script, _) = read(&client().await, world.server, "autoexec.ipxe", &[]).await;
    let script = String::from_utf8(script).unwrap();
    assert!(script.contains("http://127.0.0.1:9872/boot/${netX/mac:hexhyp}/script.ipxe"), "{script}");
}

#[tokio::test]
async fn nothing_else_is_read_and_nothing_is_written() {
    let world = world();
    for (code, name, error) in
        [(RRQ, "secret", 1), (RRQ, "../secret", 1), (RRQ, "/etc/passwd", 1), (RRQ, "", 1), (WRQ, "snponly.efi", 2)]
    {
        let client = client().await;
        client.send_to(&request(code, name, &[]), world.server).await.unwrap();
        let (packet, _) = receive(&client).await;
        assert_eq!((packet[1], packet[3]), (ERROR, error), "{name}");
    }
    client().await.send_to(&request(RRQ, "snponly.efi", &[("x", &"y".repeat(2000))]), world.server).await.unwrap();
    for garbage in [&b""[..], b"\0", b"\0\x01", b"\0\x01name", b"\xff\xff\xff", b"\0\x01\xff\xfe\0octet\0", &[0; 4096]]
    {
        client().await.send_to(garbage, world.server).await.unwrap();
    }
    let (_, file, _) = read(&client().await, world.server, "snponly.efi", &[]).await;
    assert_eq!(file, world.nbp);
}

#[tokio::test]
async fn one_machine_cannot_take_all_transfers() {
    let world = world();
    let mut held = vec![];
    let refused = loop {
        let client = client().await;
        client.send_to(&request(RRQ, "snponly.efi", &[]), world.server).await.unwrap();
        let (packet, _) = receive(&client).await;
        if packet[1] == ERROR {
            break String::from_utf8_lossy(&packet[4..]).into_owned();
        }
        held.push(client);
    };
    assert_eq!(held.len(), 4);
    assert!(refused.contains("too many transfers"), "{refused}");
}

/// What GRUB loads when it speaks nothing else: everything that a boot needs, and the token only for the machine itself.
#[tokio::test]
async fn a_whole_boot_goes_over_tftp() {
    let world = world();
    let get = async |name: &str| {
        let (_, file, _) = read(&client().await, world.server, name, &[("blksize", "1024"), ("tsize", "0")]).await;
        String::from_utf8(file).unwrap()
    };
    assert!(get("/grub/grub.cfg").await.contains("${net_default_mac}"));
    let script = get("/grub/52:54:00:00:00:01/grub.cfg").await;
    let kernel = script.split('\'').find(|word| word.ends_with("/kernel")).unwrap();
    assert_eq!(get(kernel).await, "0123456789");
    assert_eq!(get("/agent/zstd").await, "zstd");
    assert_eq!(get("grub/52-54-00-00-00-01/grubx64.efi").await, "grubx64.efi of debian");
    assert_eq!(get("/boot/52-54-00-00-00-01/token").await, "token of n1 52:54:00:00:00:01");
    let other = client().await;
    other.send_to(&request(RRQ, "/boot/52-54-00-00-00-02/token", &[]), world.server).await.unwrap();
    let (packet, _) = receive(&other).await;
    assert_eq!((packet[1], packet[3]), (ERROR, 2), "{}", String::from_utf8_lossy(&packet));
}

#[tokio::test]
async fn a_window_is_sent_before_it_is_acknowledged() {
    let world = world();
    let client = client().await;
    let options = [("blksize", "500"), ("windowsize", "4")];
    client.send_to(&request(RRQ, "snponly.efi", &options), world.server).await.unwrap();
    let (oack, from) = receive(&client).await;
    assert_eq!(oack[1], OACK);
    client.send_to(&[0, 4, 0, 0], from).await.unwrap();
    let mut file: Vec<u8> = vec![];
    for window in [1..=4u8, 5..=8, 9..=11] {
        let last = *window.end();
        for number in window {
            let (packet, _) = receive(&client).await;
            assert_eq!((packet[1], packet[3]), (DATA, number));
            file.extend(&packet[4..]);
        }
        client.send_to(&[0, 4, 0, last], from).await.unwrap();
    }
    assert_eq!(file, world.nbp);
    assert_eq!(events(&world).await.len(), 1);
}
