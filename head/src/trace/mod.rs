//! The last boots of each machine, packet by packet, also of those that never got anywhere.
//!
//! * `ring`: what is kept, within bounds. `handle`: shared by the boot services. `decode`: packets in words.

mod decode;
mod handle;
mod ring;

pub use decode::{Decoded, decode, describe};
pub use handle::{Recorder, TraceHandle};
pub use ring::{Entry, Rings, Traced};
