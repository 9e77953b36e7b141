//! Clients that say what no program at hand says: firmware, InfiniBand ports, forgeries. UDP port 68 of a real interface.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use dhcproto::v4::{Architecture, DhcpOption, Flags, Message, MessageType, OptionCode, UnknownOption};
use dhcproto::{Decodable as _, Decoder, Encodable as _, Encoder};
use socket2::{Domain, Protocol, Socket, Type};
use wulfpack_shared::id::Mac;
use wulfpack_tests::harness::Port;

const ANSWER: Duration = Duration::from_secs(10);
const TRY: Duration = Duration::from_secs(2);
const TRIES: u32 = 5;
const HTTP: u16 = 9872;
/// Where everybody hears it.
pub(crate) const EVERYBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
/// The head.
pub(crate) const HEAD: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);

/// The client's port of a machine.
pub(crate) struct Speaker {
    socket: UdpSocket,
}

impl Speaker {
    pub(crate) fn new(port: &Port) -> Result<Self> {
        Self::at(port, 68)
    }

    /// Another port of the machine.
    pub(crate) fn at(port: &Port, number: u16) -> Result<Self> {
        port.namespace.enter(|| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
            socket.bind_device(Some(b"eth0"))?;
            socket.set_broadcast(true)?;
            socket.set_reuse_address(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, number)).into())?;
            Ok(Self { socket: socket.into() })
        })?
    }

    pub(crate) fn say(&self, to: SocketAddrV4, message: &Message) -> Result<()> {
        let mut bytes = vec![];
        message.encode(&mut Encoder::new(&mut bytes))?;
        self.socket.send_to(&bytes, to)?;
        Ok(())
    }

    /// The next answer that `wanted` takes, with its sender; `None` if none comes for as long as `patience`.
    pub(crate) fn hear(
        &self,
        patience: Duration,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<Option<(SocketAddr, Message)>> {
        let deadline = Instant::now() + patience;
        let mut buffer = [0; 1500];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let Ok((len, from)) = self.socket.recv_from(&mut buffer) else { continue };
            let message = Message::decode(&mut Decoder::new(&buffer[..len]))?;
            if wanted(&message) {
                return Ok(Some((from, message)));
            }
        }
    }

    /// Says it again and again, as clients do, until an answer comes that `wanted` takes.
    pub(crate) fn ask(
        &self,
        to: SocketAddrV4,
        message: &Message,
        wanted: impl Fn(&Message) -> bool,
    ) -> Result<(SocketAddr, Message)> {
        for _ in 0..TRIES {
            self.say(to, message)?;
            if let Some(found) = self.hear(TRY, |answer| answer.xid() == message.xid() && wanted(answer))? {
                return Ok(found);
            }
        }
        anyhow::bail!("no answer to {message:?}")
    }
}

/// A message that wants its answer by broadcast. Each has an exchange of its own.
pub(crate) fn message(mac: Mac, kind: MessageType, options: impl IntoIterator<Item = DhcpOption>) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new(none, none, none, none, &mac.0);
    message.set_flags(Flags::default().set_broadcast());
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option);
    }
    message
}

/// What PXE firmware of this architecture says of itself.
pub(crate) fn firmware(arch: u16) -> Vec<DhcpOption> {
    vec![
        DhcpOption::ClassIdentifier(format!("PXEClient:Arch:{arch:05}:UNDI:003016").into_bytes()),
        DhcpOption::ClientSystemArchitecture(Architecture(arch)),
        DhcpOption::ClientNetworkInterface(1, 3, 16),
        DhcpOption::MaxMessageSize(1472),
        DhcpOption::ParameterRequestList(vec![OptionCode::SubnetMask, OptionCode::Router, OptionCode::BootfileName]),
    ]
}

/// What iPXE says of itself.
pub(crate) fn ipxe() -> DhcpOption {
    DhcpOption::Unknown(UnknownOption::new(OptionCode::UserClass, b"iPXE".to_vec()))
}

pub(crate) fn kind(message: &Message) -> Option<MessageType> {
    message.opts().msg_type()
}

pub(crate) fn boot_file(message: &Message) -> String {
    match message.opts().get(OptionCode::BootfileName) {
        Some(DhcpOption::BootfileName(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    }
}

/// A boot loader's request for its address, until it is acknowledged.
pub(crate) fn loads(port: &Port, mac: Mac, address: Ipv4Addr) -> Result<()> {
    let request = message(mac, MessageType::Request, [DhcpOption::RequestedIpAddress(address), ipxe()]);
    let (_, answer) = Speaker::new(port)?.ask(EVERYBODY, &request, |_| true)?;
    anyhow::ensure!(kind(&answer) == Some(MessageType::Ack) && answer.yiaddr() == address, "{answer:?}");
    Ok(())
}

/// Status and text of the answer when the machine at `port` asks for the join token of `mac`.
pub(crate) fn token(port: &Port, mac: Mac) -> Result<(u16, String)> {
    let reply = port.namespace.enter(|| -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect((HEAD, HTTP))?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(stream, "GET /boot/{}/token HTTP/1.1\r\nHost: head\r\nConnection: close\r\n\r\n", mac.dashed())?;
        let mut reply = vec![];
        stream.read_to_end(&mut reply)?;
        Ok(reply)
    })??;
    let text = String::from_utf8_lossy(&reply).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no HTTP answer")?;
    Ok((status, text))
}
