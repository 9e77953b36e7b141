//! Who may say what: the cluster's signing key, keys of heads and nodes, join tokens, tickets, and membership certificates.

mod cert;
mod endorsement;
mod keys;
mod ticket;
mod token;

pub use cert::{CertificateError, Membership, Role, SignedMembership, SignedTime};
pub use endorsement::Endorsement;
pub use keys::{SecretKey, Signature, SignatureError};
pub use ticket::{HeadAddr, Ticket, TicketError};
pub use token::{TokenBody, TokenError, TokenKey, TokenSubject};
