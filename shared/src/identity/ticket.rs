//! A ticket: all that a host needs to join a cluster, as one line of text. It is as secret as the token in it.

use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::token::TOKEN_MAX;
use crate::id::PublicKey;
use crate::wire;

const PREFIX: &str = "wulf1-";
const TICKET_MAX: usize = TOKEN_MAX + 2048;

/// Where a head's control plane listens, and the key it must show there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeadAddr {
    /// The head's own key: its libp2p identity.
    pub key: PublicKey,
    /// TCP address of the control plane.
    pub control: SocketAddr,
}

impl fmt::Display for HeadAddr {
    /// `KEY@ADDRESS:PORT`, the form of the kernel argument `wulf.head=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.control)
    }
}

impl FromStr for HeadAddr {
    type Err = TicketError;
    fn from_str(text: &str) -> Result<Self, TicketError> {
        let (key, control) = text.split_once('@').ok_or(TicketError::Head)?;
        let key = key.parse().map_err(|_| TicketError::Head)?;
        let control = control.parse().map_err(|_| TicketError::Head)?;
        Ok(Self { key, control })
    }
}

/// All that a host needs to join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The cluster's heads, the preferred one first.
    pub heads: Vec<HeadAddr>,
    /// The cluster's public keys.
    pub cluster: Vec<PublicKey>,
    /// The join token.
    pub token: Vec<u8>,
}

/// Why a text is not a ticket.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin like one, or is not complete.
    #[error("this is not a ticket: it does not begin with {PREFIX:?} or was cut short; `wulf ticket` prints one")]
    Form,
    /// Its content cannot be read.
    #[error("this ticket cannot be read: {0}")]
    Decode(#[from] wire::DecodeError),
    /// A head's address is not `KEY@ADDRESS:PORT`.
    #[error("a head is written KEY@ADDRESS:PORT, with the key as 64 hexadecimal digits")]
    Head,
}

impl FromStr for Ticket {
    type Err = TicketError;
    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(TicketError::Form)?;
        if text.len() > TICKET_MAX * 2 {
            return Err(TicketError::Form);
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TicketError::Form)?;
        Ok(wire::decode::<_, TICKET_MAX>(&bytes)?)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&wire::encode(self)))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("heads", &self.heads).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_round_trip_and_keep_their_secret_out_of_logs() {
        let head = HeadAddr { key: PublicKey([1; 32]), control: "10.0.0.1:9870".parse().unwrap() };
        let ticket = Ticket { heads: vec![head], cluster: vec![PublicKey([2; 32])], token: b"secret".to_vec() };
        assert_eq!(ticket.to_string().parse::<Ticket>().unwrap(), ticket);
        assert!(!format!("{ticket:?}").contains("115"), "a token byte was printed");
        assert_eq!(head.to_string().parse::<HeadAddr>().unwrap(), head);
        for bad in ["", "wulf1-", "wulf1-!!", "wulf2-abc", &ticket.to_string()[..40]] {
            assert!(bad.parse::<Ticket>().is_err(), "{bad:?}");
        }
    }
}
