//! A user who may use some keys sends whatever comes to mind, straight, in transactions and from scripts:
//! no other key changes, and nothing of what is in one is ever answered.
//!
//! Examples are put together anew, words are exchanged, left out and doubled: what extraction of keys reads
//! as one request and its handler as another shows here.
use super::{build, examples, user_with};
use crate::base::clock::Clock;
use crate::base::rng::Rng;
use crate::exec::command::flag;
use crate::exec::process::process;
use crate::exec::registry::{CommandId, Registry};
use crate::resp::reply::Writer;
use crate::resp::request::OwnedArgv;
use crate::state::State;
use crate::state::client::{ClientId, Peer};
use crate::state::config::Config;
use crate::state::users::pattern::Access;

const START_MS: i64 = 1_700_000_000_000;
/// What stands in every value that the user may not see.
const SECRET: &str = "TREASURE";
/// Keys by the names that the examples use for their types.
const TYPES: [&str; 8] = ["str", "num", "list", "set", "zset", "hash", "stream", "geo"];
/// Words that decide what others mean.
const WORDS: &[&str] = &[
    "STORE",
    "STOREDIST",
    "GET",
    "BY",
    "KEYS",
    "STREAMS",
    "COUNT",
    "LIMIT",
    "DB",
    "REPLACE",
    "NX",
    "XX",
    "GROUP",
    "ALPHA",
    "#",
    "z*",
    "zhash->f",
    "0",
    "1",
    "2",
    "3",
    "-1",
    "c",
    "g",
    "MATCH",
    "WITHSCORES",
    "EX",
    "100",
    "IFEQ",
    "FIELDS",
    "WEIGHTS",
    "AGGREGATE",
    "nosort",
    "zstr",
    "astr",
    "zlist",
    "alist",
    "zset",
    "aset",
    "znew",
    "anew",
    "zstream",
    "astream",
    "zgeo",
    "ageo",
    "",
];

struct World {
    state: State,
    table: Registry,
    owner: ClientId,
    intruder: ClientId,
}

impl World {
    fn new() -> World {
        let table = build(&|_| None);
        let (rng, clock) = (Rng::from_seed(1), Clock::manual(START_MS));
        let mut state = State::new(Config::default(), rng, clock, table.rows().len(), 1.0);
        state.apply_config();
        let owner = state.open_session(Peer::None);
        let mut user = user_with(&table, &[("a*", Access::BOTH)], &[]);
        user.enabled = true;
        let root = &mut user.selectors[0];
        root.keys.add(b"r*", Access::READ);
        root.keys.add(b"w*", Access::WRITE);
        root.channels.allow_all();
        state.put_user(user);
        let mut world = World {
            state,
            table,
            owner,
            intruder: owner,
        };
        world.intrude_anew();
        world
    }

    /// Another connection of the user who may not do everything.
    fn intrude_anew(&mut self) {
        if self.intruder != self.owner {
            self.state.end_session(self.intruder);
        }
        self.intruder = self.state.open_session(Peer::None);
        let user = self.state.users.find(b"u").expect("the user");
        self.state.log_in(self.intruder, user);
    }

    fn ask(&mut self, who: ClientId, words: &[String]) -> Vec<u8> {
        let argv: OwnedArgv = words.iter().map(|word| word.as_bytes()).collect();
        let mut out = Writer::new(false);
        let row = self.table.find(argv.argv().get(0));
        let (state, table) = (&mut self.state, &self.table);
        process(state, table, row, argv.argv(), &mut out, who);
        let mut reply = out.to_vec();
        state.outbox.drain(|to, message| {
            let mut out = Writer::new(false);
            message.append_to(&mut out);
            if to == who {
                reply.extend_from_slice(&out.to_vec());
            }
        });
        reply
    }

    fn owner_asks(&mut self, line: &str) -> Vec<u8> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        self.ask(self.owner, &words)
    }

    /// Keys of every type under names that begin with this letter; what is in those of `z` is secret.
    fn fill(&mut self, letter: &str) {
        let text = if letter == "z" { SECRET } else { "plain" };
        TYPES
            .iter()
            .for_each(|name| _ = self.owner_asks(&format!("del {letter}{name}")));
        for line in [
            format!("set {letter}str {text}"),
            format!("set {letter}num 5"),
            format!("rpush {letter}list {text} b c"),
            format!("sadd {letter}set {text} b c"),
            format!("zadd {letter}zset 1 {text} 2 b"),
            format!("hset {letter}hash f {text} n 5"),
            format!("xadd {letter}stream 1-1 f {text}"),
            format!("xgroup create {letter}stream g 0"),
            format!("geoadd {letter}geo 15 37 {text}"),
        ] {
            let reply = self.owner_asks(&line);
            assert!(
                reply[0] != b'-',
                "{line}: {}",
                String::from_utf8_lossy(&reply)
            );
        }
    }

    /// All that must never change: the secret keys, and that there are no others of the kind.
    fn secrets(&mut self) -> Vec<Vec<u8>> {
        let keys = self.owner_asks("keys z*");
        let mut all: Vec<Vec<u8>> = keys.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
        all.sort_unstable();
        for key in TYPES.iter().map(|name| format!("z{name}")) {
            all.push(self.owner_asks(&format!("dump {key}")));
            all.push(self.owner_asks(&format!("pexpiretime {key}")));
        }
        all
    }
}

fn seed() -> u64 {
    let given = std::env::var("SEED").ok();
    given.and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

/// A request like one of the examples.
fn invent(rng: &mut Rng, known: &[(CommandId, super::Example)]) -> Vec<String> {
    let pick = |rng: &mut Rng, n: usize| rng.below(n.max(1) as u64) as usize;
    let example = &known[pick(rng, known.len())].1;
    let mut words = example.words.clone();
    for (at, _) in example.keys() {
        // Mostly keys that may be used, so that most requests come far.
        let letter = ["a", "a", "a", "z", "r", "w"][pick(rng, 6)];
        words[at] = format!("{letter}{}", words[at]);
    }
    for _ in 0..pick(rng, 4) {
        let at = 1 + pick(rng, words.len());
        let word = WORDS[pick(rng, WORDS.len())].to_owned();
        match pick(rng, 4) {
            0 if at < words.len() => _ = words.remove(at),
            1 if at < words.len() => words[at] = word,
            2 if at < words.len() => {
                let copied = words[at].clone();
                words.insert(at, copied);
            }
            _ => words.insert(at.min(words.len()), word),
        }
    }
    if pick(rng, 5) == 0 {
        let script = "return redis.call(unpack(ARGV))".to_owned();
        let mut call = vec!["eval".to_owned(), script, "0".to_owned()];
        call.append(&mut words);
        words = call;
    }
    words
}

#[test]
fn whoever_may_not_use_a_key_neither_sees_nor_changes_it() {
    let mut world = World::new();
    let mut known = examples(&world.table);
    // Operators, and those who change who they are, may see more; keys are named by SCAN and its like.
    let others = flag::ADMIN | flag::NO_AUTH | flag::ARBITRARY_KEYS | flag::PUBSUB;
    known.retain(|(id, example)| {
        let cmd = world.table.row(*id).cmd;
        let whole = matches!(
            &*example.words[0],
            "flushall" | "flushdb" | "swapdb" | "select"
        );
        let apart = matches!(
            &*example.words[0],
            "client" | "script" | "function" | "acl" | "object"
        );
        !cmd.is(others) && !whole && !apart
    });
    ["a", "r", "w", "z"]
        .iter()
        .for_each(|letter| world.fill(letter));
    let secrets = world.secrets();
    assert!(String::from_utf8_lossy(&secrets.concat()).contains(SECRET));
    let mut rng = Rng::from_seed(seed());
    let (mut ran, mut refused) = (0, 0);
    for turn in 0..30_000 {
        let words = invent(&mut rng, &known);
        let line = words.join(" ");
        let who = world.intruder;
        let reply = world.ask(who, &words);
        let shown = String::from_utf8_lossy(&reply).into_owned();
        assert!(!shown.contains(SECRET), "{turn}: {line} shows {shown}");
        assert!(
            world.secrets() == secrets,
            "{turn}: {line} changed a key: {shown}"
        );
        refused += usize::from(shown.contains("NOPERM") || shown.contains("The user executing"));
        ran += usize::from(!shown.starts_with('-'));
        let waits = world.state.clients.me(who).parked.is_some();
        if waits || turn % 50 == 0 {
            world.intrude_anew();
            for letter in ["a", "r", "w"] {
                world.owner_asks("select 0");
                world.fill(letter);
            }
        }
    }
    assert!(
        ran > 5_000 && refused > 5_000,
        "{ran} ran and {refused} were refused"
    );
}
