//! `wulf-agent fetch` against a running head: the real programs, in namespaces with shaped links.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use wulfpack_head::admin::TicketFor;
use wulfpack_shared::image::{ENTRY_LEN, cut};
use wulfpack_tests::cluster::{Hosts, IMAGE, holds};
use wulfpack_tests::harness::{Fetch, FetchReport, Rate, bytes_received, bytes_sent};

const SOON: Duration = Duration::from_secs(120);
const LONG: Duration = Duration::from_secs(300);
const SEED: Duration = Duration::from_secs(3600);
/// What `wulf-agent fetch` exits with.
const USAGE: i32 = 2;
const REFUSED: i32 = 4;

fn mbit(rate: u64) -> Rate {
    Rate(rate * 1_000_000)
}

fn hash(path: &Path) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize())
}

/// What every complete fetch must show: the file is the image, and each byte of it was verified once.
fn check(hosts: &Hosts, fetch: &Fetch, report: &FetchReport) -> Result<()> {
    assert_eq!(hash(&fetch.file)?, hash(&hosts.blob()?)?, "{} is not the image", fetch.file.display());
    let arrived = report.from_heads + report.from_peers + report.resumed;
    assert!(arrived >= report.bytes, "{report:?}");
    // The chunk table travels too; more than that would mean that something counted twice.
    assert!(arrived - report.bytes < report.bytes / 50, "{report:?}");
    Ok(())
}

/// Hosts that fetch, each with more than one part in `parts` of the image.
fn under_way(name: &str, count: usize, parts: u32) -> Result<(Hosts, Vec<Fetch>)> {
    let hosts = Hosts::prepare(name, count, Some(mbit(100)))?;
    let fetches = hosts.fetch_all()?;
    hosts.head.wait_for(SOON, |nodes| nodes.iter().all(|node| holds(node, parts)))?;
    Ok((hosts, fetches))
}

/// The end of a test: these hosts have the image, and everything is taken down.
fn end_well<'a>(hosts: Hosts, fetches: impl IntoIterator<Item = &'a Fetch>) -> Result<()> {
    for fetch in fetches {
        check(&hosts, fetch, &fetch.report(LONG)?)?;
    }
    hosts.succeeded();
    Ok(())
}

fn exit(fetch: &Fetch, timeout: Duration) -> Result<Option<i32>> {
    Ok(fetch.process.wait(timeout)?.code())
}

#[test]
fn hosts_fetch_an_image_from_each_other() -> Result<()> {
    let hosts = Hosts::prepare("fetch", 4, Some(mbit(200)))?;
    let fetches = hosts.fetch_all()?;
    let reports = fetches.iter().map(|fetch| fetch.report(LONG)).collect::<Result<Vec<_>>>()?;
    for (fetch, report) in fetches.iter().zip(&reports) {
        check(&hosts, fetch, report)?;
        assert!(report.from_peers > 0, "{report:?}");
    }
    let image = reports[0].bytes;
    let from_head: u64 = reports.iter().map(|report| report.from_heads).sum();
    assert!(from_head < image * 13 / 10, "the head sent {from_head} bytes of an image of {image}");
    hosts.head.wait_event("is covered", SOON)?;
    hosts.head.wait_for(SOON, |nodes| nodes.iter().all(|node| node.total > 0 && node.held == node.total))?;
    hosts.succeeded();
    Ok(())
}

#[test]
fn a_ticket_counts_for_the_first_host_that_shows_it() -> Result<()> {
    let hosts = Hosts::prepare("replay", 2, None)?;
    let ticket = hosts.ticket(0)?;
    let first = Fetch::start(&hosts.lab, hosts.port(0)?, &ticket, SEED)?;
    first.report(SOON)?;
    let second = Fetch::start(&hosts.lab, hosts.port(1)?, &ticket, SEED)?;
    assert_eq!(exit(&second, SOON)?, Some(REFUSED), "{}", second.process.console().tail(5));
    assert!(!second.file.exists());
    // Whoever of the two is the thief: both are noticed, and neither stays a member.
    let alarm = hosts.head.wait_event("second key", SOON)?;
    assert_eq!(alarm.node.map(|node| node.to_string()).as_deref(), Some("n1"));
    first.process.console().wait_for("no longer takes this host", SOON)?;
    hosts.succeeded();
    Ok(())
}

#[test]
fn what_is_no_ticket_of_this_cluster_gets_nothing() -> Result<()> {
    let hosts = Hosts::prepare("stranger", 3, None)?;
    let nonsense = Fetch::start(&hosts.lab, hosts.port(0)?, "wulf-ticket-nonsense", SEED)?;
    assert_eq!(exit(&nonsense, SOON)?, Some(USAGE), "{}", nonsense.process.console().tail(5));
    // Well-formed, for this very cluster, but sealed with a key that is not the heads'.
    let mut ticket: wulfpack_shared::identity::Ticket = hosts.ticket(1)?.parse()?;
    if let Some(last) = ticket.token.last_mut() {
        *last ^= 1;
    }
    let forged = Fetch::start(&hosts.lab, hosts.port(1)?, &ticket.to_string(), SEED)?;
    assert_eq!(exit(&forged, SOON)?, Some(REFUSED), "{}", forged.process.console().tail(5));
    for file in [&nonsense.file, &forged.file] {
        let hidden: Vec<_> = fs::read_dir(file.parent().unwrap_or(Path::new(".")))?
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .filter(|name| name.starts_with('.') && name.ends_with(".wulfpack"))
            .collect();
        assert!(!file.exists() && hidden.is_empty(), "{hidden:?}");
    }
    hosts.succeeded();
    Ok(())
}

#[test]
fn an_anonymous_ticket_admits_as_many_hosts_as_it_says() -> Result<()> {
    let hosts = Hosts::prepare("anonymous", 3, None)?;
    let ticket = hosts.head.ticket(TicketFor::Anonymous { image: IMAGE.parse()?, count: 2 })?;
    for index in 0..2 {
        let fetch = Fetch::start(&hosts.lab, hosts.port(index)?, &ticket, Duration::ZERO)?;
        check(&hosts, &fetch, &fetch.report(SOON)?)?;
        fetch.process.wait_success(SOON)?;
    }
    let third = Fetch::start(&hosts.lab, hosts.port(2)?, &ticket, Duration::ZERO)?;
    assert_eq!(exit(&third, SOON)?, Some(REFUSED), "{}", third.process.console().tail(5));
    hosts.succeeded();
    Ok(())
}

#[test]
fn an_interrupted_fetch_goes_on_with_the_same_ticket() -> Result<()> {
    let hosts = Hosts::prepare("resume", 1, Some(mbit(100)))?;
    let ticket = hosts.ticket(0)?;
    let begun = Fetch::start(&hosts.lab, hosts.port(0)?, &ticket, Duration::ZERO)?;
    hosts.head.wait_for(SOON, |nodes| nodes.iter().any(|node| node.held > node.total / 4 && node.held < node.total))?;
    begun.process.kill()?;
    let directory = begun.file.with_file_name(".n1.image.wulfpack");
    assert_eq!(fs::metadata(&directory)?.permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(directory.join("key"))?.permissions().mode() & 0o777, 0o600);
    let resumed = Fetch::start(&hosts.lab, hosts.port(0)?, &ticket, Duration::ZERO)?;
    let report = resumed.report(SOON)?;
    check(&hosts, &resumed, &report)?;
    assert!(report.resumed > 0, "{report:?}");
    assert!(!directory.exists());
    hosts.succeeded();
    Ok(())
}

/// Bytes of the units that a host with this older file lacks: the chunk table, and the chunks that are not in the file.
fn lacking(blob: &[u8], old: &[u8]) -> Result<u64> {
    let mut known = BTreeSet::new();
    cut(old, |chunk| {
        known.insert(*blake3::hash(&chunk).as_bytes());
    })?;
    let (mut chunks, mut bytes) = (0, 0);
    cut(blob, |chunk| {
        chunks += 1;
        bytes += if known.contains(blake3::hash(&chunk).as_bytes()) { 0 } else { chunk.len() as u64 };
    })?;
    Ok(bytes + chunks * ENTRY_LEN as u64)
}

#[test]
fn only_what_older_files_lack_moves() -> Result<()> {
    let hosts = Hosts::prepare("have", 2, Some(mbit(100)))?;
    let blob = fs::read(hosts.blob()?)?;
    // As after an update: one part is gone, another is new, the rest lies elsewhere.
    let third = blob.len() / 3;
    let old = [&blob[..third], &vec![7; 123_457], &blob[third + blob.len() / 10..]].concat();
    let file = hosts.lab.work().join("old");
    fs::write(&file, &old)?;
    let lacking = lacking(&blob, &old)?;
    assert!(lacking > 0 && lacking < blob.len() as u64 / 5);
    // From a head alone, then from a peer too.
    let mut seeds = vec![];
    for index in 0..2 {
        let have = ["--have".as_ref(), file.as_os_str()];
        let (ticket, port) = (hosts.ticket(index)?, hosts.port(index)?);
        let fetch = Fetch::start_with(&hosts.lab, port, &ticket, SEED, &have)?;
        let report = fetch.report(LONG)?;
        assert_eq!(hash(&fetch.file)?, blake3::hash(&blob));
        assert_eq!(report.from_heads + report.from_peers, lacking, "{report:?}");
        assert!(index > 0 || report.wasted == 0, "{report:?}");
        seeds.push(fetch);
    }
    hosts.succeeded();
    Ok(())
}

/// Starts a fetch with these arguments; what passes `count` until it is complete must not be more than `cap` lets through in that time.
/// The other way round a busy host may be slower than any cap.
fn within(hosts: &Hosts, index: usize, more: &[&str], cap: Rate, count: impl Fn() -> Result<u64>) -> Result<Fetch> {
    let (ticket, before) = (hosts.ticket(index)?, count()?);
    let more: Vec<&OsStr> = more.iter().map(OsStr::new).collect();
    let fetch = Fetch::start_with(&hosts.lab, hosts.port(index)?, &ticket, SEED, &more)?;
    let report = fetch.report(LONG)?;
    let (bytes, seconds) = (count()? - before, fetch.started.elapsed().as_secs_f64());
    check(hosts, &fetch, &report)?;
    // A head may send what neighbours hold who are kept slow; enough has to come by way of the cap.
    assert!(report.from_peers > report.bytes / 4 && bytes > report.bytes / 4, "{bytes} bytes, {report:?}");
    let most = cap.bytes_per_second() * seconds;
    assert!((bytes as f64) < most * 1.05, "{bytes} bytes in {seconds} s, the cap lets {most} through");
    Ok(fetch)
}

#[test]
fn caps_hold_over_all_bytes_of_a_fetch() -> Result<()> {
    let hosts = Hosts::prepare("caps", 3, Some(mbit(100)))?;
    let upload = ["--upload", "50mbit", "--dscp", "cs1"].map(OsStr::new);
    let giver = Fetch::start_with(&hosts.lab, hosts.port(0)?, &hosts.ticket(0)?, SEED, &upload)?;
    check(&hosts, &giver, &giver.report(LONG)?)?;
    let _second = within(&hosts, 1, &[], mbit(50), || bytes_sent(hosts.port(0)?))?;
    let _third = within(&hosts, 2, &["--download", "60mbit"], mbit(60), || bytes_received(hosts.port(2)?))?;
    hosts.head.wait_for(SOON, |nodes| nodes.iter().any(|node| node.traffic.upload_waited_s > 0.0))?;
    hosts.head.wait_for(SOON, |nodes| nodes.iter().any(|node| node.traffic.download_waited_s > 0.0))?;
    hosts.succeeded();
    Ok(())
}

#[test]
fn a_peer_with_corrupt_bytes_costs_a_run_and_is_named() -> Result<()> {
    // The head's link is the narrow one: bytes come from the peer if they can.
    let hosts = Hosts::prepare("corrupt", 2, Some(mbit(100)))?;
    let liar = hosts.fetch(0, SEED)?;
    liar.report(SOON)?;
    // In the middle, where the peer has verified long ago what it reads now.
    let file = File::options().read(true).write(true).open(&liar.file)?;
    let at = file.metadata()?.len() / 2;
    let mut bytes = vec![0; 4 << 20];
    file.read_exact_at(&mut bytes, at)?;
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    file.write_all_at(&bytes, at)?;
    let other = hosts.fetch(1, Duration::ZERO)?;
    let report = other.report(LONG)?;
    check(&hosts, &other, &report)?;
    assert!(report.wasted > 0 && report.from_peers > 0, "{report:?}");
    hosts.head.wait_event("arrived corrupt from n1", SOON)?;
    hosts.succeeded();
    Ok(())
}

#[test]
fn a_peer_that_vanishes_takes_nothing_with_it() -> Result<()> {
    let (hosts, fetches) = under_way("vanish", 3, 4)?;
    fetches[1].process.kill()?;
    end_well(hosts, [&fetches[0], &fetches[2]])
}

#[test]
fn a_head_that_dies_before_all_is_out_strands_nobody() -> Result<()> {
    let (mut hosts, fetches) = under_way("early-death", 3, 8)?;
    hosts.head.kill()?;
    // They trade what they have, and say what is missing.
    for fetch in &fetches {
        fetch.process.console().wait_for("nobody reachable holds", SOON)?;
    }
    hosts.head.serve()?;
    end_well(hosts, &fetches)
}

#[test]
fn once_covered_the_image_needs_no_head() -> Result<()> {
    let mut hosts = Hosts::prepare("late-death", 3, Some(mbit(100)))?;
    // Two are complete before the third begins; the head dies when the third has joined.
    let mut fetches = vec![hosts.fetch(0, SEED)?, hosts.fetch(1, SEED)?];
    for fetch in &fetches {
        fetch.report(LONG)?;
    }
    hosts.head.wait_event("is covered", SOON)?;
    fetches.push(hosts.fetch(2, SEED)?);
    hosts.head.wait_for(SOON, |nodes| nodes.iter().all(|node| node.held > 0))?;
    hosts.head.kill()?;
    end_well(hosts, &fetches[2..])
}

#[test]
fn a_lost_link_is_waited_for() -> Result<()> {
    let (hosts, fetches) = under_way("link", 2, 8)?;
    hosts.lab.set_cable(hosts.port(0)?, false)?;
    check(&hosts, &fetches[1], &fetches[1].report(LONG)?)?;
    fetches[0].process.console().wait_for("nobody reachable holds", SOON)?;
    hosts.lab.set_cable(hosts.port(0)?, true)?;
    check(&hosts, &fetches[0], &fetches[0].report(LONG)?)?;
    fetches[0].process.signal(Signal::SIGTERM);
    fetches[0].process.wait_success(SOON)?;
    hosts.succeeded();
    Ok(())
}
