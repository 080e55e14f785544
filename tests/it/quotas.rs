//! Quotas of groups: each holds, says which one it is, and is nobody else's.
use crate::harness::{Raw, Server, frame, is_oracle, wait_until};

/// A group with a quota, and how to get a connection of a user of its.
fn make(server: &Server, name: &str, quota: &str) -> impl Fn() -> Raw {
    let mut raw = server.raw();
    assert_eq!(raw.ask(&format!("group create {name} quota {quota}")), "OK");
    let rules = "on >x ~* &* +@all";
    let reply = raw.ask(&format!("acl setuser {name} {rules} group:{name}"));
    assert_eq!(reply, "OK");
    let login = format!("auth {name} x");
    move || {
        let mut raw = server.raw();
        assert_eq!(raw.ask(&login), "OK");
        raw
    }
}

/// A request whose words may hold spaces.
fn say(raw: &mut Raw, words: &[&str]) -> String {
    raw.command(words);
    raw.reply()
}

/// A number of GROUP INFO.
fn number(server: &Server, group: &str, field: &str) -> i64 {
    let info = server.raw().ask(&format!("group info {group}"));
    let mark = format!("\"{field}\", :");
    let rest = info.split(&mark).nth(1).unwrap_or_else(|| panic!("{info}"));
    let digits = rest.split([',', '}', ']']).next().unwrap_or_default();
    digits.trim().parse().unwrap_or_else(|_| panic!("{info}"))
}

#[test]
fn keys_are_counted_before_they_are_added() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let blue = make(&server, "blue", "keys 3");
    let mut raw = blue();
    assert_eq!(raw.ask("mset a 1 b 2"), "OK");
    let refused = "(error) QUOTA keys of group 'blue' are used up: the limit is 3";
    assert_eq!(raw.ask("mset b 3 c 1 d 1"), refused);
    assert_eq!(raw.ask("set c 1"), "OK");
    assert_eq!(raw.ask("set d 1"), refused);
    // In another database of the group, in a transaction, in a script.
    raw.ask("select 7");
    assert_eq!(raw.ask("rpush l 1"), refused);
    raw.ask("multi");
    raw.ask("del nothing");
    assert_eq!(raw.ask("set d 1"), "QUEUED");
    assert_eq!(raw.ask("exec"), format!("[:0, {refused}]"));
    let script = ["eval", "return redis.call('set','d',1)", "0"];
    assert!(say(&mut raw, &script).contains("QUOTA keys of group 'blue'"));
    assert_eq!(raw.ask("exists d l"), ":0");
    // What is there may change, and what goes makes room.
    raw.ask("select 0");
    assert_eq!(raw.ask("append a 2"), ":2");
    assert_eq!(raw.ask("del a"), ":1");
    assert_eq!(raw.ask("set d 1"), "OK");
    // Nobody else feels it.
    assert_eq!(server.raw().ask("mset a 1 b 2 c 3 d 4 e 5"), "OK");
    assert_eq!(number(&server, "blue", "keys"), 3);
    assert!(number(&server, "blue", "refused-keys") >= 4);
    assert_eq!(server.raw().ask("group set blue keys 0"), "OK");
    assert_eq!(raw.ask("set e 1"), "OK");
}

#[test]
fn bytes_are_those_of_the_groups_keys() {
    if is_oracle() {
        return;
    }
    let server = Server::with(&["--databases", "4"]);
    let blue = make(&server, "blue", "bytes 1mb");
    let mut raw = blue();
    let value = "x".repeat(10_000);
    let mut stored = 0;
    let refused = loop {
        let reply = say(&mut raw, &["set", &format!("key:{stored}"), &value]);
        if reply != "OK" {
            break reply;
        }
        stored += 1;
    };
    assert_eq!(
        refused,
        "(error) QUOTA bytes of group 'blue' are used up: the limit is 1048576"
    );
    assert!(
        (90..=105).contains(&stored),
        "{stored} values of 10,000 bytes"
    );
    let used = number(&server, "blue", "bytes");
    assert!((1_000_000..1_100_000).contains(&used), "{used}");
    // Every way by which values grow and go.
    assert_eq!(raw.ask("flushall"), "OK");
    assert!(number(&server, "blue", "bytes") < 20_000);
    for n in 0..300 {
        raw.ask(&format!("rpush list {n}{}", &value[..500]));
        raw.ask(&format!("hset hash f{n} {}", &value[..500]));
        raw.ask(&format!("sadd set m{n}{}", &value[..500]));
        raw.ask(&format!("zadd zset {n} m{n}{}", &value[..500]));
        raw.ask(&format!("xadd stream * f {}", &value[..500]));
        raw.ask(&format!("append string {}", &value[..500]));
    }
    let used = number(&server, "blue", "bytes");
    assert!((850_000..1_300_000).contains(&used), "{used}");
    raw.ask("rename string other");
    raw.ask("copy hash copied");
    raw.ask("move zset 3");
    raw.ask("lpop list 200");
    raw.ask("xtrim stream maxlen 10");
    raw.ask("pexpire set 1");
    wait_until("the set's end", || raw.ask("exists set") == ":0");
    raw.ask("unlink list hash copied stream other");
    raw.ask("select 3");
    raw.ask("del zset");
    wait_until("nothing in use", || {
        number(&server, "blue", "bytes") < 20_000
    });
    assert_eq!(raw.ask("set a 1"), "OK");
}

#[test]
fn a_group_evicts_its_own_keys() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let mut zero = server.raw();
    zero.ask("set mine 1");
    for quota in [
        "keys 100 policy allkeys-lru",
        "bytes 200kb policy allkeys-random",
    ] {
        let blue = make(&server, "blue", quota);
        let mut raw = blue();
        let value = "x".repeat(1000);
        for n in 0..1000 {
            let reply = say(&mut raw, &["set", &format!("key:{n}"), &value]);
            assert_eq!(reply, "OK");
        }
        let keys = number(&server, "blue", "keys");
        assert!((90..=210).contains(&keys), "{keys}");
        assert_eq!(number(&server, "blue", "evicted-keys"), 1000 - keys);
        assert_eq!(zero.ask("get mine"), "\"1\"");
        // Where nothing may go, nothing comes.
        zero.ask("group set blue policy volatile-ttl");
        let reply = say(&mut raw, &["mset", "a", &value, "b", &value, "c", &value]);
        let second = say(&mut raw, &["set", "d", &value]);
        assert!(
            reply.starts_with("(error) QUOTA") || second.starts_with("(error) QUOTA"),
            "{reply} {second}"
        );
        assert_eq!(zero.ask("group del blue force"), "OK");
    }
}

#[test]
fn requests_of_a_second_are_counted() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let blue = make(&server, "blue", "ops 50");
    let mut raw = blue();
    let burst: Vec<u8> = (0..200).flat_map(|_| frame(&["PING"])).collect();
    raw.send(&burst);
    let replies: Vec<String> = (0..200).map(|_| raw.reply()).collect();
    let served = replies.iter().filter(|reply| *reply == "PONG").count();
    let refused = "(error) QUOTA ops of group 'blue' are used up: 50 requests a second";
    assert!(replies.iter().any(|reply| reply == refused), "{replies:?}");
    assert!((50..200).contains(&served), "{served}");
    let mut zero = server.raw();
    zero.send(&burst);
    assert!(
        (0..200).all(|_| zero.reply() == "PONG"),
        "nobody else feels it"
    );
    assert_eq!(number(&server, "blue", "refused-ops"), 200 - served as i64);
    wait_until("the next second", || raw.ask("PING") == "PONG");
}

#[test]
fn clients_are_counted_as_they_log_in() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let blue = make(&server, "blue", "clients 2");
    let (first, mut second) = (blue(), blue());
    let mut third = server.raw();
    let refused = "(error) QUOTA clients of group 'blue' are used up: the limit is 2";
    assert_eq!(third.ask("auth blue x"), refused);
    assert_eq!(third.ask("hello 3 auth blue x"), refused);
    assert_eq!(third.ask("acl whoami"), "\"default\"");
    // Who is in it may say its password again.
    assert_eq!(second.ask("auth blue x"), "OK");
    drop(first);
    wait_until("room", || third.ask("auth blue x") == "OK");
    assert!(number(&server, "blue", "refused-clients") >= 2);
}

#[test]
fn what_a_groups_clients_leave_unread_is_limited() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let blue = make(&server, "blue", "output 2mb");
    let mut raw = blue();
    let value = "x".repeat(1_000_000);
    assert_eq!(say(&mut raw, &["set", "big", &value]), "OK");
    let mut greedy = blue();
    let request: Vec<u8> = (0..100)
        .flat_map(|_| frame(&["LRANGE", "l", "0", "-1"]))
        .collect();
    for _ in 0..20 {
        say(&mut raw, &["rpush", "l", &value[..100_000]]);
    }
    greedy.send(&request);
    wait_until("the end of who reads nothing", || {
        number(&server, "blue", "refused-output") > 0 || number(&server, "blue", "clients") == 1
    });
    wait_until("the others alone", || {
        number(&server, "blue", "clients") == 1
    });
    assert_eq!(raw.ask("ping"), "PONG");
    assert_eq!(number(&server, "blue", "output"), 0);
}

/// A request that has no room even where nothing else is takes nobody's place.
#[test]
fn what_can_never_fit_evicts_nothing() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let blue = make(&server, "blue", "keys 10 policy allkeys-lru");
    let (mut raw, mut zero) = (blue(), server.raw());
    for n in 0..8 {
        assert_eq!(raw.ask(&format!("set key:{n} 1")), "OK");
    }
    let many: Vec<String> = (0..11).map(|n| format!("m{n} 1")).collect();
    let refused = raw.ask(&format!("mset {}", many.join(" ")));
    assert!(refused.starts_with("(error) QUOTA keys"), "{refused}");
    assert_eq!(raw.ask("dbsize"), ":8");
    // A name that is said twice is one key, and a copy in another database is another.
    assert_eq!(raw.ask("mset a 1 a 2 a 3"), "OK");
    assert_eq!(raw.ask("copy a a db 3"), ":1");
    assert_eq!(number(&server, "blue", "evicted-keys"), 0);
    assert_eq!(zero.ask("group set blue policy noeviction"), "OK");
    let refused = raw.ask("copy a a db 4");
    assert!(refused.starts_with("(error) QUOTA keys"), "{refused}");
    assert_eq!(raw.ask("copy a a db 3 replace"), ":1");

    let set = "group set blue keys 0 bytes 200kb policy allkeys-lru";
    assert_eq!(zero.ask(set), "OK");
    let refused = say(&mut raw, &["set", "big", &"x".repeat(300_000)]);
    assert!(refused.starts_with("(error) QUOTA bytes"), "{refused}");
    assert_eq!(number(&server, "blue", "evicted-keys"), 0);
}

/// How large a value becomes is known for these before they run.
#[test]
fn one_request_cannot_go_far_beyond_the_limit() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let mut raw = make(&server, "blue", "bytes 1mb")();
    let large = "x".repeat(600_000);
    assert_eq!(say(&mut raw, &["set", "large", &large]), "OK");
    for request in [
        "setrange big 200000000 x",
        "setrange large 1200000 x",
        "setbit big 1600000000 1",
        "bitfield big get u8 0 set u8 1600000000 1",
        "bitfield big overflow wrap incrby u8 #200000000 1",
        "bitop not big large",
        "copy large big",
    ] {
        let refused = raw.ask(request);
        assert!(
            refused.starts_with("(error) QUOTA bytes"),
            "{request}: {refused}"
        );
        let code = "return redis.call(unpack(ARGV))";
        let mut words = vec!["eval", code, "0"];
        words.extend(request.split(' '));
        let refused = say(&mut raw, &words);
        assert!(
            refused.starts_with("(error) QUOTA bytes"),
            "{request}: {refused}"
        );
    }
    let refused = say(&mut raw, &["append", "large", &large]);
    assert!(refused.starts_with("(error) QUOTA bytes"), "{refused}");
    // What takes the place of as much has room, and so has what is read.
    assert_eq!(say(&mut raw, &["set", "large", &large]), "OK");
    assert_eq!(raw.ask("setrange large 500000 y"), ":600000");
    assert_eq!(raw.ask("bitfield large get u8 1600000000"), "[:0]");
    assert_eq!(raw.ask("strlen large"), ":600000");
}

/// Not only keys take memory: what is kept for a group's scripts, functions and clients counts, too.
#[test]
fn bytes_are_also_those_of_functions_scripts_and_clients() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let blue = make(&server, "blue", "bytes 1mb policy allkeys-lru");
    let (mut raw, mut other) = (blue(), blue());
    let filler = "x".repeat(400_000);
    let refused = "(error) QUOTA bytes of group 'blue' are used up: the limit is 1048576";
    let library = |n: usize| {
        format!("#!lua name=l{n}\n--{filler}\nredis.register_function('f{n}', function() end)")
    };
    assert_eq!(say(&mut raw, &["function", "load", &library(1)]), "\"l1\"");
    assert_eq!(say(&mut raw, &["function", "load", &library(2)]), "\"l2\"");
    assert_eq!(say(&mut raw, &["function", "load", &library(3)]), refused);
    assert!(number(&server, "blue", "bytes") > 800_000);
    assert_eq!(raw.ask("function flush"), "OK");

    for n in 0..2 {
        let script = format!("return {n} --{filler}");
        assert_eq!(say(&mut raw, &["eval", &script, "0"]), format!(":{n}"));
        // It is known by now.
        assert_eq!(say(&mut raw, &["eval", &script, "0"]), format!(":{n}"));
    }
    let script = format!("return 3 --{filler}");
    assert_eq!(say(&mut raw, &["eval", &script, "0"]), refused);
    assert_eq!(say(&mut raw, &["script", "load", &script]), refused);
    assert_eq!(say(&mut raw, &["eval", "return 3", "0"]), ":3");
    assert_eq!(raw.ask("script flush"), "OK");

    assert_eq!(raw.ask("multi"), "OK");
    assert_eq!(say(&mut raw, &["set", "k", &filler]), "QUEUED");
    assert_eq!(say(&mut raw, &["set", "k", &filler]), "QUEUED");
    // Others feel it as soon as it is there, and keys would not help.
    assert_eq!(say(&mut other, &["set", "k", &filler]), refused);
    assert_eq!(say(&mut raw, &["set", "k", &filler]), refused);
    assert!(raw.ask("exec").starts_with("(error) EXECABORT"));
    assert_eq!(say(&mut other, &["set", "k", &filler]), "OK");
    assert_eq!(other.ask("del k"), ":1");

    let name = "y".repeat(1000);
    let mut names = (0..2000).map(|n| format!("{n}{name}"));
    let watch = names
        .by_ref()
        .find_map(|key| match say(&mut raw, &["watch", &key]) {
            ok if ok == "OK" => None,
            other => Some(other),
        });
    assert_eq!(watch.as_deref(), Some(refused));
    assert_eq!(raw.ask("unwatch"), "OK");
    let taken = names.by_ref().take(900).find_map(|name| {
        let reply = say(&mut raw, &["subscribe", &name]);
        (!reply.starts_with('[')).then_some(reply)
    });
    assert_eq!(taken, None, "there is room for so many");
    let names: Vec<String> = (0..1200).map(|n| format!("{n}{name}")).collect();
    let taken = names.iter().find_map(|name| {
        let reply = say(&mut other, &["ssubscribe", name]);
        (!reply.starts_with('[')).then_some(reply)
    });
    assert_eq!(taken.as_deref(), Some(refused));
    drop((raw, other));
    wait_until("nothing in use", || number(&server, "blue", "bytes") == 0);
}

/// An empty database costs nothing that its group could free.
#[test]
fn empty_databases_count_nothing() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let mut raw = make(&server, "blue", "bytes 4kb")();
    for db in 0..16 {
        raw.ask(&format!("select {db}"));
        assert_eq!(raw.ask("set k v ex 100"), "OK", "{db}");
        assert_eq!(raw.ask("del k"), ":1");
    }
    assert_eq!(number(&server, "blue", "bytes"), 0);
    assert_eq!(raw.ask("set k v"), "OK");
    let info = raw.ask("info memory");
    let used = number(&server, "blue", "bytes");
    assert!(info.contains(&format!("used_memory:{used}")), "{info}");
    assert!(info.contains("maxmemory:4096"), "{info}");
    assert!(info.contains("maxmemory_policy:noeviction"), "{info}");
    let info = raw.ask("info group");
    assert!(info.contains(&format!("group_bytes:{used}")), "{info}");
    assert!(info.contains("refused_bytes:0"), "{info}");
}

/// Who waits has said its request already: to be served is none of the group's requests.
#[test]
fn who_waits_is_served_though_requests_are_used_up() {
    if is_oracle() {
        return;
    }
    let server = Server::start();
    let blue = make(&server, "blue", "ops 3");
    let (mut waits, mut pushes) = (blue(), blue());
    waits.command(&["blpop", "l", "0"]);
    wait_until("who waits", || server.info("blocked_clients") == "1");
    let requests = [frame(&["PING"]), frame(&["RPUSH", "l", "v"])].concat();
    pushes.send(&requests);
    assert_eq!(pushes.reply(), "PONG");
    let pushed = pushes.reply();
    if pushed == ":1" {
        assert_eq!(waits.reply(), "[\"l\", \"v\"]");
    }
}
