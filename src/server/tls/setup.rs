//! From the directives to what connections are accepted with: at the start, by CONFIG SET, and again when the
//! files have changed.
//!
//! A change that does not work leaves what is in force as it is. Connections that are there keep what they were
//! accepted with.
use crate::base::tls::session::Session;
use crate::base::tls::setup::{
    Authorities, Ciphers, ClientAuth, ClientSetup, Identity, Server, ServerSetup, client, server,
};
use crate::persist::aof::files::Logged;
use crate::state::State;
use crate::state::config::{Changed, Config, Key, Secret, TlsAuthClients};
use rustls::ClientConnection;
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use std::cell::Cell;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The directives that say what connections are accepted with.
const DIRECTIVES: &[Key] = &[
    Key::tls_cert_file,
    Key::tls_key_file,
    Key::tls_key_file_pass,
    Key::tls_client_cert_file,
    Key::tls_client_key_file,
    Key::tls_client_key_file_pass,
    Key::tls_dh_params_file,
    Key::tls_ca_cert_file,
    Key::tls_ca_cert_dir,
    Key::tls_auth_clients,
    Key::tls_replication,
    Key::tls_cluster,
    Key::tls_protocols,
    Key::tls_ciphers,
    Key::tls_ciphersuites,
    Key::tls_prefer_server_ciphers,
    Key::tls_session_caching,
    Key::tls_session_cache_size,
    Key::tls_session_cache_timeout,
    Key::tls_port,
];

/// What Redis answers where such a change does not work; why is in the log, since it may name files.
const REFUSAL: &str = "Unable to update TLS configuration. Check server logs.";

/// Does any directive ask for TLS?
pub fn wanted(config: &Config) -> bool {
    config.tls_port != 0 || config.tls_replication || config.tls_cluster
}

/// The directives in the words of `base::tls`.
pub fn of(config: &Config) -> ServerSetup {
    let path = |value: &Option<Vec<u8>>| {
        let named = value.as_ref().filter(|bytes| !bytes.is_empty());
        named.map(|bytes| PathBuf::from(OsStr::from_bytes(bytes)))
    };
    let text = |value: &Option<Vec<u8>>| value.clone().filter(|bytes| !bytes.is_empty());
    let pass = |value: &Option<Secret>| value.as_ref().map(|pass| Zeroizing::new(pass.to_vec()));
    ServerSetup {
        identity: Identity {
            cert: path(&config.tls_cert_file),
            key: path(&config.tls_key_file),
            pass: pass(&config.tls_key_file_pass),
        },
        client_identity: Identity {
            cert: path(&config.tls_client_cert_file),
            key: path(&config.tls_client_key_file),
            pass: pass(&config.tls_client_key_file_pass),
        },
        authorities: Authorities {
            file: path(&config.tls_ca_cert_file),
            dir: path(&config.tls_ca_cert_dir),
        },
        client_auth: match config.tls_auth_clients {
            TlsAuthClients::No => ClientAuth::No,
            TlsAuthClients::Yes => ClientAuth::Yes,
            TlsAuthClients::Optional => ClientAuth::Optional,
        },
        connects: config.tls_replication || config.tls_cluster,
        ciphers: Ciphers {
            protocols: text(&config.tls_protocols),
            ciphers: text(&config.tls_ciphers),
            ciphersuites: text(&config.tls_ciphersuites),
        },
        prefer_own_order: config.tls_prefer_server_ciphers,
        sessions: config.tls_session_caching.then_some((
            config.tls_session_cache_size as usize,
            config.tls_session_cache_timeout,
        )),
    }
}

/// At the start: what the directives ask for, or nothing. Why it does not work is in the log.
pub fn at_start(config: &Config) -> Result<Option<Server>, Logged> {
    if !wanted(config) {
        return Ok(None);
    }
    match server(&of(config)) {
        Ok(built) => {
            warm_up(&built);
            Ok(Some(built))
        }
        Err(why) => {
            log::warn!("{why}");
            Err(Logged)
        }
    }
}

/// A handshake with ourselves. What cryptography does once for each thread (it gathers randomness for 30
/// milliseconds) is done before anybody waits for it; so this is for the loop's thread.
fn warm_up(built: &Server) {
    thread_local! {
        static IS_WARM: Cell<bool> = const { Cell::new(false) };
    }
    if IS_WARM.replace(true) {
        return;
    }
    let whoever = ClientSetup {
        insecure: true,
        ..ClientSetup::default()
    };
    let ends = client(&whoever).ok().and_then(|config| {
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([127, 0, 0, 1])));
        let client = ClientConnection::new(config, name).ok()?;
        Some((client, Session::new(built.config.clone(), built.asks).ok()?))
    });
    let Some((mut client, mut session)) = ends else {
        return;
    };
    // Two rounds are enough for either version. Where a certificate is asked for it ends with an alert, when all is
    // done that takes long.
    for _ in 0..2 {
        let mut wire = session.partial().to_vec();
        while client.wants_write() && client.write_tls(&mut wire).is_ok() {}
        let _ = session.receive(&mut wire, &mut []);
        let mut answer = session.unsent();
        while !answer.is_empty()
            && client.read_tls(&mut answer).is_ok()
            && client.process_new_packets().is_ok()
        {}
        session.sent(session.unsent().len());
    }
}

/// A CONFIG SET is to hold: what it asks for is in force from here on. `undoing`: it was refused after all.
pub fn change(
    state: &mut State,
    new: &Config,
    changed: &Changed,
    undoing: bool,
) -> Result<(), (Key, String)> {
    let Some(key) = DIRECTIVES.iter().find(|key| changed.has(**key)) else {
        return Ok(());
    };
    if undoing {
        state.tls.active = state.tls.before.take();
        return Ok(());
    }
    // Until the change is sure to hold: the loop lets go of it then.
    state.tls.before = state.tls.active.clone();
    match at_start(new) {
        Ok(built) => {
            state.tls.active = built;
            Ok(())
        }
        Err(Logged) => Err((*key, REFUSAL.to_owned())),
    }
}
