//! What `tls-protocols`, `tls-ciphers` and `tls-ciphersuites` say, in terms of what rustls has.
//!
//! The directives speak OpenSSL's language. rustls offers TLS 1.2 with ephemeral elliptic-curve keys and AEAD
//! ciphers, and TLS 1.3: what a list names beyond that selects nothing, and a list of which nothing is left
//! is refused.
use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion, version};

/// The protocols that `tls-protocols` leaves; without it both.
pub fn protocols(list: Option<&[u8]>) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let list = list.map(String::from_utf8_lossy).unwrap_or_default();
    let (mut v12, mut v13, mut named) = (false, false, false);
    for word in list.split_whitespace() {
        named = true;
        match word.to_ascii_lowercase().as_str() {
            "tlsv1" | "tlsv1.1" => {}
            "tlsv1.2" => v12 = true,
            "tlsv1.3" => v13 = true,
            _ => {
                return Err(
                    "Invalid tls-protocols specified. Use a combination of 'TLSv1', \
                            'TLSv1.1', 'TLSv1.2' and 'TLSv1.3'."
                        .into(),
                );
            }
        }
    }
    if !named {
        (v12, v13) = (true, true);
    }
    let mut versions = Vec::new();
    if v13 {
        versions.push(&version::TLS13);
    }
    if v12 {
        versions.push(&version::TLS12);
    }
    if versions.is_empty() {
        return Err(
            "Invalid tls-protocols specified: TLSv1 and TLSv1.1 are broken and not \
                    offered. Add 'TLSv1.2' or 'TLSv1.3'."
                .into(),
        );
    }
    Ok(versions)
}

/// A suite of TLS 1.2 under OpenSSL's name, and the words that select it.
struct Named {
    name: &'static str,
    suite: CipherSuite,
    words: &'static [&'static str],
    bits: u16,
}

/// What selects all of them.
const COMMON: &[&str] = &[
    "ALL", "HIGH", "DEFAULT", "ECDHE", "EECDH", "kECDHE", "kEECDH", "TLSv1.2",
];

/// In the order that OpenSSL prefers.
const TLS12: &[Named] = &[
    Named {
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        words: &["ECDSA", "aECDSA", "AES", "AES256", "AESGCM"],
        bits: 256,
    },
    Named {
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        words: &["aRSA", "AES", "AES256", "AESGCM"],
        bits: 256,
    },
    Named {
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        words: &["ECDSA", "aECDSA", "CHACHA20"],
        bits: 256,
    },
    Named {
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        words: &["aRSA", "CHACHA20"],
        bits: 256,
    },
    Named {
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        words: &["ECDSA", "aECDSA", "AES", "AES128", "AESGCM"],
        bits: 128,
    },
    Named {
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        words: &["aRSA", "AES", "AES128", "AESGCM"],
        bits: 128,
    },
];

impl Named {
    fn is(&self, word: &str) -> bool {
        self.name == word || COMMON.contains(&word) || self.words.contains(&word)
    }
}

/// A cipher list of OpenSSL (see ciphers(1)): the suites of TLS 1.2 it selects, most wanted first.
fn tls12(list: &str) -> Vec<&'static Named> {
    let mut chosen: Vec<&Named> = Vec::new();
    let mut killed: Vec<&str> = Vec::new();
    for item in list
        .split([':', ',', ' ', ';'])
        .filter(|item| !item.is_empty())
    {
        if item == "@STRENGTH" {
            chosen.sort_by_key(|named| std::cmp::Reverse(named.bits));
        }
        if item.starts_with('@') {
            continue; // a level of security: everything here is above the highest that is in use
        }
        let (sign, words) = match item.as_bytes()[0] {
            sign @ (b'!' | b'-' | b'+') => (sign, &item[1..]),
            _ => (b' ', item),
        };
        let meant = |named: &Named| words.split('+').all(|word| named.is(word));
        match sign {
            b' ' => {
                for named in TLS12.iter().filter(|named| meant(named)) {
                    let there = chosen.iter().any(|other| other.name == named.name);
                    if !there && !killed.contains(&named.name) {
                        chosen.push(named);
                    }
                }
            }
            b'+' => chosen.sort_by_key(|named| meant(named)),
            _ => {
                if sign == b'!' {
                    killed.extend(
                        TLS12
                            .iter()
                            .filter(|named| meant(named))
                            .map(|named| named.name),
                    );
                }
                chosen.retain(|named| !meant(named));
            }
        }
    }
    chosen
}

const TLS13: &[(&str, CipherSuite)] = &[
    (
        "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_AES_256_GCM_SHA384,
    ),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_128_GCM_SHA256,
    ),
];

/// The suites of a provider that the two lists select, in their order.
pub fn suites(
    provider: &CryptoProvider,
    ciphers: Option<&[u8]>,
    ciphersuites: Option<&[u8]>,
) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut wanted: Vec<CipherSuite> = Vec::new();
    match ciphersuites.map(String::from_utf8_lossy) {
        None => wanted.extend(TLS13.iter().map(|(_, suite)| *suite)),
        Some(list) => {
            for name in list.split(':').filter(|name| !name.is_empty()) {
                match TLS13.iter().find(|(known, _)| *known == name) {
                    Some((_, suite)) => wanted.push(*suite),
                    None if name.starts_with("TLS_AES_128_CCM") => {}
                    None => {
                        return Err(format!(
                            "Failed to configure ciphersuites: no such suite: '{name}'"
                        ));
                    }
                }
            }
            if wanted.is_empty() {
                return Err("Failed to configure ciphersuites: none of them is supported".into());
            }
        }
    }
    match ciphers.map(String::from_utf8_lossy) {
        None => wanted.extend(TLS12.iter().map(|named| named.suite)),
        Some(list) => {
            let chosen = tls12(&list);
            if chosen.is_empty() {
                return Err(format!(
                    "Failed to configure ciphers: no cipher match for '{list}': supported are {}",
                    TLS12
                        .iter()
                        .map(|named| named.name)
                        .collect::<Vec<_>>()
                        .join(":")
                ));
            }
            wanted.extend(chosen.iter().map(|named| named.suite));
        }
    }
    let find = |suite| {
        provider
            .cipher_suites
            .iter()
            .find(|s| s.suite() == suite)
            .copied()
    };
    Ok(wanted.into_iter().filter_map(find).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        tls12(list).iter().map(|named| named.name).collect()
    }

    #[test]
    fn cipher_lists_are_read_as_openssl_does() {
        assert_eq!(names("DEFAULT").len(), 6);
        assert_eq!(names("DEFAULT:-AES128-SHA256").len(), 6);
        assert_eq!(names("AES128-SHA256:AES256-SHA256"), [""; 0]);
        assert_eq!(
            names("ECDHE+AESGCM:!aRSA:!AES128"),
            ["ECDHE-ECDSA-AES256-GCM-SHA384"]
        );
        assert_eq!(
            names("aRSA:-AESGCM:ALL:!ECDSA"),
            [
                "ECDHE-RSA-CHACHA20-POLY1305",
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-RSA-AES128-GCM-SHA256"
            ]
        );
        assert_eq!(
            names("!aRSA:aRSA:ECDSA+CHACHA20"),
            ["ECDHE-ECDSA-CHACHA20-POLY1305"]
        );
        assert_eq!(
            names("CHACHA20:AES128:+CHACHA20:@SECLEVEL=2")[0],
            "ECDHE-ECDSA-AES128-GCM-SHA256"
        );
        assert_eq!(
            names("AES128:AES256:@STRENGTH")[0],
            "ECDHE-ECDSA-AES256-GCM-SHA384"
        );
        assert_eq!(names("!"), [""; 0]);
    }

    #[test]
    fn protocols_are_named() {
        let named = |list: &str| protocols(Some(list.as_bytes())).map(|found| found.len());
        assert_eq!(
            (protocols(None).map(|v| v.len()), named("")),
            (Ok(2), Ok(2))
        );
        assert_eq!(
            (named("TLSv1.2"), named("tlsv1 TLSv1.3 TLSV1.2")),
            (Ok(1), Ok(2))
        );
        assert!(named("TLSv1 TLSv1.1").is_err() && named("SSLv3").is_err());
    }
}
