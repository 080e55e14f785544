//! Publish and subscribe: what Redis's own suite does not look at.

use crate::harness::{Raw, Server, is_oracle, wait_until};

/// Subscribes to so many channels, `channel:<n>` each.
fn subscribe(raw: &mut Raw, count: usize) {
    let names: Vec<String> = (0..count).map(|n| format!("channel:{n}")).collect();
    for some in names.chunks(1000) {
        let mut request = vec!["SUBSCRIBE"];
        request.extend(some.iter().map(String::as_str));
        raw.command(&request);
        for name in some {
            assert!(raw.reply().contains(name));
        }
    }
}

#[test]
fn many_subscriptions_end_with_their_client_whoever_else_listens() {
    let server = Server::start();
    let (mut many, mut few, mut other) = (server.raw(), server.raw(), server.raw());
    subscribe(&mut many, 20_000);
    subscribe(&mut few, 3);
    assert_eq!(other.ask("PUBLISH channel:2 both"), ":2");
    assert_eq!(other.ask("PUBLISH channel:19999 one"), ":1");
    assert_eq!(few.reply(), "[\"message\", \"channel:2\", \"both\"]");
    drop(many);
    wait_until("the end of the subscriptions", || {
        server.info("pubsub_channels") == "3"
    });
    assert_eq!(
        other.ask("PUBSUB NUMSUB channel:2 channel:9"),
        "[\"channel:2\", :1, \"channel:9\", :0]"
    );
    assert_eq!(
        few.ask("UNSUBSCRIBE channel:7"),
        "[\"unsubscribe\", \"channel:7\", :3]"
    );
    let left: Vec<String> = std::iter::once(few.ask("UNSUBSCRIBE"))
        .chain((0..2).map(|_| few.reply()))
        .collect();
    assert!(left[2].ends_with(":0]"), "{left:?}");
    assert_eq!(other.ask("PUBSUB CHANNELS"), "[]");
}

#[test]
fn one_channel_takes_many_subscribers_that_come_and_go() {
    let server = Server::start();
    let mut publisher = server.raw();
    let mut listeners: Vec<Raw> = (0..100).map(|_| server.raw()).collect();
    for (n, raw) in listeners.iter_mut().enumerate() {
        if n % 2 == 0 {
            raw.ask("HELLO 3");
        }
        raw.ask("SUBSCRIBE news");
        raw.ask("PSUBSCRIBE n*");
    }
    for left in [100, 40, 10, 1] {
        listeners.truncate(left);
        wait_until("those who left to be forgotten", || {
            publisher.ask("PUBSUB NUMSUB news") == format!("[\"news\", :{left}]")
        });
        let count = publisher.ask("PUBLISH news item");
        assert_eq!(count, format!(":{}", 2 * left));
        for (n, raw) in listeners.iter_mut().enumerate() {
            let push = if n % 2 == 0 { ">" } else { "" };
            let messages = [
                format!("{push}[\"message\", \"news\", \"item\"]"),
                format!("{push}[\"pmessage\", \"n*\", \"news\", \"item\"]"),
            ];
            assert_eq!([raw.reply(), raw.reply()], messages);
        }
    }
}

#[test]
fn a_large_message_is_held_once_for_all_who_do_not_read() {
    let server = Server::start();
    let mut publisher = server.raw();
    let mut deaf: Vec<Raw> = (0..40).map(|_| server.raw()).collect();
    for raw in &mut deaf {
        raw.ask("SUBSCRIBE news");
    }
    let memory = || server.info("used_memory").parse::<u64>().expect("a number");
    let before = memory();
    let news = "x".repeat(10_000_000);
    publisher.command(&["PUBLISH", "news", &news]);
    assert_eq!(publisher.reply(), ":40");
    let taken = memory() - before;
    if !is_oracle() {
        assert!(taken < 40_000_000, "{taken} bytes");
    }
    for raw in &mut deaf {
        assert!(raw.reply().ends_with(&format!("{news}\"]")));
    }
}

#[test]
fn events_are_heard_whichever_came_first() {
    let server = Server::start();
    let (mut listener, mut writer) = (server.raw(), server.raw());
    let events = |letters: &str| format!("CONFIG SET notify-keyspace-events {letters}");
    writer.ask("SET k 0");
    listener.ask("PSUBSCRIBE __key*__:*");
    writer.ask(&events("K$"));
    writer.ask("SET k 1");
    assert_eq!(
        listener.reply(),
        "[\"pmessage\", \"__key*__:*\", \"__keyspace@0__:k\", \"set\"]"
    );
    listener.ask("PUNSUBSCRIBE");
    writer.ask("SET k 2");
    writer.ask(&events("KEA"));
    writer.ask("SET k 3");
    listener.ask("SUBSCRIBE __keyevent@0__:del");
    writer.ask("SET k 4");
    writer.ask("DEL k");
    assert_eq!(
        listener.reply(),
        "[\"message\", \"__keyevent@0__:del\", \"k\"]"
    );
    // A watch, a wait and an event at once: each is told.
    listener.ask("UNSUBSCRIBE");
    let (mut watcher, mut waiter) = (server.raw(), server.raw());
    watcher.ask("WATCH list");
    watcher.ask("MULTI");
    waiter.command(&["BLPOP", "list", "0"]);
    listener.ask("SUBSCRIBE __keyspace@0__:list");
    wait_until("the one that waits", || {
        server.info("blocked_clients") == "1"
    });
    writer.ask("RPUSH list x");
    assert_eq!(waiter.reply(), "[\"list\", \"x\"]");
    assert_eq!(watcher.ask("EXEC"), "nil");
    for event in ["rpush", "lpop", "del"] {
        let expected = format!("[\"message\", \"__keyspace@0__:list\", \"{event}\"]");
        assert_eq!(listener.reply(), expected);
    }
}

#[test]
fn a_name_too_many_is_refused_as_by_redis() {
    Server::start().check(&[
        (
            "PUBSUB channels a b",
            "(error) ERR unknown subcommand or wrong number of arguments for 'channels'. Try PUBSUB \
             HELP.",
        ),
        (
            "PUBSUB SHARDCHANNELS a b",
            "(error) ERR unknown subcommand or wrong number of arguments for 'SHARDCHANNELS'. Try \
             PUBSUB HELP.",
        ),
    ]);
}
