//! Makes join tokens: for the boot of a node, and for tickets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wulfpack_shared::id::{BootId, Hash, ImageName, Mac, NodeName};
use wulfpack_shared::identity::{TokenBody, TokenKey, TokenSubject};
use wulfpack_shared::limits::TOKEN_LIFETIME;
use wulfpack_shared::time::UnixTime;

use crate::store::ANONYMOUS_MAX;

/// Exchanges of one machine that lie closer together are one: firmware repeats what got lost.
const SAME_BOOT: Duration = Duration::from_secs(3);
/// How long a machine may say with one token what it is: as long as it may take until a head is there. It opens nothing.
const DISCOVERY_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Most machines that are remembered.
const MACHINES_MAX: usize = 65_536;
/// Longest life of a ticket.
const TICKET_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why there is no such ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Too many or too few hosts.
    #[error("a ticket admits 1 to {ANONYMOUS_MAX} hosts")]
    Count,
    /// Too long or too short a life.
    #[error("a ticket is good for a second to 30 days")]
    Life,
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Makes tokens; clones share what they remember.
#[derive(Clone, Debug)]
pub struct TokenMaker {
    key: TokenKey,
    exchanges: Arc<Mutex<BTreeMap<Mac, UnixTime>>>,
}

impl TokenMaker {
    /// A maker with the heads' key.
    pub fn new(key: TokenKey) -> Self {
        Self { key, exchanges: Arc::default() }
    }

    /// The token for the boot of `node` from `mac` that began at `exchange`. Repeated requests of one boot get the same bytes, for at
    /// least half a token's life; the next boot gets others.
    pub fn for_boot(&self, node: &NodeName, mac: Mac, exchange: UnixTime, now: UnixTime) -> Vec<u8> {
        let begun = self.settle(mac, exchange, now);
        // A machine that waits in its loader for long needs a token that will still be good when its kernel runs.
        let half = TOKEN_LIFETIME / 2;
        let waited = now.0.saturating_sub(begun.0) / u64::try_from(half.as_millis()).unwrap_or(u64::MAX);
        let begun = begun + half * u32::try_from(waited).unwrap_or(u32::MAX);
        let nonce = self.key.nonce(format!("{node}\0{mac}\0{}", begun.0).as_bytes());
        let subject = TokenSubject::Node { name: node.clone(), mac: Some(mac) };
        self.key.seal(&TokenBody { subject, nonce, expires: begun + TOKEN_LIFETIME })
    }

    /// The token for the boot of `node` from `mac` that an administrator approved at `approved`. As long as that approval is the
    /// last one the bytes are the same, so that it admits one key, however often the machine begins again. Given while the
    /// approval holds, it is good for at least half a token's life.
    pub fn for_approved(&self, node: &NodeName, mac: Mac, approved: UnixTime) -> Vec<u8> {
        let nonce = self.key.nonce(format!("{node}\0{mac}\0approved {}", approved.0).as_bytes());
        let subject = TokenSubject::Node { name: node.clone(), mac: Some(mac) };
        self.key.seal(&TokenBody { subject, nonce, expires: approved + TOKEN_LIFETIME + TOKEN_LIFETIME / 2 })
    }

    /// The token with which a machine that no node is tells what it is; the bytes are the same while it repeats one exchange.
    pub fn for_discovery(&self, exchange: UnixTime, subject: (Mac, bool, Hash), now: UnixTime) -> Vec<u8> {
        let (mac, trusted, runs) = subject;
        let begun = self.settle(mac, exchange, now);
        let nonce = self.key.nonce(format!("discover\0{mac}\0{}", begun.0).as_bytes());
        let subject = TokenSubject::Discover { mac, trusted, runs };
        self.key.seal(&TokenBody { subject, nonce, expires: begun + DISCOVERY_LIFETIME })
    }

    /// The token of a machine that became `node` in this life of its agent: the same nonce however often it asks.
    pub fn for_adopted(&self, node: &NodeName, mac: Mac, boot: BootId, now: UnixTime) -> (Vec<u8>, TokenBody) {
        let nonce = self.key.nonce(format!("{node}\0{mac}\0adopted {boot}").as_bytes());
        let subject = TokenSubject::Node { name: node.clone(), mac: Some(mac) };
        let body = TokenBody { subject, nonce, expires: now + TOKEN_LIFETIME };
        (self.key.seal(&body), body)
    }

    /// When the boot began. Two looks at one exchange may differ by a little.
    fn settle(&self, mac: Mac, exchange: UnixTime, now: UnixTime) -> UnixTime {
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        if exchanges.len() >= MACHINES_MAX {
            exchanges.retain(|_, begun| now.distance(*begun) < TOKEN_LIFETIME);
        }
        let begun = exchanges.entry(mac).or_insert(exchange);
        if begun.distance(exchange) > SAME_BOOT {
            *begun = exchange;
        }
        *begun
    }

    /// A token for a host that is up and is, or stands in for, this node.
    pub fn for_ticket(&self, node: NodeName, life: Duration, now: UnixTime) -> Result<Vec<u8>, TicketError> {
        self.ticket(TokenSubject::Node { name: node, mac: None }, life, now)
    }

    /// A token for `count` hosts that may fetch `image`.
    pub fn anonymous(
        &self,
        image: ImageName,
        count: u32,
        life: Duration,
        now: UnixTime,
    ) -> Result<Vec<u8>, TicketError> {
        if count == 0 || count > ANONYMOUS_MAX {
            return Err(TicketError::Count);
        }
        self.ticket(TokenSubject::Anonymous { image, count }, life, now)
    }

    fn ticket(&self, subject: TokenSubject, life: Duration, now: UnixTime) -> Result<Vec<u8>, TicketError> {
        if life < Duration::from_secs(1) || life > TICKET_MAX {
            return Err(TicketError::Life);
        }
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(TicketError::Random)?;
        Ok(self.key.seal(&TokenBody { subject, nonce, expires: now + life }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_boot_has_one_token_and_the_next_another() {
        let key = TokenKey::new([1; 32]);
        let maker = TokenMaker::new(key.clone());
        let (node, mac) = ("n1".parse().unwrap(), Mac([2, 0, 0, 0, 0, 1]));
        let at = |ms: u64| maker.for_boot(&node, mac, UnixTime(1_000_000 + ms), UnixTime(1_010_000));
        let first = at(0);
        assert_eq!(at(1200), first, "the same exchange, looked at again");
        assert_ne!(at(60_000), first, "switched on again");
        assert_ne!(maker.for_boot(&node, Mac([9; 6]), UnixTime(1_000_000), UnixTime(1_010_000)), first);
        let waited = maker.for_boot(&node, mac, UnixTime(1_060_000), UnixTime(1_060_000) + TOKEN_LIFETIME * 2);
        assert!(
            key.open(&waited, UnixTime(1_060_000) + TOKEN_LIFETIME * 2).is_ok(),
            "as long as it waits in the loader"
        );
        let body = key.open(&first, UnixTime(1_000_000)).unwrap();
        assert_eq!(body.expires, UnixTime(1_000_000) + TOKEN_LIFETIME);
        assert_eq!(
            TokenMaker::new(key).for_boot(&node, mac, UnixTime(1_000_000), UnixTime(0)),
            first,
            "also by another head"
        );
    }

    #[test]
    fn one_approval_has_one_token() {
        let key = TokenKey::new([1; 32]);
        let maker = TokenMaker::new(key.clone());
        let (node, mac, approved) = ("n1".parse().unwrap(), Mac([2, 0, 0, 0, 0, 1]), UnixTime(1_000_000));
        let token = maker.for_approved(&node, mac, approved);
        assert_eq!(maker.for_approved(&node, mac, approved), token);
        assert_ne!(maker.for_approved(&node, mac, UnixTime(1_000_001)), token);
        assert_ne!(maker.for_approved(&node, Mac([9; 6]), approved), token);
        assert!(key.open(&token, approved + TOKEN_LIFETIME * 4 / 3).is_ok());
        assert!(key.open(&token, approved + TOKEN_LIFETIME * 2).is_err());
    }

    #[test]
    fn every_ticket_is_another_and_bounded() {
        let maker = TokenMaker::new(TokenKey::new([1; 32]));
        let hour = Duration::from_secs(3600);
        let ticket = || maker.for_ticket("n1".parse().unwrap(), hour, UnixTime(0)).unwrap();
        assert_ne!(ticket(), ticket());
        let anonymous = |count, life| maker.anonymous("debian".parse().unwrap(), count, life, UnixTime(0));
        assert!(anonymous(5, hour).is_ok());
        assert_eq!(anonymous(0, hour), Err(TicketError::Count));
        assert_eq!(anonymous(ANONYMOUS_MAX + 1, hour), Err(TicketError::Count));
        assert_eq!(anonymous(1, Duration::ZERO), Err(TicketError::Life));
        assert_eq!(anonymous(1, TICKET_MAX * 2), Err(TicketError::Life));
    }
}
