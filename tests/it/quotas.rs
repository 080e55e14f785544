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
