//! From the directives to what connections are accepted with: at the start, by CONFIG SET, and again when the
//! files have changed.
//!
//! A change that does not work leaves what is in force as it is. Connections that are there keep what they were
//! accepted with.
use crate::base::tls::setup::{
    Authorities, Ciphers, ClientAuth, Identity, Server, ServerSetup, server,
};
use crate::persist::aof::files::Logged;
use crate::state::State;
use crate::state::config::{Changed, Config, Key, Secret, TlsAuthClients};
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
        Ok(built) => Ok(Some(built)),
        Err(why) => {
            log::warn!("{why}");
            Err(Logged)
        }
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
    state.tls.before = state.tls.active.clone();
    match at_start(new) {
        Ok(built) => {
            state.tls.active = built;
            Ok(())
        }
        Err(Logged) => Err((*key, REFUSAL.to_owned())),
    }
}
