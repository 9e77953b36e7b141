//! SSH host keys, derived for each node from one secret of the head: stable over reboots and reinstallation, never stored.
//!
//! The private form is OpenSSH's (PROTOCOL.key in its sources), the public one RFC 4253, section 6.6 with RFC 8709.

use data_encoding::BASE64;
use wulfpack_shared::id::NodeName;
use wulfpack_shared::identity::SecretKey;
use zeroize::Zeroizing;

const ALGORITHM: &[u8] = b"ssh-ed25519";
/// Columns of the encoded key, as ssh-keygen writes them.
const COLUMNS: usize = 70;

/// The ed25519 host key of one node.
#[derive(Debug)]
pub struct HostKey {
    key: SecretKey,
    node: NodeName,
}

impl HostKey {
    /// The key of `node` under the head's secret.
    pub fn derive(secret: &SecretKey, node: &NodeName) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("wulfpack 2026 ssh host key of a node v1");
        hasher.update(&*secret.seed());
        hasher.update(node.as_str().as_bytes());
        Self { key: SecretKey::from_seed(*hasher.finalize().as_bytes()), node: node.clone() }
    }

    /// `ssh-ed25519 AAAA… NODE`, as in `known_hosts` and in a `.pub` file.
    pub fn public(&self) -> String {
        format!("ssh-ed25519 {} {}", BASE64.encode(&self.public_blob()), self.node)
    }

    /// The private key file, without the final line break.
    pub fn private(&self) -> Zeroizing<String> {
        let mut blob = Zeroizing::new(b"openssh-key-v1\0".to_vec());
        put(&mut blob, b"none"); // cipher
        put(&mut blob, b"none"); // key derivation
        put(&mut blob, b""); // its options
        blob.extend(1u32.to_be_bytes());
        put(&mut blob, &self.public_blob());
        put(&mut blob, &self.private_section());
        let text = Zeroizing::new(BASE64.encode(&blob));
        let mut pem = Zeroizing::new(String::with_capacity(512));
        pem.push_str("-----BEGIN OPENSSH PRIVATE KEY-----\n");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            // Base64 is ASCII, so any index is a boundary.
            let (line, tail) = rest.split_at(rest.len().min(COLUMNS));
            pem.push_str(line);
            pem.push('\n');
            rest = tail;
        }
        pem.push_str("-----END OPENSSH PRIVATE KEY-----");
        pem
    }

    fn public_blob(&self) -> Vec<u8> {
        let mut blob = vec![];
        put(&mut blob, ALGORITHM);
        put(&mut blob, &self.key.public().0);
        blob
    }

    fn private_section(&self) -> Zeroizing<Vec<u8>> {
        let public = self.key.public().0;
        let mut section = Zeroizing::new(Vec::with_capacity(256));
        // Twice the same number shows a reader that decryption worked; nothing is encrypted, so any number will do.
        let check = blake3::hash(&public);
        section.extend_from_slice(&check.as_bytes()[..4]);
        section.extend_from_slice(&check.as_bytes()[..4]);
        put(&mut section, ALGORITHM);
        put(&mut section, &public);
        put(&mut section, &Zeroizing::new([*self.key.seed(), public].concat()));
        put(&mut section, self.node.as_str().as_bytes());
        // Padded with 1, 2, 3, … to the cipher's block size, 8 for none.
        for byte in 1..=(8 - section.len() % 8) % 8 {
            section.push(u8::try_from(byte).unwrap_or_default());
        }
        section
    }
}

/// A string of RFC 4251, section 5: its length in 4 bytes, then itself.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes());
    out.extend_from_slice(bytes);
}
