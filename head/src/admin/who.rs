//! Who somebody is, for records.

use nix::unistd::{Uid, User};

/// Name of a system user, else its number.
pub fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}
