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

fn common(suite: &CipherSuiteCommon, confidentiality_limit: u64) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: suite.suite,
        hash_provider: suite.hash_provider,
        confidentiality_limit,
    }
}

/// The suite as rustls has it, with another limit.
fn limited(suite: &Tls12CipherSuite, records: u64) -> Tls12CipherSuite {
    Tls12CipherSuite {
        common: common(&suite.common, records),
        prf_provider: suite.prf_provider,
        kx: suite.kx,
        sign: suite.sign,
        aead_alg: suite.aead_alg,
    }
}

fn all_lasting() -> Vec<Tls12CipherSuite> {
    let all = default_provider().cipher_suites.into_iter();
    all.filter_map(|suite| match suite {
        SupportedCipherSuite::Tls12(suite) => {
            let records = suite.common.confidentiality_limit.max(RECORDS_MAX);
            Some(limited(suite, records))
        }
        SupportedCipherSuite::Tls13(_) => None,
    })
    .collect()
}

/// The same suite, for connections that stay.
pub fn lasting(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    static LASTING: LazyLock<Vec<Tls12CipherSuite>> = LazyLock::new(all_lasting);
    let same = |other: &&Tls12CipherSuite| other.common.suite == suite.suite();
    match LASTING.iter().find(same) {
        Some(ours) => SupportedCipherSuite::Tls12(ours),
        None => suite,
    }
}

/// Everything as rustls has it, with keys that are good for so many records. What it makes is never freed.
#[cfg(test)]
pub(super) fn with_limits(records: u64) -> rustls::crypto::CryptoProvider {
    let mut provider = default_provider();
    for suite in &mut provider.cipher_suites {
        *suite = match suite {
            SupportedCipherSuite::Tls12(suite) => {
                SupportedCipherSuite::Tls12(Box::leak(Box::new(limited(suite, records))))
            }
            SupportedCipherSuite::Tls13(suite) => {
                SupportedCipherSuite::Tls13(Box::leak(Box::new(rustls::Tls13CipherSuite {
                    common: common(&suite.common, records),
                    hkdf_provider: suite.hkdf_provider,
                    aead_alg: suite.aead_alg,
                    quic: None,
                })))
            }
        };
    }
    provider
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_of_the_older_version_last_and_are_the_same_otherwise() {
        let mut seen = 0;
        for suite in default_provider().cipher_suites {
            let ours = lasting(suite);
            assert_eq!(ours.suite(), suite.suite());
            match (ours, suite) {
                (SupportedCipherSuite::Tls12(ours), SupportedCipherSuite::Tls12(theirs)) => {
                    assert!(ours.common.confidentiality_limit >= RECORDS_MAX);
                    assert_eq!(ours.sign, theirs.sign);
                    seen += 1;
                }
                (SupportedCipherSuite::Tls13(ours), SupportedCipherSuite::Tls13(theirs)) => {
                    let limit = ours.common.confidentiality_limit;
                    assert_eq!(limit, theirs.common.confidentiality_limit);
                }
                _ => panic!("another version"),
            }
        }
        assert_eq!(seen, 6);
    }
}
