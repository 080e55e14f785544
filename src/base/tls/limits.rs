//! How long a connection of TLS 1.2 lasts.
//!
//! rustls ends one after 2^24 records: it has no way to change a key, and TLS 1.3, which has one, changes it then
//! without anybody noticing. A record is a pipeline's replies: a busy connection has sent so many within minutes.
//! OpenSSL, and Redis with it, knows no limit.
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite};
use std::sync::LazyLock;

/// Records that AES-GCM enciphers with one key of TLS 1.2, whose nonces are a counter and never come twice. What
/// somebody gains who sees all of them grows with the square of what there is to see: 2^38 records of the longest
/// kind, 2^48 blocks, make it 2^-33 (draft-irtf-cfrg-aead-limits, 5.1.1: q (L + 1) = 2^64.5 p^1/2); records as
/// they are, of some hundred bytes, below 2^-44. At 100,000 records a second that is a month.
const RECORDS_MAX: u64 = 1 << 38;

/// Suites as rustls has them, with another limit.
fn with_limit(limit: u64) -> Vec<Tls12CipherSuite> {
    let all = default_provider().cipher_suites.into_iter();
    all.filter_map(|suite| match suite {
        SupportedCipherSuite::Tls12(suite) => Some(Tls12CipherSuite {
            common: CipherSuiteCommon {
                suite: suite.common.suite,
                hash_provider: suite.common.hash_provider,
                confidentiality_limit: suite.common.confidentiality_limit.max(limit),
            },
            prf_provider: suite.prf_provider,
            kx: suite.kx,
            sign: suite.sign,
            aead_alg: suite.aead_alg,
        }),
        SupportedCipherSuite::Tls13(_) => None,
    })
    .collect()
}

/// The same suite, for connections that stay.
pub fn lasting(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    static LASTING: LazyLock<Vec<Tls12CipherSuite>> = LazyLock::new(|| with_limit(RECORDS_MAX));
    let same = |other: &&Tls12CipherSuite| other.common.suite == suite.suite();
    match LASTING.iter().find(same) {
        Some(ours) => SupportedCipherSuite::Tls12(ours),
        None => suite,
    }
}
