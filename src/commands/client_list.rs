//! The lines of CLIENT LIST, and the filters that LIST and KILL share.
use super::client_tracking;
use crate::base::num::parse_i64;
use crate::exec::error::{CmdError, SYNTAX};
use crate::exec::registry::Registry;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::client::{Client, client_flag as flag};
use crate::state::pubsub::Topic;
use std::fmt::Write as _;

/// Output up to this size is shown as lying in the client's reply buffer, more as a list.
const REPLY_BUFFER_BYTES: u32 = 16 * 1024;

/// Letters of CLIENT LIST's `flags`, in their order.
fn flag_letters(client: &Client) -> String {
    let transaction = client.multi.is_some();
    let letters = [
        (client.has(flag::REPLICA), 'S'),
        (client.has(flag::MONITOR), 'O'),
        (client.has(flag::PRIMARY), 'M'),
        (client.has(flag::PUBSUB), 'P'),
        (transaction, 'x'),
        (client.flags & (flag::BLOCKED | flag::POSTPONED) != 0, 'b'),
        (client.has(flag::TRACKING), 't'),
        (client.tracking.as_ref().is_some_and(|m| m.broken), 'R'),
        (client.tracking.as_ref().is_some_and(|m| m.broadcast), 'B'),
        (client.has(flag::DIRTY_CAS), 'd'),
        (client.has(flag::CLOSE_AFTER_REPLY), 'c'),
        (client.has(flag::RESUME), 'u'),
        (client.has(flag::CLOSE_NOW), 'A'),
        (client.has(flag::UNIX), 'U'),
        (client.has(flag::READONLY), 'r'),
        (client.has(flag::NO_EVICT), 'e'),
        (client.has(flag::NO_TOUCH), 'T'),
    ];
    let shown: String = letters.iter().filter(|l| l.0).map(|l| l.1).collect();
    if shown.is_empty() {
        "N".to_string()
    } else {
        shown
    }
}

/// Bytes of a request as clients send it: the running request of the client that asks for its own
/// line.
fn request_bytes(argv: Argv<'_>) -> usize {
    let header = |n: usize| 3 + n.max(1).ilog10() as usize + 1;
    let args = argv.iter().map(|arg| header(arg.len()) + arg.len() + 2);
    header(argv.len()) + args.sum::<usize>()
}

/// Writes a client's line, without its end. `running` is the request the client runs just now.
pub fn describe(
    state: &State,
    table: &Registry,
    client: &Client,
    running: Option<Argv<'_>>,
    line: &mut String,
) {
    let now_ms = state.clock.unix_ms;
    let seconds_since = |ms: i64| (now_ms - ms).max(0) / 1000;
    let subscriptions = |topic| client.subscriptions.as_ref().map_or(0, |s| s.len(topic));
    let (subs, psubs, ssubs) = (
        subscriptions(Topic::Channel),
        subscriptions(Topic::Pattern),
        subscriptions(Topic::ShardChannel),
    );
    let transport = &client.transport;
    let (queued, multi_bytes) = client
        .multi
        .as_ref()
        .map_or((-1, 0), |m| (m.queue.len() as i64, m.bytes));
    let waiting = client.parked.as_ref().map(|p| p.argv.argv());
    let argv_bytes: usize = running
        .or(waiting)
        .map_or(transport.argument_bytes as usize, |argv| {
            argv.iter().map(<[u8]>::len).sum()
        });
    let query = transport.query_bytes as usize + running.map_or(0, request_bytes);
    let listed = transport.out_bytes > REPLY_BUFFER_BYTES;
    let in_buffer = if listed { 0 } else { transport.out_bytes };
    let (pieces, list_bytes) = if listed {
        (transport.out_pieces, transport.out_held)
    } else {
        (0, 0)
    };
    let own_bytes = running.map_or(0, |argv| argv.iter().map(<[u8]>::len).sum());
    let total = client.weight() + own_bytes;
    let command = if client.commands == 0 {
        "NULL"
    } else {
        table.name(client.last_command)
    };
    // A String takes everything.
    let _ = write!(
        line,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={subs} \
         psub={psubs} ssub={ssubs} multi={queued} qbuf={query} qbuf-free={} argv-mem={argv_bytes} \
         multi-mem={multi_bytes} rbs={} rbp={} obl={in_buffer} oll={pieces} omem={list_bytes} \
         tot-mem={total} events={} cmd={command} user={} redir={} resp={} lib-name={} lib-ver={}",
        client.id.serial,
        client.peer_text(),
        client.local_text(),
        transport.fd,
        client.name_text(),
        seconds_since(client.created_ms),
        seconds_since(client.seen_ms),
        flag_letters(client),
        client.db,
        transport.query_free,
        transport.out_held,
        transport.out_bytes,
        if transport.writing { "rw" } else { "r" },
        client.user_name(),
        client_tracking::redirection(client),
        if client.resp3 { 3 } else { 2 },
        String::from_utf8_lossy(client.lib_name()),
        String::from_utf8_lossy(client.lib_ver()),
    );
}

/// What a client is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Normal,
    Primary,
    Replica,
    Pubsub,
}

impl Class {
    /// Of a client.
    pub fn of(client: &Client) -> Class {
        if client.has(flag::PRIMARY) {
            Class::Primary
        } else if client.has(flag::REPLICA) {
            Class::Replica
        } else if client.has(flag::PUBSUB) {
            Class::Pubsub
        } else {
            Class::Normal
        }
    }

    /// By its name, in any case.
    pub fn parse(name: &[u8]) -> Result<Class, CmdError> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Class::Normal),
            b"master" | b"primary" => Ok(Class::Primary),
            b"slave" | b"replica" => Ok(Class::Replica),
            b"pubsub" => Ok(Class::Pubsub),
            _ => Err(CmdError::showing("ERR Unknown client type '", name, "'")),
        }
    }
}

/// Which clients are meant; what was not said holds for all.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    pub ids: Option<Vec<u64>>,
    class: Option<Class>,
    user: Option<&'a [u8]>,
    addr: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    /// Seconds since the connection was opened, at least.
    age_min_s: Option<i64>,
    pub skip_me: Option<bool>,
}

const ID_NOT_POSITIVE: CmdError = CmdError::new("ERR client-id should be greater than 0");
const INVALID_ID: CmdError = CmdError::new("ERR Invalid client ID");
const AGE_NOT_INTEGER: CmdError = CmdError::new("ERR maxage is not an integer or out of range");
const AGE_NOT_POSITIVE: CmdError = CmdError::new("ERR maxage should be greater than 0");

impl<'a> Filter<'a> {
    /// Reads the filters of CLIENT KILL: names and values in turn.
    pub fn parse_kill(argv: Argv<'a>) -> Result<Filter<'a>, CmdError> {
        let mut filter = Filter::default();
        for i in (0..argv.len()).step_by(2) {
            // What stands before a name without a value is judged first.
            if i + 1 == argv.len() {
                return Err(SYNTAX);
            }
            let (name, value) = (argv.get(i), argv.get(i + 1));
            if name.eq_ignore_ascii_case(b"id") {
                let id = parse_i64(value)
                    .filter(|id| *id > 0)
                    .ok_or(ID_NOT_POSITIVE)?;
                filter.ids.get_or_insert_default().push(id as u64);
            } else {
                filter.option(name, value)?;
            }
        }
        Ok(filter)
    }

    /// Reads the filters of CLIENT LIST: ID takes several values.
    pub fn parse_list(argv: Argv<'a>) -> Result<Filter<'a>, CmdError> {
        let mut filter = Filter::default();
        let mut i = 0;
        while i < argv.len() {
            let name = argv.get(i);
            if i + 1 == argv.len() {
                return Err(SYNTAX);
            }
            if !name.eq_ignore_ascii_case(b"id") {
                filter.option(name, argv.get(i + 1))?;
                i += 2;
                continue;
            }
            i += 1;
            let ids = filter.ids.get_or_insert_default();
            let first = i;
            while i < argv.len() {
                match parse_i64(argv.get(i)) {
                    Some(id) => ids.push(u64::try_from(id).unwrap_or(0)),
                    None if i > first && is_option(argv.get(i)) => break,
                    None => return Err(INVALID_ID),
                }
                i += 1;
            }
        }
        Ok(filter)
    }

    /// Takes one option with its value.
    fn option(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), CmdError> {
        match name.to_ascii_lowercase().as_slice() {
            b"type" => self.class = Some(Class::parse(value)?),
            b"addr" => self.addr = Some(value),
            b"laddr" => self.local = Some(value),
            b"user" if value == b"default" => self.user = Some(value),
            b"user" => {
                return Err(CmdError::showing("ERR No such user '", value, "'"));
            }
            b"maxage" => {
                let age = parse_i64(value).ok_or(AGE_NOT_INTEGER)?;
                if age <= 0 {
                    return Err(AGE_NOT_POSITIVE);
                }
                self.age_min_s = Some(age);
            }
            b"skipme" if value.eq_ignore_ascii_case(b"yes") => self.skip_me = Some(true),
            b"skipme" if value.eq_ignore_ascii_case(b"no") => self.skip_me = Some(false),
            _ => return Err(SYNTAX),
        }
        Ok(())
    }

    /// Is this client meant? SKIPME is the caller's, who knows who asks.
    pub fn matches(&self, client: &Client, now_ms: i64) -> bool {
        let age_s = (now_ms - client.created_ms) / 1000;
        self.ids
            .as_ref()
            .is_none_or(|ids| ids.contains(&client.id.serial))
            && self.class.is_none_or(|class| class == Class::of(client))
            && self
                .user
                .is_none_or(|user| user == client.user_name().as_bytes())
            && self
                .addr
                .is_none_or(|addr| addr == client.peer_text().as_bytes())
            && self
                .local
                .is_none_or(|addr| addr == client.local_text().as_bytes())
            && self.age_min_s.is_none_or(|min| age_s >= min)
    }
}

/// Does this word begin a filter? Where IDs end in CLIENT LIST.
fn is_option(word: &[u8]) -> bool {
    ["id", "type", "user", "addr", "laddr", "skipme", "maxage"]
        .iter()
        .any(|known| known.as_bytes().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::OwnedArgv;

    fn words(text: &str) -> OwnedArgv {
        text.split_whitespace().map(str::as_bytes).collect()
    }

    #[test]
    fn request_size_is_that_of_the_wire() {
        assert_eq!(request_bytes(words("client list").argv()), 26);
        let long = "x".repeat(100);
        let argv = words(&format!("get {long}"));
        assert_eq!(
            request_bytes(argv.argv()),
            "*2\r\n$3\r\nget\r\n$100\r\n".len() + 102
        );
    }

    #[test]
    fn list_takes_several_ids_and_other_filters() {
        let argv = words("ID 1 2 3 TYPE normal");
        let filter = Filter::parse_list(argv.argv()).expect("well-formed");
        assert_eq!(filter.ids, Some(vec![1, 2, 3]));
        assert_eq!(filter.class, Some(Class::Normal));
        for (text, error) in [
            ("ID a", INVALID_ID),
            ("ID 1 b", INVALID_ID),
            ("ID", SYNTAX),
            ("TYPE", SYNTAX),
            ("FOO bar", SYNTAX),
        ] {
            let argv = words(text);
            let found = Filter::parse_list(argv.argv()).err();
            assert_eq!(found, Some(error), "{text}");
        }
    }

    #[test]
    fn kill_refuses_what_cannot_be_meant() {
        for (text, error) in [
            ("ID 0", ID_NOT_POSITIVE),
            ("ID x", ID_NOT_POSITIVE),
            ("ID 1 SKIPME", SYNTAX),
            ("SKIPME maybe", SYNTAX),
            ("MAXAGE x", AGE_NOT_INTEGER),
            ("MAXAGE 0", AGE_NOT_POSITIVE),
        ] {
            let argv = words(text);
            let found = Filter::parse_kill(argv.argv()).err();
            assert_eq!(found, Some(error), "{text}");
        }
    }
}
