//! The boot services of a running head against hosts that want what is not theirs: the real `wulf`, plain sockets.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode, UnknownOption};
use dhcproto::{Decodable as _, Decoder, Encodable as _, Encoder};
use socket2::{Domain, Protocol, Socket, Type};
use wulfpack_head::image::{ArchiveCompression, Library};
use wulfpack_shared::id::{BootId, Mac};
use wulfpack_shared::identity::{SecretKey, Ticket};
use wulfpack_shared::net::control::ControlClient;
use wulfpack_shared::wire::{ControlRequest, ControlResponse, DataAddrs, JoinPurpose, JoinRequest};
use wulfpack_tests::cluster::{Hosts, IMAGE};
use wulfpack_tests::harness::Port;

const SOON: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(10);
const HEAD: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);
const HTTP: u16 = 9872;
/// Connections of one machine.
const SEATS: usize = 32;

/// Sends bytes from `port` to the head's HTTP service and returns all that comes back.
fn raw(port: &Port, request: &[u8]) -> Result<Vec<u8>> {
    port.namespace.enter(|| {
        let mut stream = TcpStream::connect((HEAD, HTTP))?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(request)?;
        let mut reply = vec![];
        stream.read_to_end(&mut reply)?;
        Ok(reply)
    })?
}

/// Status and body of a GET from `port`.
fn get(port: &Port, path: &str) -> Result<(u16, Vec<u8>)> {
    let reply = raw(port, format!("GET {path} HTTP/1.1\r\nHost: head\r\nConnection: close\r\n\r\n").as_bytes())?;
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").context("no HTTP answer")?;
    let head = String::from_utf8_lossy(&reply[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).with_context(|| head.clone())?;
    Ok((status, reply[end + 4..].to_vec()))
}

/// Asks as a machine's boot loader or operating system does, from UDP port `from`; whether an address came.
fn dhcp(port: &Port, mac: Mac, address: Ipv4Addr, from: u16, loader: bool) -> Result<bool> {
    let mut message = Message::default();
    message.set_flags(Flags::default().set_broadcast()).set_chaddr(&mac.0).set_xid(7);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Request));
    options.insert(DhcpOption::RequestedIpAddress(address));
    if loader {
        options.insert(DhcpOption::Unknown(UnknownOption::new(OptionCode::UserClass, b"iPXE".to_vec())));
    }
    let mut bytes = vec![];
    message.encode(&mut Encoder::new(&mut bytes))?;
    port.namespace.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.bind_device(Some(b"eth0"))?;
        socket.set_broadcast(true)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, from)).into())?;
        let socket = UdpSocket::from(socket);
        // The head always answers to the port of clients.
        let client = if from == 68 { socket.try_clone()? } else { UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68))? };
        client.set_read_timeout(Some(Duration::from_millis(500)))?;
        for _ in 0..4 {
            socket.send_to(&bytes, (Ipv4Addr::BROADCAST, 67))?;
            let mut buffer = [0; 1500];
            let Ok((len, _)) = client.recv_from(&mut buffer) else { continue };
            let answer = Message::decode(&mut Decoder::new(&buffer[..len]))?;
            ensure!(answer.yiaddr() == address, "{answer:?}");
            return Ok(true);
        }
        Ok(false)
    })?
}

/// The token in an initramfs archive (Documentation/driver-api/early-userspace/buffer-format.rst).
fn token_in(archive: &[u8]) -> Result<Vec<u8>> {
    let mut rest = archive;
    loop {
        let field = |index: usize| -> Result<usize> {
            let digits = rest.get(6 + index * 8..14 + index * 8).context("the archive is too short")?;
            Ok(usize::from_str_radix(std::str::from_utf8(digits)?, 16)?)
        };
        let (size, name_len) = (field(6)?, field(11)?);
        let content = (110 + name_len).next_multiple_of(4);
        let name = rest.get(110..109 + name_len).context("the archive is too short")?;
        if name == b"wulf/token" {
            return Ok(rest.get(content..content + size).context("the archive is too short")?.to_vec());
        }
        ensure!(name != b"TRAILER!!!", "the archive has no token");
        rest = rest.get((content + size).next_multiple_of(4)..).context("the archive is too short")?;
    }
}

/// Joins as the agent of a booting node does.
fn join(port: &Port, ticket: &Ticket, token: Vec<u8>, seed: u8) -> Result<ControlResponse> {
    let request = JoinRequest {
        token,
        purpose: JoinPurpose::Boot,
        agent: "test".into(),
        boot: BootId([seed; 16]),
        nonce: [seed; 16],
        data: DataAddrs { port: 9999, ips: vec![port.address().into()] },
        arch: "x86_64".into(),
        memory: 1 << 30,
        clock_offset_ms: 0,
    };
    port.namespace.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = ControlClient::new(ticket.heads.clone(), &SecretKey::from_seed([seed; 32]))?;
            Ok(client.request(ControlRequest::Join(Box::new(request))).await?)
        })
    })?
}

#[test]
fn only_who_was_given_the_address_gets_the_token_and_others_are_recorded() -> Result<()> {
    let hosts = Hosts::prepare("token", 2, None)?;
    let (node, other) = (hosts.port(0)?, hosts.port(1)?);
    let mac: Mac = node.mac().parse()?;
    let (script, token) = (format!("/boot/{}/script.ipxe", mac.dashed()), format!("/boot/{}/token", mac.dashed()));
    assert_eq!(get(node, &token)?.0, 403, "before it had its address");
    assert!(dhcp(node, mac, node.address(), 68, true)?);
    let archive = get(node, &token)?;
    assert_eq!(archive.0, 200);
    let secret = token_in(&archive.1)?;

    let (status, reason) = get(other, &token)?;
    assert_eq!(status, 403, "{}", String::from_utf8_lossy(&reason));
    assert!(!reason.windows(secret.len()).any(|window| window == secret));
    let says = format!("{} asked for the join token of n1", other.address());
    let told = hosts.head.wait_event(&says, SOON)?;
    assert_eq!(told.node.map(|node| node.to_string()).as_deref(), Some("n1"));
    hosts.head.log()?.wait_for(&format!("remote={}", other.address()), SOON)?;
    // Whoever asks again and again must not fill the list of events.
    for _ in 0..5 {
        assert_eq!(get(other, &token)?.0, 403);
    }
    let theirs: Mac = other.mac().parse()?;
    assert_eq!(get(other, &format!("/boot/{}/token", theirs.dashed()))?.0, 403);
    hosts.head.wait_event("asked for the join token of n2", SOON)?;
    let events = hosts.head.events()?;
    assert_eq!(events.iter().filter(|event| event.text.contains(&says)).count(), 1, "{events:?}");
    // A boot script is no secret; the token is not in it.
    let (status, text) = get(other, &script)?;
    assert_eq!(status, 200);
    assert!(!text.windows(secret.len()).any(|window| window == secret));
    // Whom nobody knows waits, and gets no token of anybody.
    let (status, text) = get(other, "/boot/52-54-00-99-99-99/script.ipxe")?;
    assert!(status == 200 && String::from_utf8_lossy(&text).contains("no node has the MAC address"));
    assert_eq!(get(other, "/boot/52-54-00-99-99-99/token")?.0, 404);
    hosts.succeeded();
    Ok(())
}

#[test]
fn a_plain_user_of_a_running_node_gets_no_token_for_it() -> Result<()> {
    let hosts = Hosts::prepare("user", 1, None)?;
    let node = hosts.port(0)?;
    let mac: Mac = node.mac().parse()?;
    let (script, token) = (format!("/boot/{}/script.ipxe", mac.dashed()), format!("/boot/{}/token", mac.dashed()));
    let ticket: Ticket = hosts.ticket(0)?.parse()?;
    let version = Library::open(hosts.head.paths().images())?.active(&IMAGE.parse()?)?;
    let kernel = format!("/files/{}/{}/kernel", version.id(), version.header().kernels[0].version);
    let boot = || -> Result<Vec<u8>> {
        assert!(dhcp(node, mac, node.address(), 68, true)?);
        assert_eq!(get(node, &script)?.0, 200);
        let (status, archive) = get(node, &token)?;
        ensure!(status == 200, "{}", String::from_utf8_lossy(&archive));
        assert_eq!(get(node, &token)?.1, archive, "a loader that asks again gets the same");
        assert_eq!(get(node, &kernel)?.0, 200);
        token_in(&archive)
    };
    let first = boot()?;
    let joined = join(node, &ticket, first.clone(), 1)?;
    assert!(matches!(joined, ControlResponse::Joined(_)), "{joined:?}");
    // The node is up. Any of its users can fetch, and can send from a port that needs no privilege.
    let refused = |why: &str| -> Result<()> {
        let (status, reason) = get(node, &token)?;
        let reason = String::from_utf8_lossy(&reason).into_owned();
        ensure!(status == 403 && reason.contains(why), "{status} {reason}");
        Ok(())
    };
    refused("has joined since")?;
    assert_eq!(get(node, &script)?.0, 200);
    refused("has joined since")?;
    assert!(!dhcp(node, mac, node.address(), 6868, true)?, "DHCP answers a port that is anybody's");
    refused("has joined since")?;
    // The operating system renews its address.
    assert!(dhcp(node, mac, node.address(), 68, false)?);
    refused("has joined since")?;
    // It boots again: the loader asks, and there is another token.
    let (mut second, begun) = (boot()?, Instant::now());
    // What lies close together is one boot to the head: firmware repeats what got lost.
    while second == first {
        ensure!(begun.elapsed() < SOON, "the next boot has the same token");
        second = boot()?;
    }
    let joined = join(node, &ticket, second, 2)?;
    assert!(matches!(joined, ControlResponse::Joined(_)), "{joined:?}");
    hosts.succeeded();
    Ok(())
}

#[test]
fn no_path_leads_out_of_the_boot_files() -> Result<()> {
    let hosts = Hosts::prepare("paths", 1, None)?;
    let (port, paths) = (hosts.port(0)?, hosts.head.paths());
    let version = Library::open(paths.images())?.active(&IMAGE.parse()?)?;
    let (id, release) = (version.id(), version.header().kernels[0].version.clone());
    let (status, kernel) = get(port, &format!("/files/{id}/{release}/kernel"))?;
    assert!(status == 200 && kernel == std::fs::read(version.kernel(&release).context("no kernel")?)?);
    let key = paths.cluster_key();
    let up = "../".repeat(12);
    let wanted: Vec<String> = [
        format!("/{up}{}", key.display()),
        format!("/files/{id}/{release}/{up}{}", key.display()),
        format!("/files/{id}/{release}/../../header"),
        format!("/files/{id}/{release}/..%2f..%2fheader"),
        format!("/files/{id}/..%2f..%2f..%2f..%2f..%2fkeys/kernel"),
        format!("/files/{id}/%2e%2e/kernel"),
        format!("/files/{id}/{release}%00/kernel"),
        format!("/files/..%2f{id}/{release}/kernel"),
        format!("/agent/..%2f..%2f{}", key.display()),
        format!("/agent/{}", key.display()),
        "/boot/..%2f..%2f..%2fetc%2fshadow/token".into(),
        "/files//etc/shadow".into(),
        format!("http://head/{}", key.display()),
        format!("/{}", "a".repeat(12_000)),
    ]
    .into();
    let secret = std::fs::read(&key)?;
    for path in wanted {
        let (status, body) = get(port, &path)?;
        assert!([400, 404].contains(&status), "{status} for {path}");
        assert!(
            body.len() < 200 && !body.windows(20).any(|window| secret.windows(20).any(|part| part == window)),
            "{path}"
        );
    }
    for request in
        ["POST /boot/x/token HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", "garbage\r\n\r\n"]
    {
        let reply = raw(port, request.as_bytes())?;
        assert!(reply.starts_with(b"HTTP/1.1 4") || reply.is_empty(), "{}", String::from_utf8_lossy(&reply));
    }
    tftp(port, &key)?;
    hosts.succeeded();
    Ok(())
}

/// Whether the archive has a file whose path ends so: names stand in it as they are.
fn has(archive: &[u8], end: &str) -> Result<bool> {
    let mut plain = vec![];
    // What fills its last block is an error to a reader of compressed bytes; what stood before it has been read.
    drop(ArchiveCompression::detect(archive).reader(archive)?.read_to_end(&mut plain));
    let end = [end.as_bytes(), &[0]].concat();
    Ok(plain.windows(end.len()).any(|window| window == end))
}

#[test]
fn who_says_from_which_card_it_boots_gets_the_modules_for_that_card() -> Result<()> {
    let hosts = Hosts::prepare("card", 1, None)?;
    let port = hosts.port(0)?;
    let version = Library::open(hosts.head.paths().images())?.active(&IMAGE.parse()?)?;
    let modules = format!("/files/{}/{}/modules", version.id(), version.header().kernels[0].version);
    let whole = get(port, &modules)?.1;
    assert!(has(&whole, "/ena.ko")? && has(&whole, "/mlx5_core.ko")?);
    // As iPXE says it: Amazon's adapter.
    let ena = get(port, &format!("{modules}?nic=01-1d-0f-ec-20"))?.1;
    assert!(ena.len() * 2 < whole.len(), "{} of {} bytes", ena.len(), whole.len());
    for (name, there) in [("/ena.ko", true), ("/mlx5_core.ko", false), ("/squashfs.ko", true), ("/virtio_net.ko", true)]
    {
        assert_eq!(has(&ena, name)?, there, "{name}");
    }
    assert_eq!(get(port, &format!("{modules}?nic=01:1d:0f:ec:21"))?.1, ena, "another card of the same driver");
    for nobody in ["nic=01-ff-ff-00-01", "nic=", "nic=..%2f..", "nic=02-00-00", "other=1"] {
        assert_eq!(get(port, &format!("{modules}?{nobody}"))?.1, whole, "{nobody}");
    }
    hosts.succeeded();
    Ok(())
}

/// The same by TFTP (RFC 1350): a boot program is there, and nothing else can be read or written.
fn tftp(port: &Port, key: &Path) -> Result<()> {
    let ask = |kind: u8, name: &str| -> Result<Vec<u8>> {
        let packet = [&[0, kind][..], name.as_bytes(), b"\0octet\0"].concat();
        port.namespace.enter(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.set_read_timeout(Some(ANSWER))?;
            socket.send_to(&packet, (HEAD, 69))?;
            let mut buffer = vec![0; 2048];
            let (len, _) = socket.recv_from(&mut buffer)?;
            buffer.truncate(len);
            Ok(buffer)
        })?
    };
    assert!(ask(1, "snponly.efi")?.starts_with(&[0, 3, 0, 1]), "a boot program comes");
    let up = "../".repeat(12);
    let key = key.display().to_string();
    for name in [
        format!("{up}{key}"),
        key.clone(),
        format!("/{key}"),
        "..\\..\\etc\\passwd".into(),
        format!("snponly.efi/{up}{key}"),
    ] {
        assert!(ask(1, &name)?.starts_with(&[0, 5]), "{name} can be read");
    }
    assert!(ask(2, "snponly.efi")?.starts_with(&[0, 5]), "a boot program can be written");
    Ok(())
}

#[test]
fn who_opens_connections_and_says_nothing_keeps_nobody_else_from_booting() -> Result<()> {
    let hosts = Hosts::prepare("slow", 2, None)?;
    let (slow, node) = (hosts.port(0)?, hosts.port(1)?);
    let mac: Mac = node.mac().parse()?;
    let script = format!("/boot/{}/script.ipxe", mac.dashed());
    let mut open: Vec<TcpStream> = slow.namespace.enter(|| -> Result<_> {
        let connect = |_| -> Result<TcpStream> {
            let mut stream = TcpStream::connect((HEAD, HTTP))?;
            stream.write_all(b"GET / HTTP/1.1\r\nX: ")?;
            Ok(stream)
        };
        (0..SEATS * 2).map(connect).collect()
    })??;
    // Those beyond its share are closed at once, the others when their time for a request is over; a byte now and then buys none.
    let begun = Instant::now();
    let mut at_once = 0;
    assert_eq!(get(node, &script)?.0, 200, "the other machine waits");
    while !open.is_empty() {
        if begun.elapsed() > SOON {
            bail!("{} connections are still open after {} s", open.len(), SOON.as_secs());
        }
        let before = open.len();
        open.retain_mut(|stream| {
            let alive = stream.set_read_timeout(Some(Duration::from_millis(5))).is_ok();
            let ended =
                !matches!(stream.read(&mut [0; 512]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
            alive && !ended && stream.write_all(b"a").is_ok()
        });
        if begun.elapsed() < Duration::from_secs(10) {
            at_once += before - open.len();
        }
    }
    assert!(at_once >= SEATS, "{at_once} of {} were closed at once", SEATS * 2);
    assert_eq!(get(slow, &script)?.0, 200, "its share is free again");
    hosts.succeeded();
    Ok(())
}
