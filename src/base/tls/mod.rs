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
    use super::{pem, setup};
    use rustls::{ClientConfig, ServerConfig};
    use std::path::PathBuf;
    use std::sync::Arc;

    fn asset(name: &str) -> PathBuf {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/assets/tls");
        PathBuf::from(folder).join(name)
    }

    /// A certificate with a common name and a URI.
    pub(crate) fn leaf() -> Vec<u8> {
        let text = std::fs::read(asset("alice.crt")).expect("an asset");
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
