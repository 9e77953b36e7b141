//! The cryptography library, and which cipher this processor is quick at.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuite, SupportedCipherSuite};

/// ring, named here and nowhere taken from the process: another library may have set another default.
///
/// AES comes first where the processor has instructions for it; without them ChaCha20 is several times as fast.
pub(super) fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| place(suite, has_aes()));
    Arc::new(provider)
}

fn place(suite: &SupportedCipherSuite, aes: bool) -> u8 {
    match (suite.suite(), aes) {
        (CipherSuite::TLS13_AES_128_GCM_SHA256, true) | (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, false) => 0,
        (CipherSuite::TLS13_AES_128_GCM_SHA256 | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, _) => 1,
        _ => 2,
    }
}

/// Whether the processor multiplies and ciphers for AES-GCM in hardware. Of two ends the one without has the say.
pub(super) fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_cipher_comes_first_and_the_one_for_first_packets_is_always_there() {
        let mut suites = ring::default_provider().cipher_suites;
        for (aes, first) in
            [(true, CipherSuite::TLS13_AES_128_GCM_SHA256), (false, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256)]
        {
            suites.sort_by_key(|suite| place(suite, aes));
            assert_eq!(suites.first().map(SupportedCipherSuite::suite), Some(first));
            // QUIC protects its first packets with it (RFC 9001, section 5.2).
            assert!(suites.iter().any(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256));
        }
    }
}
