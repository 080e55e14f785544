//! Groups cannot see each other: two servers get the same requests of the users of a group, one of them
//! those of another group and of the operators in between. The group gets to see the same, byte for byte:
//! replies, messages, introspection, errors.
//!
//! What is not compared, because it tells of time or chance and of nothing else: TIME, ACL GENPASS, HOTKEYS
//! GET (a sample), and in the logs of slow commands how long each took. Numbers of clients are the server's;
//! here the group's are opened first, so that they are the same.
//!
//! In the other direction, nothing that a group stored, named or sent reaches operators.

use super::requests::{Drawer, Words};
use redvault::base::clock::Clock;
use redvault::base::rng::Rng;
use redvault::exec::process::process;
use redvault::exec::registry::Registry;
use redvault::exec::unit;
use redvault::resp::reply::Writer;
use redvault::resp::request::OwnedArgv;
use redvault::resp::value::{Value, decode};
use redvault::server::registry;
use redvault::state::State;
use redvault::state::client::{Client, ClientId, Peer, client_flag};
use redvault::state::config::{Config, EventMask};
use redvault::state::groups::GroupId;
use redvault::state::users::UserId;
use std::collections::BTreeSet;

const START_MS: i64 = 1_700_000_000_000;
const CASES: u64 = 60;
const STEPS: usize = 500;
/// Clients of a group at work, and those that take the place of who is closed.
const AT_WORK: usize = 4;
const STOCK: usize = 60;

/// Stands in whatever the other group owns.
const OTHERS: &str = "Asecret";

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// The group that looks.
    Ours,
    /// The group that is to be out of sight.
    Theirs,
    /// Group 0.
    Operators,
}

struct Step {
    side: Side,
    /// Which of the side's clients at work.
    place: usize,
    row: &'static str,
    words: Words,
}

/// A side's clients.
struct Team {
    group: GroupId,
    user: UserId,
    at_work: Vec<ClientId>,
    stock: Vec<ClientId>,
}

/// A server.
struct World {
    state: State,
    table: &'static Registry,
    teams: Vec<(Side, Team)>,
}

/// What one client got from one step.
type Seen = (usize, Vec<u8>);

fn team(state: &mut State, group: GroupId, user: UserId) -> Team {
    let mut open = |n: usize| -> Vec<ClientId> {
        let ids: Vec<_> = (0..n).map(|_| state.open_session(Peer::None)).collect();
        ids.iter().for_each(|who| state.log_in(*who, user));
        ids
    };
    Team {
        group,
        user,
        at_work: open(AT_WORK),
        stock: open(STOCK),
    }
}

impl World {
    /// A server with our group, and with others or without. The users' further rights.
    fn new(table: &'static Registry, others: bool, rights: &str) -> World {
        let config = Config {
            slowlog_log_slower_than: 0,
            slowlog_max_len: 20,
            commandlog_reply_larger_than: 0,
            notify_keyspace_events: EventMask(EventMask::KEYSPACE | EventMask::KEYEVENT | 0x1fff),
            ..Config::default()
        };
        let (rng, clock) = (Rng::from_seed(1), Clock::manual(START_MS));
        let mut state = State::new(config, rng, clock, table.rows().len(), 1.0);
        state.apply_config();
        let operator = state.open_session(Peer::None);
        let ask = |state: &mut State, request: String| {
            let argv: OwnedArgv = request.split_whitespace().map(str::as_bytes).collect();
            let (row, mut out) = (table.find(argv.argv().get(0)), Writer::new(false));
            process(state, table, row, argv.argv(), &mut out, operator);
            assert_eq!(out.to_vec(), b"+OK\r\n", "{request}");
        };
        let mut groups = Vec::new();
        // Where there are others, our group has another number and other databases.
        if others {
            groups.push(Side::Theirs);
        }
        groups.push(Side::Ours);
        let mut teams = Vec::new();
        for side in groups {
            let name = if side == Side::Ours { "ours" } else { "theirs" };
            ask(&mut state, format!("group create {name}"));
            let rules = format!("on >{OTHERS}{name} ~* &* +@all {rights}");
            ask(
                &mut state,
                format!("acl setuser {name} {rules} group:{name}"),
            );
            let group = state.groups.find(name.as_bytes()).expect("it was made");
            let user = state.users.find(name.as_bytes()).expect("it was made");
            teams.push((side, group, user));
        }
        teams.reverse();
        let mut teams: Vec<_> = teams
            .into_iter()
            .map(|(side, group, user)| (side, team(&mut state, group, user)))
            .collect();
        if others {
            let operators = team(&mut state, GroupId::DEFAULT, UserId::DEFAULT);
            teams.push((Side::Operators, operators));
        }
        World {
            state,
            table,
            teams,
        }
    }

    fn team(&mut self, side: Side) -> Option<&mut Team> {
        self.teams
            .iter_mut()
            .find(|(s, _)| *s == side)
            .map(|(_, team)| team)
    }

    /// Runs a step: what each client of each side got, in order.
    fn run(&mut self, step: &Step, seed: u64) -> Vec<(Side, Seen)> {
        let Some(me) = self.team(step.side).map(|team| team.at_work[step.place]) else {
            return Vec::new();
        };
        let mut got = Vec::new();
        self.state.rng = Rng::from_seed(seed);
        let client = self.state.clients.me(me);
        // Who waits sends nothing.
        if client.flags & client_flag::BLOCKED == 0 {
            let (resp3, group) = (client.resp3, client.group);
            let argv: OwnedArgv = step.words.iter().map(Vec::as_slice).collect();
            let mut out = Writer::new(resp3);
            let row = self.table.find(argv.argv().get(0));
            self.state.running = Some(me);
            self.state.count_for(group);
            process(&mut self.state, self.table, row, argv.argv(), &mut out, me);
            self.state.running = None;
            got.push((me, shown(step.row, out.to_vec())));
        }
        self.deliver(&mut got);
        self.end_turn(got)
    }

    /// Time passes without a request.
    fn rest(&mut self) -> Vec<(Side, Seen)> {
        self.end_turn(Vec::new())
    }

    fn end_turn(&mut self, mut got: Vec<(ClientId, Vec<u8>)>) -> Vec<(Side, Seen)> {
        self.keep_house();
        self.deliver(&mut got);
        let seen = got.into_iter().filter_map(|(who, bytes)| {
            let mut sides = self.teams.iter();
            sides.find_map(|(side, team)| {
                let place = team.at_work.iter().position(|id| *id == who)?;
                Some((*side, (place, bytes.clone())))
            })
        });
        let seen = seen.collect();
        self.replace_the_gone();
        seen
    }

    fn deliver(&mut self, got: &mut Vec<(ClientId, Vec<u8>)>) {
        self.state.outbox.drain(|to, message| {
            let mut out = Writer::new(false);
            message.append_to(&mut out);
            got.push((to, out.to_vec()));
        });
    }

    /// What the loop does between requests.
    fn keep_house(&mut self) {
        let state = &mut self.state;
        state.clock.advance_ms(40);
        while state.expire_some(1000) {}
        while unit::time_out(state, 64) {}
        unit::finish(state, self.table);
        if state.pubsub.has_leaving() {
            state.end_leaving_subscriptions();
        }
        if state.tracking.has_pending() {
            state.broadcast_changes();
        }
        state.sweep_tracking();
        state.step_census();
        for who in std::mem::take(&mut state.resumed) {
            if let Some(client) = state.clients.get_mut(who) {
                client.flags &= !client_flag::RESUME;
            }
        }
    }

    /// Who was closed gives its place to the next one; who left its group (RESET, AUTH) comes back.
    fn replace_the_gone(&mut self) {
        let state = &mut self.state;
        state.closing.clear();
        let closes = client_flag::CLOSE_NOW | client_flag::CLOSE_AFTER_REPLY;
        for (_, team) in &mut self.teams {
            let gone = |state: &mut State, who: ClientId| match state.clients.get(who) {
                Some(client) if client.flags & closes == 0 => false,
                Some(_) => {
                    state.end_session(who);
                    true
                }
                None => true,
            };
            team.stock.retain(|who| !gone(state, *who));
            for place in &mut team.at_work {
                if gone(state, *place)
                    && let Some(next) = team.stock.pop()
                {
                    *place = next;
                }
                let left = |c: &Client| c.group != team.group || c.user != team.user;
                if state.clients.get(*place).is_some_and(left) {
                    state.log_in(*place, team.user);
                }
            }
        }
    }

    /// Can it go on?
    fn lives(&mut self) -> bool {
        let state = &self.state;
        let all = self.teams.iter().flat_map(|(_, team)| &team.at_work);
        all.clone().all(|who| state.clients.get(*who).is_some())
    }
}

/// A reply without what tells of time or chance.
fn shown(row: &str, reply: Vec<u8>) -> Vec<u8> {
    match row {
        "time" | "acl|genpass" | "hotkeys|get" => return b"(not compared)".to_vec(),
        "slowlog|get" | "commandlog|get" => {}
        _ => return reply,
    }
    let Ok(Some((Value::Array(mut entries), _))) = decode(&reply) else {
        return reply;
    };
    for entry in &mut entries {
        if let Value::Array(fields) = entry
            && let Some(took) = fields.get_mut(2)
        {
            *took = Value::Int(0);
        }
    }
    format!("{entries:?}").into_bytes()
}

/// Requests of operators: what looks at other people's affairs, and what makes theirs.
const LOOKS: &[&str] = &[
    "info everything",
    "client list",
    "slowlog get -1",
    "commandlog get -1 slow",
    "commandlog get -1 large-reply",
    "pubsub channels",
    "pubsub shardchannels",
    "pubsub numsub ch1",
    "keys *",
    "scan 0",
    "script exists 0000000000000000000000000000000000000000",
    "function list withcode",
    "function stats",
    "function dump",
    "hotkeys get",
    "memory stats",
    "memory doctor",
    "latency latest",
    "acl list",
    "acl log",
    "config get maxmemory*",
    "set k1 ours",
    "get k1",
    "publish ch1 hello",
    "psubscribe *",
    "ssubscribe ch1",
    "client tracking on bcast",
    "monitor",
    "reset",
    "hello 3",
    "multi",
    "exec",
    "fcall f1 1 k1",
    "blpop k3 1",
    "watch k1",
];

fn steps(seed: u64, table: &'static Registry) -> Vec<Step> {
    let mut rng = Rng::from_seed(seed);
    let mut ours = Drawer::new(table, "ours");
    let mut theirs = Drawer::new(table, OTHERS);
    // Numbers of both groups' clients: each tries the other's, too.
    let per_team = (AT_WORK + STOCK) as u64;
    let numbers: Vec<u64> = (2..=4).chain(per_team + 2..per_team + 5).collect();
    (ours.clients, theirs.clients) = (numbers.clone(), numbers);
    let draw = |rng: &mut Rng| {
        let side = [Side::Ours, Side::Theirs, Side::Theirs, Side::Operators][rng.below(4) as usize];
        let place = rng.below(AT_WORK as u64) as usize;
        let (row, words) = match side {
            Side::Ours => ours.draw(rng),
            Side::Theirs => theirs.draw(rng),
            Side::Operators => {
                let line = LOOKS[rng.below(LOOKS.len() as u64) as usize];
                let words = line.split(' ').map(|word| word.as_bytes().to_vec());
                ("", words.collect())
            }
        };
        Step {
            side,
            place,
            row,
            words,
        }
    };
    (0..STEPS).map(|_| draw(&mut rng)).collect()
}

fn text(words: &Words) -> String {
    let words = words.iter().map(|word| String::from_utf8_lossy(word));
    words.collect::<Vec<_>>().join(" ")
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes
        .windows(part.len())
        .any(|window| window == part.as_bytes())
}

/// Where two answers part, with what stands around it.
fn difference(got: &[Seen], expected: &[Seen]) -> Option<String> {
    let line = |all: &[Seen]| -> Vec<u8> {
        let parts = all
            .iter()
            .map(|(who, bytes)| format!("{who}: {} ", bytes.escape_ascii()));
        parts.collect::<String>().into_bytes()
    };
    let (got, expected) = (line(got), line(expected));
    if got == expected {
        return None;
    }
    let same = got
        .iter()
        .zip(&expected)
        .take_while(|(a, b)| a == b)
        .count();
    let around = |all: &[u8]| {
        let part = &all[same.saturating_sub(80)..all.len().min(same + 120)];
        String::from_utf8_lossy(part).into_owned()
    };
    Some(format!(
        "\n   with them: {}\nwithout them: {}",
        around(&got),
        around(&expected)
    ))
}

fn of_ours(seen: Vec<(Side, Seen)>) -> Vec<Seen> {
    let ours = seen.into_iter().filter(|(side, _)| *side == Side::Ours);
    ours.map(|(_, seen)| seen).collect()
}

/// Runs one case: what is wrong with the first answer that is wrong, rows that were asked for, and how much
/// was compared.
fn case(
    seed: u64,
    table: &'static Registry,
    rows: &mut BTreeSet<&'static str>,
) -> (Option<String>, usize) {
    // Half of the users have all rights, which are not looked at then.
    let rights = ["", "-lolwut"][seed as usize % 2];
    let (mut with, mut without) = (
        World::new(table, true, rights),
        World::new(table, false, rights),
    );
    let mut compared = 0;
    for (at, step) in steps(seed, table).iter().enumerate() {
        let wrong = |what: &str| {
            let request = text(&step.words);
            Some(format!(
                "seed {seed} step {at} {:?}: {request}: {what}",
                step.side
            ))
        };
        // In a transaction the reply comes later, and what is not compared would be part of it.
        let whole = shown(step.row, b"*0\r\n".to_vec()) == b"*0\r\n";
        let me = with.team(step.side).map(|team| team.at_work[step.place]);
        let in_multi = me.is_some_and(|me| with.state.clients.me(me).multi.is_some());
        if !whole && in_multi {
            continue;
        }
        let chance = seed << 32 ^ at as u64;
        let seen = with.run(step, chance);
        for (side, (_, bytes)) in &seen {
            if *side != Side::Theirs && contains(bytes, OTHERS) {
                let shown = String::from_utf8_lossy(bytes);
                let start = shown.find(OTHERS).unwrap_or(0).saturating_sub(200);
                let shown: String = shown.chars().skip(start).take(400).collect();
                return (
                    wrong(&format!("{side:?} see what is not theirs: {shown}")),
                    compared,
                );
            }
        }
        let got = of_ours(seen);
        compared += got.len();
        let expected = if step.side == Side::Ours {
            rows.insert(step.row);
            of_ours(without.run(step, chance))
        } else {
            // Time passes for both.
            of_ours(without.rest())
        };
        if let Some(difference) = difference(&got, &expected) {
            return (wrong(&difference), compared);
        }
        if !with.lives() || !without.lives() {
            break;
        }
    }
    (None, compared)
}

#[test]
fn a_group_sees_the_same_whether_or_not_there_is_another() {
    let table: &'static Registry = Box::leak(Box::new(registry::build(&|_| None)));
    let (mut rows, mut compared, mut wrong) = (BTreeSet::new(), 0, Vec::new());
    for seed in super::cases_of(CASES) {
        let (found, count) = case(seed, table, &mut rows);
        wrong.extend(found);
        compared += count;
    }
    let asked = rows.len();
    println!("isolation: {compared} answers and messages compared, of {asked} rows");
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
    if super::cases_of(CASES).count() as u64 >= CASES {
        let all = table.rows().iter().map(|row| table.name(row.id));
        let missing: Vec<&str> = all.filter(|name| !rows.contains(name)).collect();
        assert!(missing.is_empty(), "never asked for: {missing:?}");
    }
}
