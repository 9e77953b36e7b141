//! Contents as they came become contents again, each compared with its hash: the head's word is checked as everything else.

use bytes::Bytes;
use wulfpack_shared::id::Hash;
use wulfpack_shared::limits::OVERLAYS_MAX;
use wulfpack_shared::overlay::{Bundle, EntryKind};

/// Why contents cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// All of them together would be too large for a node's memory.
    #[error("the overlays have more than {OVERLAYS_MAX} bytes, at /{0}")]
    TooLarge(String),
    /// They are not what the head says that they are.
    #[error("the content of /{0} arrived damaged")]
    Damaged(String),
}

/// Puts the contents in place of their packed forms.
///
/// # Errors
/// The first content that is damaged, or that would be more than [`OVERLAYS_MAX`] with those before it.
pub fn unpack(bundles: &mut [Bundle]) -> Result<(), UnpackError> {
    let mut left = OVERLAYS_MAX;
    for entry in bundles.iter_mut().flat_map(|bundle| &mut bundle.entries) {
        if let EntryKind::Packed { hash, len, zstd } = &entry.kind {
            let size = usize::try_from(*len).ok().filter(|len| *len <= left);
            let size = size.ok_or_else(|| UnpackError::TooLarge(entry.path.clone()))?;
            let content = zstd::bulk::decompress(zstd, size).ok().filter(|content| content.len() == size);
            let content = content.filter(|content| Hash::of(content) == *hash);
            let content = content.ok_or_else(|| UnpackError::Damaged(entry.path.clone()))?;
            left -= size;
            entry.kind = EntryKind::File(Bytes::from(content));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wulfpack_shared::overlay::{Context, Entry};

    use super::*;

    fn packed(content: &[u8], len: u64, zstd: Vec<u8>) -> Vec<Bundle> {
        let kind = EntryKind::Packed { hash: Hash::of(content), len, zstd: zstd.into() };
        let entry = Entry { path: "etc/hosts".into(), kind, mode: 0o644, uid: 0, gid: 0, secret: false };
        vec![Bundle { name: "x".parse().unwrap(), context: Context::System, entries: vec![entry], reload: vec![] }]
    }

    #[test]
    fn a_content_arrives_whole_or_not_at_all() {
        let content = b"10.0.0.1 n1\n".repeat(500);
        let (len, frame) = (content.len() as u64, zstd::bulk::compress(&content, 3).unwrap());
        let mut bundles = packed(&content, len, frame.clone());
        unpack(&mut bundles).unwrap();
        assert_eq!(bundles[0].entries[0].kind, EntryKind::File(content.clone().into()));
        let damaged = Err(UnpackError::Damaged("etc/hosts".into()));
        let mut broken = frame.clone();
        broken.truncate(frame.len() / 2);
        assert_eq!(unpack(&mut packed(&content, len, broken)), damaged);
        assert_eq!(unpack(&mut packed(b"another", len, frame.clone())), damaged);
        assert_eq!(unpack(&mut packed(&content, len - 1, frame.clone())), damaged, "longer than it says");
        assert_eq!(unpack(&mut packed(&content, len + 1, frame.clone())), damaged, "shorter than it says");
        let large = Err(UnpackError::TooLarge("etc/hosts".into()));
        assert_eq!(unpack(&mut packed(&content, OVERLAYS_MAX as u64 + 1, frame.clone())), large);
        assert_eq!(unpack(&mut packed(&content, u64::MAX, frame)), large);
    }
}
