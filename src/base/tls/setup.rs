//! From files and directives to a configuration of rustls: for those who accept connections, and for those who
//! make them. The texts of errors are Redis' where it has one.
use super::limits;
use super::names;
use super::sessions::Sessions;
use super::verify::{Trust, Verifier};
use super::{key, pem, x509};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// Whether a client shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    No,
    Optional,
    Yes,
}

/// A certificate and its key, by their files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub pass: Option<Zeroizing<Vec<u8>>>,
}

/// Which protocols and ciphers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ciphers {
    pub protocols: Option<Vec<u8>>,
    pub ciphers: Option<Vec<u8>>,
    pub ciphersuites: Option<Vec<u8>>,
}

/// Whom to trust: a file, a directory, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Authorities {
    pub file: Option<PathBuf>,
    pub dir: Option<PathBuf>,
}

/// What a server is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSetup {
    pub identity: Identity,
    pub client_identity: Identity,
    pub authorities: Authorities,
    pub client_auth: ClientAuth,
    /// The server is a client of others, too: it needs to know whom to trust.
    pub connects: bool,
    pub ciphers: Ciphers,
    pub prefer_own_order: bool,
    /// Sessions kept for those who come again, and for how many seconds; `None`: none.
    pub sessions: Option<(usize, u32)>,
}

/// What everybody may know of a certificate in use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub serial: String,
    /// Unix seconds.
    pub not_after: i64,
}

/// A configuration, and what INFO shows of it.
#[derive(Debug, Clone)]
pub struct Server {
    pub config: Arc<ServerConfig>,
    /// Clients are asked for their certificates.
    pub asks: bool,
    /// What this server connects to others with (a primary, a node, whom MIGRATE names), if it is to.
    pub outgoing: Option<Arc<ClientConfig>>,
    pub cert: Facts,
    /// The certificate that the server shows as a client.
    pub client_cert: Option<Facts>,
    /// Of those trusted, the one that expires first.
    pub authority: Option<Facts>,
}

fn provider(ciphers: &Ciphers) -> Result<CryptoProvider, String> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = names::suites(
        &provider,
        ciphers.ciphers.as_deref(),
        ciphers.ciphersuites.as_deref(),
    )?
    .into_iter()
    .map(limits::lasting)
    .collect();
    Ok(provider)
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    fs::read(path)
        .map(Zeroizing::new)
        .map_err(|error| crate::base::sys::strerror(&error))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = pem::sections(&read_file(path)?)?
        .into_iter()
        .filter(|section| {
            matches!(
                &*section.label,
                "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"
            )
        })
        .map(|section| CertificateDer::from(section.der))
        .collect();
    if found.is_empty() {
        return Err("there is no certificate in it".into());
    }
    if x509::read(&found[0]).is_none() {
        return Err("it is not a certificate".into());
    }
    Ok(found)
}

fn facts(der: &[u8]) -> Option<Facts> {
    x509::read(der).map(|certificate| Facts {
        serial: certificate.serial_text(),
        not_after: certificate.not_after,
    })
}

/// Reads a certificate's chain and its key, which must belong together.
pub(super) fn certified(
    identity: &Identity,
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain = certificates(cert)
        .map_err(|why| format!("Failed to load certificate: {}: {why}", cert.display()))?;
    let failed = |why: &dyn std::fmt::Display| {
        format!("Failed to load private key: {}: {why}", key.display())
    };
    let text = read_file(key).map_err(|why| failed(&why))?;
    let sections = pem::sections(&text).map_err(|why| failed(&why))?;
    let pass = identity.pass.as_ref().map(|pass| pass.as_slice());
    let private = key::first(sections, pass).map_err(|why| failed(&why))?;
    let private = provider
        .key_provider
        .load_private_key(private)
        .map_err(|why| failed(&why))?;
    // rustls would read the certificate by webpki, which knows no version 1.
    let ours = private.public_key().map(|key| key.to_vec());
    let theirs = x509::read(&chain[0]).map(|certificate| certificate.key.to_vec());
    if ours.is_some() && ours != theirs {
        return Err(failed(&"it is not the certificate's"));
    }
    Ok(CertifiedKey::new(chain, private))
}

/// Reads the trusted certificates of a file and of a directory's files.
fn trust(authorities: &Authorities) -> Result<Trust, String> {
    let mut trust = Trust::default();
    let failed = |path: &Path, why: &str| {
        format!(
            "Failed to configure CA certificate(s) file/directory: {}: {why}",
            path.display()
        )
    };
    if let Some(path) = &authorities.file {
        for der in certificates(path).map_err(|why| failed(path, &why))? {
            trust.add(der.to_vec()).map_err(|why| failed(path, &why))?;
        }
    }
    if let Some(dir) = &authorities.dir {
        let entries =
            fs::read_dir(dir).map_err(|error| failed(dir, &crate::base::sys::strerror(&error)))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.is_file()) {
            // Keys, lists of revoked ones and readmes lie there, too.
            for der in certificates(path).unwrap_or_default() {
                if trust.ders().any(|known| known == der.as_ref()) {
                    continue; // the same one under the name of its hash
                }
                if let Err(why) = trust.add(der.to_vec()) {
                    log::warn!("{}", failed(path, &why));
                }
            }
        }
    }
    Ok(trust)
}

/// Everything a server needs to accept connections.
pub fn server(setup: &ServerSetup) -> Result<Server, String> {
    let identity = &setup.identity;
    let cert = identity
        .cert
        .as_deref()
        .ok_or("No tls-cert-file configured!")?;
    let key = identity
        .key
        .as_deref()
        .ok_or("No tls-key-file configured!")?;
    let asks = setup.client_auth != ClientAuth::No;
    let unknown = setup.authorities == Authorities::default();
    if (asks || setup.connects) && unknown {
        return Err(
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, \
             tls-replication or tls-auth-clients are enabled!"
                .into(),
        );
    }
    let versions = names::protocols(setup.ciphers.protocols.as_deref())?;
    let provider = Arc::new(provider(&setup.ciphers)?);
    let certified_key = certified(identity, cert, key, &provider)?;
    let cert_facts = facts(&certified_key.cert[0]).unwrap_or_default();
    let client_cert = client_facts(&setup.client_identity, &provider)?;
    let trust = trust(&setup.authorities)?;
    if (asks || setup.connects) && trust.is_empty() {
        return Err(
            "Failed to configure CA certificate(s) file/directory: there is no certificate in it"
                .into(),
        );
    }
    let authority = trust
        .ders()
        .filter_map(facts)
        .min_by_key(|facts| facts.not_after);
    let verifier = Verifier {
        trust: asks.then_some(trust),
        algorithms: provider.signature_verification_algorithms,
        mandatory: setup.client_auth == ClientAuth::Yes,
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| format!("Failed to configure protocols and ciphers: {error}"))?;
    let mut config = builder
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key)));
    config.ignore_client_order = setup.prefer_own_order;
    match setup.sessions {
        Some((most, seconds)) => {
            config.session_storage = Arc::new(Sessions::new(most, seconds));
            // One is enough for whoever comes again; each is kept here.
            config.send_tls13_tickets = 1;
        }
        None => {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
    }
    let outgoing = match setup.connects {
        true => Some(client(&as_client(setup))?),
        false => None,
    };
    Ok(Server {
        config: Arc::new(config),
        asks,
        outgoing,
        cert: cert_facts,
        client_cert,
        authority,
    })
}

/// A server as a client of others: without a certificate for that, it shows its own.
fn as_client(setup: &ServerSetup) -> ClientSetup {
    let own = &setup.client_identity;
    let identity = if own.cert.is_some() {
        own
    } else {
        &setup.identity
    };
    ClientSetup {
        identity: identity.clone(),
        authorities: setup.authorities.clone(),
        insecure: false,
        ciphers: setup.ciphers.clone(),
    }
}

/// The certificate to show as a client must be good as well, before it is needed.
fn client_facts(identity: &Identity, provider: &CryptoProvider) -> Result<Option<Facts>, String> {
    match (&identity.cert, &identity.key) {
        (Some(cert), Some(key)) => {
            let certified_key = certified(identity, cert, key, provider)?;
            Ok(facts(&certified_key.cert[0]))
        }
        (Some(_), None) => Err("No tls-client-key-file configured!".into()),
        _ => Ok(None),
    }
}

/// What a client is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientSetup {
    pub identity: Identity,
    pub authorities: Authorities,
    /// Whoever answers is taken for the server.
    pub insecure: bool,
    pub ciphers: Ciphers,
}

/// Where systems keep the authorities that they trust.
const SYSTEM_FILES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Everything a client needs to connect.
pub fn client(setup: &ClientSetup) -> Result<Arc<ClientConfig>, String> {
    let versions = names::protocols(setup.ciphers.protocols.as_deref())?;
    let provider = Arc::new(provider(&setup.ciphers)?);
    let mut authorities = setup.authorities.clone();
    if authorities == Authorities::default() && !setup.insecure {
        let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
        let known = || {
            SYSTEM_FILES
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
        };
        authorities.file = named.or_else(known);
        authorities.dir = std::env::var_os("SSL_CERT_DIR").map(PathBuf::from);
    }
    let trust = match setup.insecure {
        true => None,
        false => Some(trust(&authorities)?),
    };
    let verifier = Verifier {
        trust,
        algorithms: provider.signature_verification_algorithms,
        mandatory: false,
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| format!("Failed to configure protocols and ciphers: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let identity = &setup.identity;
    let config = match (&identity.cert, &identity.key) {
        (Some(cert), Some(key)) => {
            let certified_key = certified(identity, cert, key, &provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key)))
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("a certificate needs its key, and a key its certificate".into()),
    };
    Ok(Arc::new(config))
}
