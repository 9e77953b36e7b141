//! What tasks tell the driver, turned into inputs of the engine.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::SwarmEvent;
use super::act;
use super::board::Image;
use super::directory::Rival;
use super::driver::Driver;
use super::link::{CloseCode, Fresh, Link, Ties};
use super::note::{Answer, LinkId, Note, Tabled, Trouble};
use crate::id::VersionId;
use crate::limits::HAVE_RANGES_MAX;
use crate::swarm::{Choice, End, ImageIx, Input, PeerIx, PeerMessage, ServeId};
use crate::wire::{ChunkAsk, PeerFrame, Want};

/// Takes one note.
pub(super) fn note(driver: &mut Driver, note: Note) {
    match note {
        Note::Up(fresh) => up(driver, *fresh),
        Note::DialFailed { peer, why } => {
            tracing::debug!(peer = peer.0, %why, "not connected");
            let Some(known) = driver.directory.get_mut(peer) else { return };
            known.dialling = false;
            if known.link.is_none() {
                driver.input(Input::DialFailed { peer });
            }
        }
        Note::Down { peer, link, why } => down(driver, peer, link, &why),
        Note::Frame { peer, link, frame } => {
            if driver.directory.link(peer, link).is_some() {
                message(driver, peer, frame);
            }
        }
        Note::Asked { peer, link, serve, ask, answer } => {
            if driver.directory.link(peer, link).is_some() {
                asked(driver, peer, serve, ask, answer);
            }
        }
        Note::Unasked { serve } => {
            // Whether or not it was answered meanwhile: nobody is there to serve.
            let undecided = driver.deciding.remove(&serve).is_some();
            if driver.serving.remove(&serve).is_some() || undecided {
                driver.input(Input::Served { serve, complete: false });
            }
        }
        Note::Served { serve, image, bytes, complete, broken } => {
            served(driver, serve, image, bytes, complete, broken);
        }
        Note::Table { image, lens } => match lens {
            Ok(Tabled { lens, held }) => {
                for run in held {
                    driver.input(Input::Held { image, run });
                }
                driver.input(Input::Table { image, lens });
                if let Some(image) = driver.image(image) {
                    driver.event(SwarmEvent::PagesComplete { image: image.version });
                }
            }
            Err(trouble) => driver.event(told(trouble)),
        },
        Note::Rechecked { image, unit, good } => {
            if !good {
                rotten(driver, image, unit);
            }
        }
        Note::Sealed { image, result } => {
            if let Err(trouble) = result {
                driver.event(told(trouble));
            }
            if let Some(image) = driver.image(image) {
                driver.event(SwarmEvent::Complete { image: image.version });
            }
        }
        own => transfer(driver, own),
    }
}

/// Notes of our own requests.
fn transfer(driver: &mut Driver, note: Note) {
    match note {
        Note::Assigned { req, run } => driver.input(Input::Assigned { req, run }),
        Note::Progress { req } => driver.input(Input::Progress { req }),
        Note::Verified { req, unit } => driver.input(Input::Verified { req, unit }),
        Note::Corrupt { req, unit } => driver.input(Input::Corrupt { req, unit }),
        Note::Ended { req, end, lost, failure } => {
            if let Some(asked) = driver.asked.remove(&req)
                && let Some(image) = driver.image(asked.image)
            {
                image.count(|counts| {
                    counts.cancelled += u32::from(end == End::Cancelled);
                    counts.wasted += lost;
                });
            }
            if let Some(trouble) = failure {
                driver.event(told(trouble));
            }
            driver.input(Input::Ended { req, end });
        }
        _ => {}
    }
}

fn up(driver: &mut Driver, fresh: Fresh) {
    let dialled = fresh.dialled;
    if !dialled && driver.board.is_paused() {
        // It was in its handshake when the member was paused.
        return fresh.connection.close((CloseCode::Bye as u32).into(), b"paused");
    }
    let Some(peer) = driver.directory.met(fresh.key, &fresh.membership, fresh.remote()) else {
        return fresh.connection.close(0u32.into(), b"this is your own key, or too many peers are known");
    };
    if dialled && let Some(known) = driver.directory.get_mut(peer) {
        known.dialling = false;
    }
    let standing = driver.directory.get(peer).and_then(|known| known.link.as_ref());
    if let Some(old) = standing {
        if driver.directory.rival(&fresh.key, old.dialled, dialled) == Rival::KeepOld {
            return fresh.connection.close((CloseCode::Duplicate as u32).into(), b"the other connection stays");
        }
        old.close(CloseCode::Duplicate, None);
        let old = old.id;
        down(driver, peer, old, "the other connection with it stays");
    }
    let own = driver.identity.membership().rack;
    let same_rack = own.is_none() || fresh.membership.rack.is_none() || own == fresh.membership.rack;
    let link = LinkId(driver.next_link);
    driver.next_link += 1;
    let ties = Ties {
        peer,
        link,
        notes: driver.notes.clone(),
        budget: Arc::clone(&driver.serve_budget),
        up: Arc::clone(&driver.board.up),
        serves: Arc::clone(&driver.next_serve),
    };
    let link = Link::start(fresh, ties);
    let Some(known) = driver.directory.get_mut(peer) else { return };
    known.link = Some(link);
    let kind = known.kind;
    driver.board.set_peers(driver.directory.connected().count());
    driver.input(Input::Connected { peer, kind, same_rack, dialled });
}

fn down(driver: &mut Driver, peer: PeerIx, link: LinkId, why: &str) {
    if driver.directory.link(peer, link).is_none() {
        return;
    }
    if let Some(known) = driver.directory.get_mut(peer) {
        tracing::debug!(key = %known.key, why, "connection ended");
        known.link = None;
    }
    driver.board.set_peers(driver.directory.connected().count());
    driver.input(Input::Disconnected { peer });
}

fn message(driver: &mut Driver, peer: PeerIx, frame: PeerFrame) {
    let known = |image: &VersionId| driver.board.get(image).map(|image| image.ix);
    let said = match frame {
        // Said before; a second one changes nothing.
        PeerFrame::Hello { .. } => None,
        PeerFrame::Have { image, ranges } if ranges.len() <= HAVE_RANGES_MAX => {
            known(&image).map(|image| PeerMessage::Have { image, ranges })
        }
        PeerFrame::Have { .. } => return act::misbehaved(driver, peer, "it announces too many ranges at once"),
        PeerFrame::Lost { image, unit } => known(&image).map(|image| PeerMessage::Lost { image, unit }),
        PeerFrame::Slots { free } => Some(PeerMessage::Slots { free }),
        PeerFrame::Refuted { image, unit } => known(&image).map(|image| PeerMessage::Refuted { image, unit }),
        PeerFrame::Full { alternatives } => {
            driver.add_peers(alternatives.get(..2).unwrap_or(&alternatives));
            Some(PeerMessage::Full)
        }
        PeerFrame::Bye => Some(PeerMessage::Bye),
        PeerFrame::ServesNobody => Some(PeerMessage::ServesNobody),
        PeerFrame::Revoked { keys } => {
            if keys.iter().any(|key| !driver.identity.trust().is_revoked(key)) {
                driver.event(SwarmEvent::AskTracker { want: 0 });
            }
            None
        }
    };
    if let Some(message) = said {
        driver.input(Input::Message { peer, message });
    }
}

fn asked(driver: &mut Driver, peer: PeerIx, serve: ServeId, ask: ChunkAsk, answer: oneshot::Sender<Answer>) {
    let only = driver.directory.get(peer).and_then(|known| known.only.as_ref());
    let image = driver.board.get(&ask.image);
    let allowed = |image: &Arc<Image>| only.is_none_or(|only| *only == image.store.geometry().header().name);
    let Some(image) = image.filter(allowed) else {
        return drop(answer.send(Answer::Refused));
    };
    let choice = match ask.want {
        Want::Run(run) => Choice::Run(run),
        Want::Rarest { max_bytes, starved, .. } => Choice::Rarest { max_bytes, starved },
    };
    driver.deciding.insert(serve, (peer, answer));
    driver.input(Input::Asked { peer, serve, image: image.ix, choice });
}

fn served(
    driver: &mut Driver,
    serve: ServeId,
    ix: ImageIx,
    bytes: u64,
    complete: bool,
    broken: Option<(u32, Trouble)>,
) {
    drop(driver.serving.remove(&serve));
    if let Some(image) = driver.image(ix) {
        image.count(|counts| counts.served += bytes);
    }
    driver.input(Input::Served { serve, complete });
    match broken {
        Some((unit, Trouble::Rotten(_))) => rotten(driver, ix, unit),
        Some((unit, trouble)) => {
            driver.event(told(trouble));
            lost(driver, ix, unit);
        }
        None => {}
    }
}

fn told(trouble: Trouble) -> SwarmEvent {
    match trouble {
        Trouble::Full(why) => SwarmEvent::StoreFull(why),
        Trouble::Rotten(why) | Trouble::Failed(why) => SwarmEvent::StoreFailed(why),
    }
}

/// A unit went bad in our own store: we say so ourselves.
fn rotten(driver: &mut Driver, ix: ImageIx, unit: u32) {
    if let Some(version) = lost(driver, ix, unit) {
        driver.event(SwarmEvent::Rotten { image: version, unit });
    }
}

/// A unit cannot be had from our own store any more; says of which image, if it was held until now.
fn lost(driver: &mut Driver, ix: ImageIx, unit: u32) -> Option<VersionId> {
    let image = driver.image(ix).filter(|image| image.lose(unit))?;
    let (version, again) = (image.version, !image.store.is_sealed());
    driver.input(Input::Dropped { image: ix, unit, again });
    Some(version)
}
