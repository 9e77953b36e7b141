//! Access control lists of an image. squashfs stores extended attributes of `user.`, `trusted.` and `security.` only, and
//! ACLs are `system.`: they travel in a file of their own in the image's root, and the agent gives them back.

use serde::{Deserialize, Serialize};

use crate::wire;

/// Name of the file in the image's root (mode 0600). Not there where no file has a list.
pub const ACLS_FILE: &str = ".wulfpack-acls";
/// Largest such file. Bytes.
pub const ACLS_MAX: usize = 16 * 1024 * 1024;

/// The lists of one file, as the kernel's extended attributes hold them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileAcls {
    /// Path in the image without leading slash, as bytes; never has `..` in it. The root itself is empty.
    pub path: Vec<u8>,
    /// `system.posix_acl_access`
    pub access: Option<Vec<u8>>,
    /// `system.posix_acl_default`, of directories.
    pub default: Option<Vec<u8>>,
}

/// The content of [`ACLS_FILE`] for these files.
pub fn encode_acls(files: &[FileAcls]) -> Vec<u8> {
    wire::encode(&files)
}

/// Reads the content of [`ACLS_FILE`].
///
/// # Errors
/// Where it is not such a file, or has a path that leaves the image.
pub fn decode_acls(bytes: &[u8]) -> Result<Vec<FileAcls>, wire::DecodeError> {
    let files: Vec<FileAcls> = wire::decode::<_, ACLS_MAX>(bytes)?;
    let leaves = |file: &FileAcls| {
        file.path.starts_with(b"/")
            || file.path.contains(&0)
            || file.path.split(|&byte| byte == b'/').any(|part| part == b"..")
    };
    match files.iter().find(|file| leaves(file)) {
        Some(file) => Err(wire::DecodeError::Malformed(format!(
            "it names a file outside the image: {:?}",
            String::from_utf8_lossy(&file.path)
        ))),
        None => Ok(files),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_round_trip_and_stay_inside_the_image() {
        let file = |path: &str| FileAcls { path: path.into(), access: Some(vec![2, 0, 0, 0]), default: None };
        let files = [file("var/log/journal"), file(""), file("a..b/..c")];
        assert_eq!(decode_acls(&encode_acls(&files)).unwrap(), files);
        for bad in ["../etc/shadow", "/etc/shadow", "a/../../b", ".."] {
            assert!(decode_acls(&encode_acls(&[file(bad)])).is_err(), "{bad}");
        }
    }
}
