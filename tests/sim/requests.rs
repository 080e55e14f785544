//! Requests for any row of the command table: examples, and others drawn by the syntax that COMMAND DOCS
//! tells, so that a new row is tried without anybody having to remember it.

use redvault::base::rng::Rng;
use redvault::commands::docs;
use redvault::commands::docs_syntax::{Arg, Kind};
use redvault::exec::registry::{Registry, Row};
use sha1::{Digest, Sha1};

/// A request's words.
pub type Words = Vec<Vec<u8>>;

/// Examples of every row, which make sense as they stand.
const EXAMPLES: &str = include_str!("../assets/requests.txt");

/// What most of the traffic is made of: what leaves something behind, and what looks for it.
const COMMON: &[&str] = &[
    "set",
    "get",
    "incr",
    "append",
    "del",
    "expire",
    "lpush",
    "rpop",
    "blpop",
    "sadd",
    "smembers",
    "hset",
    "hgetall",
    "zadd",
    "xadd",
    "xread",
    "keys",
    "scan",
    "dbsize",
    "randomkey",
    "flushdb",
    "flushall",
    "select",
    "swapdb",
    "move",
    "copy",
    "rename",
    "publish",
    "spublish",
    "subscribe",
    "psubscribe",
    "ssubscribe",
    "unsubscribe",
    "punsubscribe",
    "pubsub|channels",
    "pubsub|numsub",
    "pubsub|numpat",
    "pubsub|shardchannels",
    "client|list",
    "client|info",
    "client|kill",
    "client|unblock",
    "client|tracking",
    "client|trackinginfo",
    "client|caching",
    "client|setname",
    "eval",
    "evalsha",
    "script|load",
    "script|exists",
    "script|show",
    "script|flush",
    "function|load",
    "function|list",
    "function|delete",
    "function|flush",
    "function|stats",
    "fcall",
    "multi",
    "exec",
    "discard",
    "watch",
    "info",
    "slowlog|get",
    "slowlog|len",
    "slowlog|reset",
    "commandlog|get",
    "commandlog|len",
    "monitor",
    "reset",
    "hello",
    "object|encoding",
    "memory|usage",
];

/// What is drawn from, for one group.
pub struct Drawer<'t> {
    table: &'t Registry,
    common: Vec<&'t Row>,
    examples: Vec<&'static str>,
    /// Stands in what is the group's own: half of its names, and what it stores.
    marker: &'static str,
    /// Numbers of clients, its own and others'.
    pub clients: Vec<u64>,
}

impl<'t> Drawer<'t> {
    pub fn new(table: &'t Registry, marker: &'static str) -> Drawer<'t> {
        let named = |name: &&str| {
            let (name, sub) = name.split_once('|').unwrap_or((name, ""));
            let row = table.find(name.as_bytes())?;
            match sub {
                "" => Some(row),
                sub => table.find_sub(row, sub.as_bytes()),
            }
        };
        let common: Vec<&Row> = COMMON.iter().filter_map(named).collect();
        assert_eq!(common.len(), COMMON.len(), "each of them is a row");
        Drawer {
            table,
            common,
            examples: EXAMPLES
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .collect(),
            marker,
            clients: Vec::new(),
        }
    }

    /// A request; its row's name, too.
    pub fn draw(&self, rng: &mut Rng) -> (&'t str, Words) {
        if rng.below(4) == 0
            && let Some(example) = self.example(rng)
        {
            return example;
        }
        let rows = self.table.rows();
        let row = match rng.below(3) {
            0 => &rows[rng.below(rows.len() as u64) as usize],
            _ => self.common[rng.below(self.common.len() as u64) as usize],
        };
        let name = self.table.name(row.id);
        let mut words: Words = name
            .split('|')
            .map(|word| word.as_bytes().to_vec())
            .collect();
        if let Some(doc) = docs::find(name) {
            let mut keys = 0;
            self.args(&doc.args(), rng, &mut keys, &mut words);
        }
        (name, words)
    }

    /// An example, with the group's own values in it.
    fn example(&self, rng: &mut Rng) -> Option<(&'t str, Words)> {
        let line = self.examples[rng.below(self.examples.len() as u64) as usize];
        let word = |word: &str| -> Vec<u8> {
            let plain = match word.strip_prefix('%').and_then(|word| word.split_once('~')) {
                Some((_, key)) => key,
                None => word.trim_start_matches('&'),
            };
            // What a client is called is no data: operators see it.
            match plain {
                plain if line.starts_with("client") || line.starts_with("hello") => {
                    plain.as_bytes().to_vec()
                }
                "x" | "a" | "b" | "c" => format!("{}{plain}", self.marker).into_bytes(),
                plain => plain.as_bytes().to_vec(),
            }
        };
        let words: Words = line
            .split(' ')
            .filter(|w| !w.is_empty())
            .map(word)
            .collect();
        let row = self.table.find(words.first()?)?;
        let sub = words.get(1).and_then(|word| self.table.find_sub(row, word));
        Some((self.table.name(sub.unwrap_or(row).id), words))
    }

    fn args(&self, args: &[Arg<'_>], rng: &mut Rng, keys: &mut u64, words: &mut Words) {
        for arg in args {
            if arg.optional && rng.below(5) < 3 {
                continue;
            }
            let mut times = match arg.multiple || arg.multiple_token {
                true => 1 + rng.below(2),
                false => 1,
            };
            if arg.kind == Kind::Key && *keys > 0 {
                times = std::mem::take(keys);
            }
            for n in 0..times {
                if let Some(token) = arg.token
                    && (n == 0 || arg.multiple_token)
                {
                    words.push(token.as_bytes().to_vec());
                }
                self.one(arg, rng, keys, words);
            }
        }
    }

    fn one(&self, arg: &Arg<'_>, rng: &mut Rng, keys: &mut u64, words: &mut Words) {
        match arg.kind {
            Kind::PureToken => {}
            Kind::OneOf => {
                let at = rng.below(arg.args.len() as u64) as usize;
                self.args(&arg.args[at..=at], rng, keys, words);
            }
            Kind::Block => self.args(&arg.args, rng, keys, words),
            _ => {
                let word = self.word(arg, rng, keys);
                words.push(word.into_bytes());
            }
        }
    }

    fn name(&self, stem: &str, rng: &mut Rng) -> String {
        let n = rng.below(5);
        match rng.below(3) {
            0 => format!("{}{stem}{n}", self.marker),
            _ => format!("{stem}{n}"),
        }
    }

    fn word(&self, arg: &Arg<'_>, rng: &mut Rng, keys: &mut u64) -> String {
        let name = arg.name.to_ascii_lowercase();
        let pick =
            |rng: &mut Rng, from: &[&str]| from[rng.below(from.len() as u64) as usize].to_owned();
        let n = rng.below(8) as i64 - 1;
        match (arg.kind, &*name) {
            (Kind::Key, _) => self.name("k", rng),
            (Kind::Pattern, _) => pick(rng, &["*", "k*", "*1", "__key*", "ch?", "[a-z]*"]),
            (_, "numkeys") => {
                *keys = 1 + rng.below(2);
                keys.to_string()
            }
            (_, "db" | "index" | "destination-db" | "index1" | "index2" | "dbid") => {
                pick(rng, &["0", "1", "2", "15", "16", "17", "32", "-1"])
            }
            (_, "client-id") => {
                let any = rng.below(self.clients.len().max(1) as u64) as usize;
                self.clients.get(any).map_or("1".to_owned(), u64::to_string)
            }
            (_, "protover") => pick(rng, &["2", "3"]),
            (_, "cursor") => pick(rng, &["0", "0", "0", "7"]),
            (_, "timeout" | "seconds" | "milliseconds" | "ttl") => {
                pick(rng, &["1", "1", "3", "0", "20"])
            }
            (Kind::Integer, _) => n.to_string(),
            (Kind::Double, _) => format!("{n}.5"),
            (Kind::UnixTime, _) => format!("{}", 1_700_000_000 + n * 10),
            (_, "script") => self.script(rng),
            (_, "sha1") => {
                let digest = Sha1::digest(self.script(rng).as_bytes());
                digest.iter().map(|byte| format!("{byte:02x}")).collect()
            }
            (_, "function-code") => self.library(rng),
            (_, "function") => pick(rng, &["f0", "f1", "f2"]),
            (_, "library-name") => pick(rng, &["lib0", "lib1", "lib2"]),
            (_, "library-name-pattern") => pick(rng, &["*", "lib1"]),
            (_, "channel" | "shardchannel") => match rng.below(3) {
                0 => pick(
                    rng,
                    &[
                        "__keyspace@0__:k1",
                        "__keyevent@0__:set",
                        "__keyspace@1__:k2",
                    ],
                ),
                _ => self.name("ch", rng),
            },
            (_, "connection-name" | "clientname" | "libname" | "libver") => {
                pick(rng, &["n1", "n2"])
            }
            (_, "username") => pick(rng, &["default", "nobody", "ours", "theirs"]),
            (_, "section") => pick(
                rng,
                &[
                    "everything",
                    "keyspace",
                    "clients",
                    "stats",
                    "memory",
                    "keysizes",
                    "default",
                ],
            ),
            (_, "id" | "start" | "end" | "min" | "max") => {
                pick(rng, &["*", "0", "-", "+", "$", "5-1", ">"])
            }
            (_, "field") | (_, "member") => self.name("m", rng),
            _ if rng.below(4) == 0 => n.to_string(),
            _ => format!("{}v{n}", self.marker),
        }
    }

    fn script(&self, rng: &mut Rng) -> String {
        const SCRIPTS: &[&str] = &[
            "return redis.call('get', KEYS[1])",
            "return redis.call('set', KEYS[1], 'MARK')",
            "return redis.call('publish', 'ch1', 'MARK')",
            "return {redis.call('dbsize'), redis.call('keys', '*')}",
            "return redis.call('info', 'everything')",
            "return redis.pcall('config', 'get', '*')",
            "return redis.pcall('client', 'list')",
            "return redis.pcall('lastsave')",
            "return redis.error_reply('MARK an error of its own')",
            "redis.call('select', 1) return redis.call('incr', 'k1')",
            "return redis.call('swapdb', 0, 1)",
            "return redis.call('flushall')",
            "return redis.call('spublish', 'ch1', 'MARK')",
            "return collectgarbage('count') > 0",
            "return redis.call('lpush', KEYS[1], 'MARK')",
        ];
        let script = SCRIPTS[rng.below(SCRIPTS.len() as u64) as usize];
        script.replace("MARK", self.marker)
    }

    fn library(&self, rng: &mut Rng) -> String {
        let (lib, function) = (rng.below(3), rng.below(3));
        let marker = self.marker;
        format!(
            "#!lua name=lib{lib}\nredis.register_function('f{function}', function(keys, args)\n\
             return {{'{marker}', redis.call('get', keys[1] or 'k1')}} end)"
        )
    }
}
