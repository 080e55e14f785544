//! TLS by rustls, as far as it knows no server: certificates and keys from files, whom to trust, what ciphers
//! are called, and a connection's session between bytes and bytes.
pub mod der;
pub mod key;
pub mod limits;
pub mod names;
pub mod pem;
pub mod session;
pub mod sessions;
pub mod setup;
pub mod verify;
pub mod x509;

#[cfg(test)]
pub(crate) mod testing {
    //! Certificates for tests of this folder: made by `DAYS=36500 scripts/certificates.sh DIR alice`.
    use super::setup::{Authorities, Ciphers, ClientAuth, ClientSetup, Identity, ServerSetup};
    use super::verify::Verifier;
    use super::{pem, setup};
    use rustls::sign::SingleCertAndKey;
    use rustls::{ClientConfig, ServerConfig};
    use std::path::PathBuf;
    use std::sync::Arc;

    fn asset(name: &str) -> PathBuf {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/assets/tls");
        PathBuf::from(folder).join(name)
    }

    /// A certificate with a common name and a URI.
    pub(crate) fn leaf() -> Vec<u8> {
        der("alice.crt")
    }

    /// A certificate by the name of its file.
    pub(crate) fn der(name: &str) -> Vec<u8> {
        let text = std::fs::read(asset(name)).expect("an asset");
        pem::sections(&text).expect("PEM").remove(0).der
    }

    fn alice() -> Identity {
        Identity {
            cert: Some(asset("alice.crt")),
            key: Some(asset("alice.key")),
            pass: None,
        }
    }

    fn authorities() -> Authorities {
        Authorities {
            file: Some(asset("ca.crt")),
            dir: None,
        }
    }

    /// A server that asks for certificates and takes clients without one.
    pub(crate) fn server(protocol: &str) -> Arc<ServerConfig> {
        let setup = ServerSetup {
            identity: alice(),
            client_identity: Identity::default(),
            authorities: authorities(),
            client_auth: ClientAuth::Optional,
            connects: false,
            ciphers: Ciphers {
                protocols: Some(protocol.into()),
                ..Ciphers::default()
            },
            prefer_own_order: false,
            sessions: Some((10, 300)),
        };
        setup::server(&setup).expect("sound").config
    }

    /// A server whose keys are good for so many records only.
    pub(crate) fn short_lived(protocol: &str, records: u64) -> Arc<ServerConfig> {
        let provider = Arc::new(super::limits::with_limits(records));
        let versions = super::names::protocols(Some(protocol.as_bytes())).expect("sound");
        let verifier = Verifier {
            trust: None,
            algorithms: provider.signature_verification_algorithms,
            mandatory: false,
        };
        let key = setup::certified(
            &alice(),
            &asset("alice.crt"),
            &asset("alice.key"),
            &provider,
        );
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .expect("sound")
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key.expect("sound"))));
        Arc::new(config)
    }

    /// A client, with a certificate or without.
    pub(crate) fn client(shows: bool) -> Arc<ClientConfig> {
        let setup = ClientSetup {
            identity: if shows { alice() } else { Identity::default() },
            authorities: authorities(),
            ..ClientSetup::default()
        };
        setup::client(&setup).expect("sound")
    }
}
