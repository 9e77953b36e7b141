//! The harness itself: links have their rate, and nothing is left behind.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use wulfpack_tests::harness::{Lab, Namespace, Port, Rate};

const PAYLOAD: usize = 4_000_000;

/// Sends `PAYLOAD` bytes from one namespace to another; returns bytes per second.
fn transfer(from: &Namespace, to: &Namespace, address: std::net::IpAddr) -> Result<f64> {
    let listener = to.enter(|| TcpListener::bind((address, 7000)))??;
    let receiver = std::thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = listener.accept()?;
        let mut received = vec![];
        stream.read_to_end(&mut received)
    });
    let started = Instant::now();
    from.enter(|| TcpStream::connect((address, 7000))?.write_all(&vec![7; PAYLOAD]))??;
    let received = receiver.join().ok().context("the receiver panicked")??;
    assert_eq!(received, PAYLOAD);
    Ok(PAYLOAD as f64 / started.elapsed().as_secs_f64())
}

#[test]
fn links_carry_their_rate_in_both_directions() -> Result<()> {
    let mut lab = Lab::new("links")?;
    let rate = Rate(20_000_000);
    let (head, node) = (lab.head_port(Some(rate))?, lab.process_port("n1", None)?);
    for (from, to) in [(&head, &node), (&node, &head)] {
        let measured = transfer(&from.namespace, &to.namespace, to.address().into())?;
        // The rate counts Ethernet frames. A busy host can only be slower, so there is no lower bound to assert.
        assert!(
            measured < rate.bytes_per_second() * 1.1,
            "{measured} B/s over a link of {} B/s",
            rate.bytes_per_second()
        );
    }
    lab.set_cable(&node, false)?;
    let refused = node
        .namespace
        .enter(|| TcpStream::connect_timeout(&(head.address(), 7000).into(), Duration::from_millis(300)).is_err())?;
    assert!(refused, "a packet crossed a pulled cable");
    lab.succeeded();
    Ok(())
}

#[test]
fn isolated_ports_hear_the_head_but_not_each_other() -> Result<()> {
    let mut lab = Lab::new("isolated")?;
    let head = lab.head_port(None)?;
    let nodes = [lab.process_port("n1", None)?, lab.process_port("n2", None)?];
    let listeners: Vec<_> = [&head, &nodes[1]]
        .map(|port| port.namespace.enter(|| TcpListener::bind((port.address(), 7000))))
        .into_iter()
        .collect::<Result<std::io::Result<Vec<_>>>>()??;
    let reaches = |port: &Port| {
        let address = (port.address(), 7000).into();
        nodes[0].namespace.enter(|| TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_ok())
    };
    assert!(reaches(&head)? && reaches(&nodes[1])?);
    nodes.iter().try_for_each(|port| lab.isolate(port))?;
    assert!(reaches(&head)? && !reaches(&nodes[1])?);
    drop(listeners);
    lab.succeeded();
    Ok(())
}

#[test]
fn a_lab_leaves_nothing_behind() -> Result<()> {
    let mut lab = Lab::new("traces")?;
    let (head, node) = (lab.head_port(None)?, lab.machine_port("n1", None)?);
    let mut traces: Vec<_> =
        [&head, &node].map(|port| Path::new("/run/netns").join(port.namespace.name())).into_iter().collect();
    traces.extend([lab.logs().to_owned(), lab.work().to_owned()]);
    let run = lab.work().parent().context("the run has no directory")?.to_owned();
    assert!(traces.iter().all(|path| path.exists()));
    drop((head, node));
    lab.succeeded();
    traces.push(run);
    assert!(!traces.iter().any(|path| path.exists()), "{traces:?}");
    Ok(())
}
