//! TLS by rustls, as far as it knows no server: certificates and keys from files, whom to trust, what ciphers
//! are called, and a connection's session between bytes and bytes.
pub mod der;
pub mod key;
pub mod names;
pub mod pem;
pub mod session;
pub mod sessions;
pub mod setup;
pub mod verify;
pub mod x509;

#[cfg(test)]
pub(crate) mod testing {
    /// A certificate with a common name and a URI: made by `scripts/certificates.sh`, for `alice`.
    pub(crate) fn leaf() -> Vec<u8> {
        let text = include_bytes!("../../../tests/assets/tls/alice.crt");
        let mut found = super::pem::sections(text).expect("PEM");
        found.remove(0).der
    }
}
