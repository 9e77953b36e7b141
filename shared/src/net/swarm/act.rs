//! What the engine wants, done. Nothing here waits: what takes time is a task that tells the driver when it is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::SwarmEvent;
use super::board::Image;
use super::driver::{Asked, Driver};
use super::fetch::Fetch;
use super::link::{CloseCode, greet};
use super::note::{Answer, Note, Tabled, Trouble};
use crate::image::{ChunkTable, Run, verify};
use crate::limits::HAVE_RANGES_MAX;
use crate::net::store::StoreError;
use crate::swarm::{
    Choice, CloseReason, End, Event, ImageIx, Input, Misdeed, Output, PeerIx, PeerKind, PeerMessage, RefuseReason,
    ReqId,
};
use crate::wire::PeerFrame;

/// Does one thing.
pub(super) fn output(driver: &mut Driver, output: Output) {
    match output {
        Output::Dial { peer } => dial(driver, peer),
        Output::Close { peer, reason } => close(driver, peer, reason),
        Output::Fetch { req, peer, image, choice } => fetch(driver, req, peer, image, choice),
        Output::Cancel { req } => {
            if let Some(cancel) = driver.asked.get_mut(&req).and_then(|asked| asked.cancel.take()) {
                // The request may just have ended by itself.
                let _ = cancel.send(());
            }
        }
        Output::Serve { serve, image, run } => {
            let answer = driver.deciding.remove(&serve);
            let image = driver.image(image).cloned();
            let (stopper, stop) = oneshot::channel();
            let served = answer
                .zip(image)
                .is_some_and(|((_, answer), image)| answer.send(Answer::Serve { image, run, stop }).is_ok());
            if served {
                driver.serving.insert(serve, stopper);
            } else {
                // The asker has given up, or its connection broke.
                driver.later(Input::Served { serve, complete: false });
            }
        }
        Output::Break(serve) => {
            // The entry's end stops it; that it has ended is told as always.
            drop(driver.serving.remove(&serve));
        }
        Output::Refuse { serve, reason } => {
            driver.board.turn_away();
            if let Some((_, answer)) = driver.deciding.remove(&serve) {
                let said = match reason {
                    RefuseReason::Busy => Answer::Busy,
                    RefuseReason::NotHeld => Answer::Refused,
                };
                drop(answer.send(said));
            }
        }
        Output::Send { peer, message } => send(driver, peer, message),
        Output::AskTracker { want } => driver.event(SwarmEvent::AskTracker { want }),
        Output::Recheck { image, unit } => recheck(driver, image, unit),
        Output::Event(event) => happened(driver, event),
    }
}

fn dial(driver: &mut Driver, peer: PeerIx) {
    let Some(known) = driver.directory.get_mut(peer) else { return };
    if known.dialling || known.link.is_some() {
        return;
    }
    known.dialling = true;
    let (key, addrs) = (known.key, known.addrs.clone());
    let (endpoint, identity) = (Arc::clone(&driver.endpoint), driver.identity.clone());
    let (notes, images) = (driver.notes.clone(), driver.board.versions());
    drop(tokio::spawn(async move {
        let mut why = "it has no address".to_owned();
        for addr in addrs {
            let greeted = match endpoint.dial(addr, key).await {
                Ok(connection) => greet(connection, &identity, images.clone(), true).await,
                Err(error) => Err(error.to_string()),
            };
            match greeted {
                Ok(fresh) => return drop(notes.send(Note::Up(Box::new(fresh))).await),
                Err(error) => {
                    tracing::info!(%addr, peer = %key, %error, "a member was not reached");
                    why = error;
                }
            }
        }
        drop(notes.send(Note::DialFailed { peer, why }).await);
    }));
}

fn close(driver: &Driver, peer: PeerIx, reason: CloseReason) {
    let Some(link) = driver.directory.get(peer).and_then(|known| known.link.as_ref()) else { return };
    match reason {
        CloseReason::Idle => link.close(CloseCode::Bye, Some(PeerFrame::Bye)),
        CloseReason::Full => {
            let alternatives = driver.directory.alternatives(peer);
            link.close(CloseCode::Full, Some(PeerFrame::Full { alternatives }));
        }
        CloseReason::Misbehaved => link.close(CloseCode::Protocol, None),
        CloseReason::Revoked => link.close(CloseCode::Revoked, None),
    }
}

/// A peer broke the protocol in a way that the engine does not see.
pub(super) fn misbehaved(driver: &Driver, peer: PeerIx, what: &'static str) {
    if let Some(known) = driver.directory.get(peer) {
        driver.event(SwarmEvent::Misbehaved { peer: known.key, what });
    }
    close(driver, peer, CloseReason::Misbehaved);
}

fn fetch(driver: &mut Driver, req: ReqId, peer: PeerIx, image: ImageIx, choice: Choice) {
    let known = driver.directory.get(peer);
    let from_head = known.is_some_and(|known| known.kind == PeerKind::Head);
    let (Some(link), Some(held)) = (known.and_then(|known| known.link.as_ref()), driver.image(image)) else {
        return driver.later(Input::Ended { req, end: End::PeerGone });
    };
    let fetch = Fetch {
        req,
        connection: link.connection.clone(),
        image: Arc::clone(held),
        choice,
        from_head,
        after: link.sent(),
        notes: driver.notes.clone(),
        budget: Arc::clone(&driver.fetch_budget),
        down: Arc::clone(&driver.board.down),
    };
    let (cancel, cancelled) = oneshot::channel();
    driver.asked.insert(req, Asked { image, cancel: Some(cancel) });
    drop(tokio::spawn(fetch.run(cancelled)));
}

fn send(driver: &Driver, peer: PeerIx, message: PeerMessage) {
    let Some(link) = driver.directory.get(peer).and_then(|known| known.link.as_ref()) else { return };
    let version = |image| driver.image(image).map(|image| image.version);
    match message {
        PeerMessage::Have { image, ranges } => {
            let Some(image) = version(image) else { return };
            for ranges in ranges.chunks(HAVE_RANGES_MAX) {
                link.send(PeerFrame::Have { image, ranges: ranges.to_vec() });
            }
        }
        PeerMessage::Lost { image, unit } => {
            version(image).into_iter().for_each(|image| link.send(PeerFrame::Lost { image, unit }));
        }
        PeerMessage::Refuted { image, unit } => {
            version(image).into_iter().for_each(|image| link.send(PeerFrame::Refuted { image, unit }));
        }
        PeerMessage::Slots { free } => link.send(PeerFrame::Slots { free }),
        PeerMessage::Full => link.send(PeerFrame::Full { alternatives: driver.directory.alternatives(peer) }),
        PeerMessage::Bye => link.send(PeerFrame::Bye),
        PeerMessage::ServesNobody => link.send(PeerFrame::ServesNobody),
    }
}

fn recheck(driver: &Driver, ix: ImageIx, unit: u32) {
    let Some(image) = driver.image(ix).cloned() else { return };
    let notes = driver.notes.clone();
    drop(tokio::spawn(async move {
        let good = spawn_blocking(move || {
            let expected = image.store.geometry().hash(unit);
            let read = image.store.read(unit).ok();
            expected.zip(read).is_some_and(|(expected, bytes)| verify(&expected, bytes).is_ok())
        });
        let good = good.await.unwrap_or(false);
        drop(notes.send(Note::Rechecked { image: ix, unit, good }).await);
    }));
}

fn happened(driver: &Driver, event: Event) {
    let version = |image: ImageIx| driver.image(image).map(|image| image.version);
    match event {
        Event::PagesComplete { image } => read_table(driver, image),
        Event::Complete { image } => seal(driver, image),
        Event::Covered { image } => {
            version(image).into_iter().for_each(|image| driver.event(SwarmEvent::Covered { image }));
        }
        Event::Starved { image, missing, first } => {
            if let Some(image) = version(image) {
                driver.event(SwarmEvent::Starved { image, missing, first });
            }
        }
        Event::Misbehaved { peer, what } => {
            let Some(peer) = driver.directory.get(peer).map(|known| known.key) else { return };
            driver.event(match what {
                Misdeed::Corrupt { image, unit } => match version(image) {
                    Some(image) => SwarmEvent::CorruptFrom { peer, image, unit },
                    None => return,
                },
                Misdeed::Nonsense => {
                    SwarmEvent::Misbehaved { peer, what: "it names units that the image does not have" }
                }
                Misdeed::Flood => SwarmEvent::Misbehaved { peer, what: "it keeps asking beyond its slots" },
            });
        }
        Event::SelfSuspect => driver.event(SwarmEvent::SelfSuspect),
    }
}

/// Reads the table from its pages, all of which are verified.
fn read_table(driver: &Driver, ix: ImageIx) {
    let Some(image) = driver.image(ix).cloned() else { return };
    if image.store.geometry().table().is_some() {
        // It was complete from the start, and handed in then.
        return driver.event(SwarmEvent::PagesComplete { image: image.version });
    }
    let notes = driver.notes.clone();
    let others: Vec<Arc<Image>> = driver.images.iter().filter(|other| other.ix != ix).cloned().collect();
    drop(tokio::spawn(async move {
        let lens = spawn_blocking(move || parse_table(&image, &others));
        let lens = lens.await.unwrap_or_else(|error| Err(error.into()));
        drop(notes.send(Note::Table { image: ix, lens }).await);
    }));
}

fn parse_table(image: &Image, others: &[Arc<Image>]) -> Result<Tabled, Trouble> {
    let geometry = image.store.geometry();
    let mut bytes = Vec::new();
    for page in 0..geometry.units().pages {
        bytes.extend_from_slice(&image.store.read(page)?);
    }
    let table = ChunkTable::parse(geometry.header(), &bytes).map_err(StoreError::from)?;
    let lens = table.entries().iter().map(|entry| entry.len).collect();
    geometry.set_table(table);
    let mut held = image.store.take_over()?;
    for unit in held.iter().flat_map(|run| run.iter()) {
        image.hold(unit);
    }
    held.extend(share(image, others)?);
    Ok(Tabled { lens, held })
}

/// Stores the chunks that other images of this member hold, each hashed again, and says which.
fn share(image: &Image, others: &[Arc<Image>]) -> Result<Vec<Run>, Trouble> {
    let mut known = BTreeMap::new();
    for (index, other) in others.iter().enumerate() {
        let first = other.store.geometry().units().pages;
        for unit in other.held().iter().flat_map(|run| run.iter()).filter(|unit| *unit >= first) {
            if let Some(hash) = other.store.geometry().hash(unit) {
                known.entry(hash).or_insert((index, unit));
            }
        }
    }
    let (mut shared, units) = (vec![], *image.store.geometry().units());
    for unit in units.pages..if known.is_empty() { units.pages } else { units.total() } {
        let Some(hash) = image.store.geometry().hash(unit).filter(|_| !image.holds(unit)) else { continue };
        let Some((other, theirs)) = known.get(&hash).and_then(|(index, unit)| Some((others.get(*index)?, *unit)))
        else {
            continue;
        };
        // What has gone bad there is fetched, and found out when it is served.
        let Some(verified) = other.store.read(theirs).ok().and_then(|bytes| verify(&hash, bytes).ok()) else {
            continue;
        };
        image.store.write(unit, &verified)?;
        image.hold(unit);
        shared.push(Run::one(unit));
    }
    Ok(shared)
}

/// Closes the store for writing; only then is the image told to be complete.
fn seal(driver: &Driver, ix: ImageIx) {
    let Some(image) = driver.image(ix).cloned() else { return };
    let notes = driver.notes.clone();
    drop(tokio::spawn(async move {
        let sealed = spawn_blocking(move || image.store.seal().map_err(Trouble::from));
        let result = sealed.await.unwrap_or_else(|error| Err(error.into()));
        drop(notes.send(Note::Sealed { image: ix, result }).await);
    }));
}
