//! The lines of CLIENT LIST, and the filters that LIST and KILL share.
use super::client_tracking;
use crate::base::num::parse_i64;
use crate::exec::error::{CmdError, SYNTAX};
use crate::exec::registry::Registry;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::client::{Client, Peer, client_flag as flag};
use crate::state::groups::GroupId;
use crate::state::pubsub::Topic;
use crate::state::users::{UserId, Users};
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

/// Writes a client's line, without its end. `running` is the request the client runs just now, `viewer` the
/// group of who will read it.
pub fn describe(
    state: &State,
    table: &Registry,
    client: &Client,
    viewer: GroupId,
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
    let user = match client.has(flag::PRIMARY) {
        true => "(superuser)".into(),
        false => String::from_utf8_lossy(state.user_name(client.user)),
    };
    // A String takes everything.
    let _ = write!(
        line,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={subs} \
         psub={psubs} ssub={ssubs} multi={queued} qbuf={query} qbuf-free={} argv-mem={argv_bytes} \
         multi-mem={multi_bytes} rbs={} rbp={} obl={in_buffer} oll={pieces} omem={list_bytes} \
         tot-mem={total} events={} cmd={command} user={} redir={} resp={} lib-name={} lib-ver={} \
         watch={} tot-net-in={} tot-net-out={} tot-cmds={}",
        client.id.serial,
        client.peer_text(),
        client.local_text(),
        // Numbers of descriptors tell how many others there are.
        if viewer.is_default() {
            transport.fd
        } else {
            -1
        },
        client.name_text(),
        seconds_since(client.created_ms),
        seconds_since(client.seen_ms),
        flag_letters(client),
        state.local_db(client.db as usize),
        transport.query_free,
        transport.out_held,
        transport.out_bytes,
        if transport.writing { "rw" } else { "r" },
        user,
        client_tracking::redirection(client),
        if client.resp3 { 3 } else { 2 },
        String::from_utf8_lossy(client.lib_name()),
        String::from_utf8_lossy(client.lib_ver()),
        client.watched.len(),
        client.net_in,
        client.net_out,
        client.commands,
    );
    if state.groups.exist() {
        let _ = write!(line, " group={}", state.groups.name(client.group));
    }
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

/// What a filter looks at.
#[derive(Debug, PartialEq, Eq)]
enum Test<'a> {
    Ids(Vec<u64>),
    Class(Class),
    User(UserId),
    Addr(&'a [u8]),
    Laddr(&'a [u8]),
    Ip(&'a [u8]),
    Name(&'a [u8]),
    LibName(&'a [u8]),
    LibVer(&'a [u8]),
    Db(u32),
    /// Letters of `flags`, all of which are there.
    Flags(&'a [u8]),
    /// Seconds since the connection was opened, at least.
    MaxAge(i64),
    /// Seconds since its last request, at least.
    Idle(i64),
}

impl Test<'_> {
    fn holds(&self, state: &State, client: &Client, now_ms: i64) -> bool {
        let seconds_since = |ms: i64| (now_ms - ms) / 1000;
        match self {
            Test::Ids(ids) => ids.contains(&client.id.serial),
            Test::Class(class) => *class == Class::of(client),
            Test::User(user) => *user == client.user,
            Test::Addr(addr) => *addr == client.peer_text().as_bytes(),
            Test::Laddr(addr) => *addr == client.local_text().as_bytes(),
            Test::Ip(ip) => *ip == ip_of(client).as_bytes(),
            Test::Name(name) => *name == client.name(),
            Test::LibName(name) => *name == client.lib_name(),
            Test::LibVer(version) => *version == client.lib_ver(),
            Test::Db(db) => *db as usize == state.local_db(client.db as usize),
            Test::Flags(wanted) => {
                let shown = flag_letters(client);
                wanted
                    .iter()
                    .all(|letter| shown.as_bytes().contains(letter))
            }
            Test::MaxAge(least) => seconds_since(client.created_ms) >= *least,
            Test::Idle(least) => seconds_since(client.seen_ms) >= *least,
        }
    }
}

/// The other end's address without its port.
fn ip_of(client: &Client) -> String {
    match &client.peer {
        Peer::None => String::new(),
        Peer::Tcp(ends) => ends.0.ip().to_canonical().to_string(),
        Peer::Unix(path) => path.to_string(),
    }
}

/// Which clients are meant: those for which every test has the outcome asked for.
#[derive(Debug, Default)]
pub struct Filter<'a> {
    tests: Vec<(Test<'a>, bool)>,
    pub skip_me: Option<bool>,
}

const ID_NOT_POSITIVE: CmdError = CmdError::new("ERR client-id should be greater than 0");
const INVALID_ID: CmdError = CmdError::new("ERR Invalid client ID");
const AGE_NOT_INTEGER: CmdError = CmdError::new("ERR maxage is not an integer or out of range");
const AGE_NOT_POSITIVE: CmdError = CmdError::new("ERR maxage should be greater than 0");
const IDLE_NOT_INTEGER: CmdError = CmdError::new("ERR idle is not an integer or out of range");
const IDLE_NOT_POSITIVE: CmdError = CmdError::new("ERR idle should be greater than 0");
const DB_NOT_VALID: CmdError = CmdError::new("ERR DB number should be a valid number");

/// The letters that `flags` may show, `N` for none.
const FLAG_LETTERS: &[u8] = b"SOMPxbtRBdcuAUreTN";

/// The users there are, and the group from which they are seen.
type Seen<'a> = (&'a Users, GroupId);

impl<'a> Filter<'a> {
    /// Reads the filters of CLIENT KILL. An ID stands alone, as in Redis, or several stand together.
    pub fn parse_kill(argv: Argv<'a>, seen: Seen<'_>) -> Result<Filter<'a>, CmdError> {
        Self::parse(argv, seen, |word, first| match parse_i64(word) {
            Some(id) if id > 0 => Ok(id as u64),
            None if !first => Err(SYNTAX),
            _ => Err(ID_NOT_POSITIVE),
        })
    }

    /// Reads the filters of CLIENT LIST.
    pub fn parse_list(argv: Argv<'a>, seen: Seen<'_>) -> Result<Filter<'a>, CmdError> {
        Self::parse(argv, seen, |word, _| match parse_i64(word) {
            Some(id) => Ok(u64::try_from(id).unwrap_or(0)),
            None => Err(INVALID_ID),
        })
    }

    fn parse(
        argv: Argv<'a>,
        seen: Seen<'_>,
        id: impl Fn(&[u8], bool) -> Result<u64, CmdError>,
    ) -> Result<Filter<'a>, CmdError> {
        let mut filter = Filter::default();
        let mut i = 0;
        while i < argv.len() {
            let name = argv.get(i).to_ascii_lowercase();
            // What stands before a name without a value is judged first.
            if i + 1 == argv.len() {
                return Err(SYNTAX);
            }
            let (name, holds) = match name.strip_prefix(b"not-") {
                Some(rest) => (rest, false),
                None => (&name[..], true),
            };
            if name != b"id" {
                filter.option(name, argv.get(i + 1), holds, seen)?;
                i += 2;
                continue;
            }
            i += 1;
            let mut ids = Vec::new();
            while i < argv.len() && (ids.is_empty() || !is_option(argv.get(i))) {
                ids.push(id(argv.get(i), ids.is_empty())?);
                i += 1;
            }
            filter.ids(ids, holds);
        }
        Ok(filter)
    }

    /// IDs that are given in several places are one list.
    fn ids(&mut self, ids: Vec<u64>, holds: bool) {
        let earlier = self.tests.iter_mut().find_map(|test| match test {
            (Test::Ids(earlier), same) if *same == holds => Some(earlier),
            _ => None,
        });
        match earlier {
            Some(earlier) => earlier.extend(ids),
            None => self.tests.push((Test::Ids(ids), holds)),
        }
    }

    /// Takes one option with its value; the last one of its kind counts.
    fn option(
        &mut self,
        name: &[u8],
        value: &'a [u8],
        holds: bool,
        (users, viewer): Seen<'_>,
    ) -> Result<(), CmdError> {
        let positive = |no_integer, not_positive| {
            let n = parse_i64(value).ok_or(no_integer)?;
            if n > 0 { Ok(n) } else { Err(not_positive) }
        };
        let test = match name {
            b"type" => Test::Class(Class::parse(value)?),
            b"addr" => Test::Addr(value),
            b"laddr" => Test::Laddr(value),
            b"ip" => Test::Ip(value),
            b"name" => Test::Name(value),
            b"lib-name" => Test::LibName(value),
            b"lib-ver" => Test::LibVer(value),
            b"user" => match users.find_for(viewer, value) {
                Some(user) => Test::User(user),
                None => return Err(CmdError::showing("ERR No such user '", value, "'")),
            },
            b"db" => {
                let db = parse_i64(value).and_then(|db| u32::try_from(db).ok());
                Test::Db(db.ok_or(DB_NOT_VALID)?)
            }
            b"flags" => {
                if value.iter().any(|letter| !FLAG_LETTERS.contains(letter)) {
                    let text = "ERR Unknown flags found in the provided filter: ";
                    return Err(CmdError::showing(text, value, ""));
                }
                Test::Flags(value)
            }
            b"maxage" if holds => Test::MaxAge(positive(AGE_NOT_INTEGER, AGE_NOT_POSITIVE)?),
            b"idle" if holds => Test::Idle(positive(IDLE_NOT_INTEGER, IDLE_NOT_POSITIVE)?),
            b"skipme" if holds => {
                let yes = value.eq_ignore_ascii_case(b"yes");
                if !yes && !value.eq_ignore_ascii_case(b"no") {
                    return Err(SYNTAX);
                }
                self.skip_me = Some(yes);
                return Ok(());
            }
            _ => return Err(SYNTAX),
        };
        let kind = std::mem::discriminant(&test);
        self.tests
            .retain(|(known, same)| std::mem::discriminant(known) != kind || *same != holds);
        self.tests.push((test, holds));
        Ok(())
    }

    /// The IDs that were asked for, in their order.
    pub fn wanted_ids(&self) -> Option<&[u64]> {
        self.tests.iter().find_map(|(test, holds)| match test {
            Test::Ids(ids) if *holds => Some(&ids[..]),
            _ => None,
        })
    }

    /// Is this client meant? SKIPME is the caller's, who knows who asks.
    pub fn matches(&self, state: &State, client: &Client, now_ms: i64) -> bool {
        self.tests
            .iter()
            .all(|(test, holds)| test.holds(state, client, now_ms) == *holds)
    }
}

/// Does this word begin a filter? Where IDs end.
fn is_option(word: &[u8]) -> bool {
    const OPTIONS: &[&str] = &[
        "id", "type", "user", "addr", "laddr", "ip", "name", "lib-name", "lib-ver", "db", "flags",
        "maxage", "idle", "skipme",
    ];
    let word = word.to_ascii_lowercase();
    let name = word.strip_prefix(b"not-").unwrap_or(&word);
    OPTIONS.iter().any(|known| known.as_bytes() == name)
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
        let argv = words("ID 1 2 3 TYPE normal not-ID 9 id 4");
        let filter = Filter::parse_list(argv.argv(), (&Users::new(0), GroupId::DEFAULT))
            .expect("well-formed");
        assert_eq!(filter.wanted_ids(), Some(&[1, 2, 3, 4][..]));
        let expected = [
            (Test::Ids(vec![1, 2, 3, 4]), true),
            (Test::Class(Class::Normal), true),
            (Test::Ids(vec![9]), false),
        ];
        assert_eq!(filter.tests, expected);
        let argv = words("NAME a NOT-NAME b name c FLAGS xN db 3");
        let filter = Filter::parse_kill(argv.argv(), (&Users::new(0), GroupId::DEFAULT))
            .expect("well-formed");
        let expected = [
            (Test::Name(b"b"), false),
            (Test::Name(b"c"), true),
            (Test::Flags(b"xN"), true),
            (Test::Db(3), true),
        ];
        assert_eq!(filter.tests, expected);
        for (text, error) in [
            ("ID a", INVALID_ID),
            ("ID 1 b", INVALID_ID),
            ("ID", SYNTAX),
            ("TYPE", SYNTAX),
            ("FOO bar", SYNTAX),
            ("NOT-MAXAGE 1", SYNTAX),
            ("NOT-SKIPME yes", SYNTAX),
            ("DB x", DB_NOT_VALID),
            ("IDLE 0", IDLE_NOT_POSITIVE),
        ] {
            let argv = words(text);
            let found = Filter::parse_list(argv.argv(), (&Users::new(0), GroupId::DEFAULT)).err();
            assert_eq!(found, Some(error), "{text}");
        }
    }

    #[test]
    fn kill_refuses_what_cannot_be_meant() {
        for (text, error) in [
            ("ID 0", ID_NOT_POSITIVE),
            ("ID x", ID_NOT_POSITIVE),
            ("ID 1 SKIPME", SYNTAX),
            ("ID 1 x", SYNTAX),
            ("ID 1 0", ID_NOT_POSITIVE),
            ("SKIPME maybe", SYNTAX),
            ("MAXAGE x", AGE_NOT_INTEGER),
            ("MAXAGE 0", AGE_NOT_POSITIVE),
        ] {
            let argv = words(text);
            let found = Filter::parse_kill(argv.argv(), (&Users::new(0), GroupId::DEFAULT)).err();
            assert_eq!(found, Some(error), "{text}");
        }
    }
}
