//! The steps of a handshake, as the socket lets them happen: no thread waits for one, and whoever stops halfway
//! is closed when its time is up.
//!
//! What a client may do is decided where its certificate is known: protected mode, and the user it stands for.
use super::stream::TlsStream;
use crate::base::tls::session::Session;
use crate::base::tls::x509;
use crate::commands::client_list::describe;
use crate::exec::login::may_enter;
use crate::exec::registry::Registry;
use crate::server::conn::{Conn, Stream};
use crate::server::turn::{PROTECTED, protected_from};
use crate::state::State;
use crate::state::acl_log::{Context, Reason, Refusal};
use crate::state::client::{Client, ClientId, Peer, client_flag};
use crate::state::config::TlsAuthClientsUser;
use std::io;

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The peer's turn, or the socket's.
    Waiting,
    /// A client like any other from here on.
    Done,
    /// To be closed.
    Failed,
}

/// Puts a session on an accepted socket; nothing where there is no TLS any more.
pub fn begin(state: &State, stream: Stream) -> Option<Stream> {
    let (Stream::Tcp(socket), Some(active)) = (stream, &state.tls.active) else {
        return None;
    };
    let session = match Session::new(active.config.clone(), active.asks) {
        Ok(session) => session,
        Err(error) => {
            log::warn!("Beginning a TLS session: {error}");
            return None;
        }
    };
    let limit_ms = u64::from(state.config.tls_handshake_timeout) * 1000;
    let deadline_ms = match limit_ms {
        0 => u64::MAX,
        ms => state.clock.mono_us / 1000 + ms,
    };
    let tls = TlsStream::new(socket, session, deadline_ms);
    Some(Stream::Tls(Box::new(tls)))
}

/// Goes as far as what has come in allows.
pub fn step(state: &mut State, table: &Registry, conn: &mut Conn) -> Progress {
    let Stream::Tls(tls) = &mut conn.stream else {
        return Progress::Done;
    };
    let outcome = tls.shake();
    // With the peer's end seen it is read on to the end: no further event would tell of it.
    conn.readable = tls.may_have_more() || conn.read_closed;
    // What the socket does not take goes out when it is writable again.
    conn.blocked_write |= !tls.settled();
    let (held, over) = (tls.held_bytes(), matches!(outcome, Ok(true)));
    note_held(state, conn.id, held, over);
    match outcome {
        Ok(true) => welcome(state, table, conn),
        Ok(false) => Progress::Waiting,
        Err(error) => {
            failed(state, conn, &error);
            Progress::Failed
        }
    }
}

/// Bytes that all unfinished handshakes hold together, at the most.
const HELD_MAX: usize = 16 << 20;
/// Where they held more, the oldest go until they hold no more than this: each look at all of them makes room for
/// many others.
const HELD_AFTER: usize = HELD_MAX / 4 * 3;

/// Takes down what a connection's session holds, and what all do that have not come to the end of their handshakes:
/// nobody knows yet who those are.
fn note_held(state: &mut State, who: ClientId, held: u32, over: bool) {
    let before = std::mem::replace(&mut state.clients.me(who).transport.session_bytes, held);
    let counted = if over { 0 } else { held as usize };
    let others = state.tls.held_by_handshakes.saturating_sub(before as usize);
    state.tls.held_by_handshakes = others + counted;
    state.weigh(who);
    if state.tls.held_by_handshakes > HELD_MAX {
        shed(state);
    }
}

/// Closes the oldest of the unfinished handshakes that hold something.
#[cold]
fn shed(state: &mut State) {
    let holds =
        |client: &&Client| client.has(client_flag::HANDSHAKE) && client.transport.session_bytes > 0;
    let mut all: Vec<ClientId> = state.clients.iter().filter(holds).map(|c| c.id).collect();
    all.sort_unstable_by_key(|id| id.serial);
    let mut closed = 0;
    for id in all {
        if state.tls.held_by_handshakes <= HELD_AFTER {
            break;
        }
        let bytes = std::mem::take(&mut state.clients.me(id).transport.session_bytes);
        let left = state.tls.held_by_handshakes.saturating_sub(bytes as usize);
        state.tls.held_by_handshakes = left;
        state.close_client(id);
        closed += 1;
    }
    state.tls.handshakes_failed += closed;
    log::warn!(
        "Closed {closed} clients in the middle of their TLS handshakes, the oldest ones: together they held more \
         than {} MB",
        HELD_MAX >> 20
    );
}

/// The handshake is over.
fn welcome(state: &mut State, table: &Registry, conn: &mut Conn) -> Progress {
    state.tls.handshakes += 1;
    let client = state.clients.me(conn.id);
    client.flags &= !client_flag::HANDSHAKE;
    let address = match &client.peer {
        Peer::Tcp(ends) => Some(ends.0),
        _ => None,
    };
    if protected_from(state, address) {
        let _ = conn.stream.write(PROTECTED.as_bytes());
        state.stats.connections_refused += 1;
        return Progress::Failed;
    }
    state.stats.connections += 1;
    if state.config.tls_auth_clients_user != TlsAuthClientsUser::Off
        && let Stream::Tls(tls) = &conn.stream
        && let Some(own) = tls.session.peer_certificates().first()
    {
        log_in(state, table, conn.id, own);
    }
    // Requests may have come along with its end.
    conn.readable = true;
    Progress::Done
}

/// A certificate that names a user who may come in stands for a password. One that does not leaves the client what it is.
fn log_in(state: &mut State, table: &Registry, who: ClientId, der: &[u8]) {
    let names: Vec<Vec<u8>> = match (x509::read(der), state.config.tls_auth_clients_user) {
        (Some(own), TlsAuthClientsUser::Cn) => own.common_name().into_iter().collect(),
        (Some(own), TlsAuthClientsUser::Uri) => own.uris().map(<[u8]>::to_vec).collect(),
        _ => Vec::new(),
    };
    for name in &names {
        if let Some(user) = state.users.find(name)
            && may_enter(state, who, user).is_ok()
        {
            state.log_in(who, user);
            return;
        }
    }
    refuse(state, table, who, names.first());
}

/// A certificate names nobody: that is seen in ACL LOG.
fn refuse(state: &mut State, table: &Registry, who: ClientId, name: Option<&Vec<u8>>) {
    let mut line = String::new();
    if let Some(client) = state.clients.get(who) {
        describe(state, table, client, client.group, None, &mut line);
    }
    let name = name.map_or(&b""[..], Vec::as_slice);
    let refusal = Refusal {
        reason: Reason::Certificate,
        context: Context::Toplevel,
        object: name,
        user: name,
        client: line.as_bytes(),
    };
    state.note_refusal(who, refusal);
}

/// Tells of a failed handshake: once a second in the log, whatever comes in from outside.
fn failed(state: &mut State, conn: &Conn, error: &io::Error) {
    state.tls.handshakes_failed += 1;
    let now_s = state.clock.unix_ms / 1000;
    let client: &Client = state.clients.me(conn.id);
    let text = format!(
        "Error accepting a client connection: {error} (addr={} laddr={})",
        client.peer_text(),
        client.local_text()
    );
    if now_s == state.tls.logged_s {
        log::debug!("{text}");
    } else {
        state.tls.logged_s = now_s;
        log::warn!("{text}");
    }
}

/// Has it not come to the end of its handshake in time?
pub fn overdue(conn: &Conn, now_ms: u64) -> bool {
    matches!(&conn.stream, Stream::Tls(tls)
        if tls.session.is_handshaking() && tls.deadline_ms <= now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::state::config::Config;

    #[test]
    fn unfinished_handshakes_hold_so_much_together_and_the_oldest_go() {
        let mut state = State::new(
            Config::default(),
            Rng::from_seed(1),
            Clock::manual(1),
            8,
            1.0,
        );
        state.apply_config();
        let each = 20 * 1024_u32;
        let mut all = Vec::new();
        for _ in 0..900 {
            let id = state.open_session(Peer::None);
            state.clients.me(id).flags |= client_flag::TLS | client_flag::HANDSHAKE;
            note_held(&mut state, id, each / 2, false);
            note_held(&mut state, id, each, false);
            assert!(state.tls.held_by_handshakes <= HELD_MAX);
            all.push(id);
        }
        let closed = |state: &mut State, id| state.clients.me(id).has(client_flag::CLOSE_NOW);
        let gone = all.iter().filter(|id| closed(&mut state, **id)).count();
        assert_eq!(gone as u64, state.tls.handshakes_failed);
        assert!((1..450).contains(&gone), "{gone}");
        assert!(all[..gone].iter().all(|id| closed(&mut state, *id)));
        // Who comes to the end, or leaves, is none of them any more, and is counted as a client.
        let (last, other) = (all[899], all[898]);
        note_held(&mut state, last, 100, true);
        state.clients.me(last).flags &= !client_flag::HANDSHAKE;
        assert_eq!(state.clients.me(last).transport.buffers(), 100);
        for id in all.iter().filter(|id| **id != other) {
            state.end_session(*id);
        }
        assert_eq!(state.tls.held_by_handshakes, each as usize);
        state.end_session(other);
        assert_eq!(state.tls.held_by_handshakes, 0);
    }
}
