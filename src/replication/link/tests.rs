//! A primary's stream without a socket: what is applied, what is handed on, and what is not.
use crate::base::clock::Clock;
use crate::base::rng::Rng;
use crate::commands;
use crate::exec::process::process;
use crate::exec::registry::Registry;
use crate::exec::testing::START_MS;
use crate::persist::aof::replay::{Progress, Replay};
use crate::resp::reply::Writer;
use crate::resp::request::OwnedArgv;
use crate::state::State;
use crate::state::client::{ClientId, Peer};
use crate::state::config::{Config, PropagationErrorBehavior};
use crate::state::prop::push_request;
use crate::state::repl::Upstream;

struct Bench {
    state: State,
    table: Registry,
    primary: ClientId,
    client: ClientId,
    replay: Replay,
    /// What was handed on.
    done: Vec<u8>,
}

impl Bench {
    fn new() -> Bench {
        let families = [
            &commands::string::FAMILY,
            &commands::list::FAMILY,
            &commands::expire::FAMILY,
            &commands::connection::FAMILY,
            &commands::multi::FAMILY,
            &commands::config::FAMILY,
            &commands::generic::FAMILY,
            &crate::replication::replconf::FAMILY,
        ];
        let table = Registry::new(&families, &|_| None);
        let (rng, clock) = (Rng::from_seed(1), Clock::manual(START_MS));
        let mut state = State::new(Config::default(), rng, clock, table.rows().len(), 1.0);
        state.repl.upstream = Some(Upstream::new("primary".to_owned(), 6379));
        state.apply_config();
        state.prop.on = true;
        let primary = state.open_session(Peer::None);
        let client = state.open_session(Peer::None);
        let replay = Replay::of_primary(&table, 0, Some(0));
        Bench {
            state,
            table,
            primary,
            client,
            replay,
            done: Vec::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.replay.feed(bytes);
        loop {
            self.state.repl.applying = true;
            let (state, table) = (&mut self.state, &self.table);
            let step = self.replay.step(state, table, self.primary, 3);
            self.state.repl.applying = false;
            self.done.extend_from_slice(self.replay.take_done());
            match step.map_err(|error| error.to_string())? {
                Progress::More => {}
                Progress::Hungry => return Ok(()),
            }
        }
    }

    fn ask(&mut self, line: &str) -> String {
        let argv: OwnedArgv = line.split(' ').map(str::as_bytes).collect();
        let mut out = Writer::new(false);
        let row = self.table.find(argv.argv().get(0));
        let (state, table) = (&mut self.state, &self.table);
        process(state, table, row, argv.argv(), &mut out, self.client);
        String::from_utf8_lossy(&out.to_vec()).trim_end().to_owned()
    }

    fn logged(&mut self) -> String {
        let bytes = std::mem::take(&mut self.state.prop.log.bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let words = text.split("\r\n").filter(|w| !w.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }
}

fn stream(lines: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        push_request(&mut out, &words);
    }
    out
}

#[test]
fn bytes_are_handed_on_as_they_came_and_a_transaction_only_as_a_whole() {
    let first = stream(&["SELECT 3", "SET a 1", "PING"]);
    let second = stream(&["MULTI", "SET b 2", "INCR a", "EXEC"]);
    let mut all = first.clone();
    all.extend_from_slice(b"\n\n");
    all.extend_from_slice(&second);
    for piece in [1, 7, 1000] {
        let mut bench = Bench::new();
        for bytes in all.chunks(piece) {
            bench.feed(bytes).expect("applied");
            let whole = bench.done.len() <= first.len() + 2 || bench.done.len() == all.len();
            assert!(whole, "a part of a transaction was handed on");
        }
        assert_eq!(bench.done, all);
        assert_eq!(bench.logged(), "SELECT 3 SET a 1 MULTI SET b 2 INCR a EXEC");
        bench.ask("select 3");
        assert_eq!(bench.ask("get a"), "$1\r\n2");
        assert!(bench.ask("set a 3").starts_with("-READONLY"));
    }
}

#[test]
fn a_key_ends_when_the_primary_says_so() {
    let mut bench = Bench::new();
    let at_ms = START_MS + 100;
    let set = format!("SET k 1 PXAT {at_ms}");
    bench.feed(&stream(&["SELECT 0", &set])).expect("applied");
    bench.state.clock.advance_ms(1000);
    assert_eq!(bench.ask("get k"), "$-1", "absent for readers");
    assert!(!bench.state.expire_some(100));
    assert_eq!(bench.state.dbs.total_keys(), 1, "and there");
    bench.feed(&stream(&["INCR k"])).expect("applied");
    let entry = bench
        .state
        .dbs
        .get(0, b"k")
        .and_then(|entry| entry.string().ok()?.as_int());
    assert_eq!(entry, Some(2), "the primary counted on it");
    bench.feed(&stream(&["DEL k"])).expect("applied");
    assert_eq!(bench.state.dbs.total_keys(), 0);
}

#[test]
fn what_a_writable_replica_writes_it_ends_itself() {
    let mut bench = Bench::new();
    bench.state.config.replica_read_only = false;
    bench.state.apply_config();
    assert_eq!(bench.ask("set own 1 px 50"), "+OK");
    bench
        .feed(&stream(&["SELECT 0", "SET k 1 PX 50"]))
        .expect("applied");
    assert_eq!(bench.state.repl.own_deadlines.len(), 1);
    bench.state.clock.advance_ms(100);
    bench.state.expire_some(100);
    assert!(bench.state.dbs.find(0, b"own").is_none());
    assert!(bench.state.dbs.find(0, b"k").is_some());
}

#[test]
fn a_client_that_waits_is_woken_and_is_no_primary() {
    let mut bench = Bench::new();
    bench.state.config.replica_read_only = false;
    bench.state.apply_config();
    assert_eq!(bench.ask("blpop q 0"), "");
    bench
        .feed(&stream(&["SELECT 0", "RPUSH q x"]))
        .expect("applied");
    assert_eq!(bench.state.dbs.total_keys(), 0);
    assert_eq!(bench.state.resumed, [bench.client]);
}

#[test]
fn errors_are_counted_and_end_the_stream_only_where_that_is_asked_for() {
    let mut bench = Bench::new();
    let lines = stream(&[
        "SELECT 0",
        "LPUSH l x",
        "INCR l",
        "NOSUCH x",
        "CONFIG SET maxclients 1",
    ]);
    bench.feed(&lines).expect("applied");
    assert_eq!(bench.state.stats.unexpected_errors, 3);
    assert_ne!(
        bench.state.config.maxclients, 1,
        "no primary configures its replicas"
    );
    assert_eq!(bench.done, lines);
    bench.state.config.propagation_error_behavior = PropagationErrorBehavior::PanicOnReplicas;
    bench.state.config.replica_read_only = false;
    bench
        .feed(&stream(&["INCR l"]))
        .expect("its own clients may have written l");
    bench.state.config.replica_read_only = true;
    assert!(bench.feed(&stream(&["INCR l"])).is_err());
}

#[test]
fn what_cannot_be_kept_ends_a_replica_unless_it_may_be_ignored() {
    let mut bench = Bench::new();
    bench.state.snapshots.last_ok = false;
    bench.state.settle_writes();
    bench
        .feed(&stream(&["PING", "SELECT 0"]))
        .expect("no changes");
    let error = bench.feed(&stream(&["SET k 1"]));
    let why = "Replica was unable to write command to disk.";
    assert_eq!(error, Err(why.to_owned()));
    assert_eq!(bench.state.dbs.total_keys(), 0);
    let mut bench = Bench::new();
    bench.state.config.replica_ignore_disk_write_errors = true;
    bench.state.snapshots.last_ok = false;
    bench.state.settle_writes();
    bench.feed(&stream(&["SET k 1"])).expect("applied");
    assert_eq!(bench.state.dbs.total_keys(), 1);
}

#[test]
fn noise_is_no_stream() {
    for noise in [
        &b"hello\r\n"[..],
        b"*1\r\nxy\r\n",
        b"*-1\r\n",
        b"#TS:1\r\n",
        b"$5\r\n",
    ] {
        let mut bench = Bench::new();
        assert!(bench.feed(noise).is_err(), "{}", noise.escape_ascii());
    }
    let mut bench = Bench::new();
    bench.feed(b"\r\n\n").expect("blanks");
    assert_eq!(bench.done, b"\r\n\n");
}

#[test]
fn the_primary_asks_how_far_this_server_is() {
    let mut bench = Bench::new();
    let lines = stream(&["SELECT 0", "REPLCONF GETACK *"]);
    bench.feed(&lines).expect("applied");
    assert!(bench.replay.asked);
    assert_eq!(
        (bench.done.len(), bench.logged()),
        (lines.len(), String::new())
    );
}

#[test]
fn what_belongs_to_groups_is_told_apart() {
    let mut bench = Bench::new();
    let plan = crate::state::groups::Plan::parse(&[b"blue"], false).expect("a group");
    bench.state.create_group(&plan).expect("made");
    let lines = [
        "SELECT 0",
        "SET a 1",
        "SELECT 16",
        "SET b 2",
        "SELECT 1",
        "SET c 3",
    ];
    bench.replay.feed(&stream(&lines));
    let (state, table) = (&mut bench.state, &bench.table);
    let step = bench.replay.step(state, table, bench.primary, 100);
    assert_eq!(step, Ok(Progress::Hungry));
    let (first, all) = (stream(&lines[..2]).len(), stream(&lines[..4]).len());
    let hidden = bench.replay.take_hidden();
    let edges = (hidden.first().map(|h| h.0), hidden.last().map(|h| h.1));
    assert_eq!(edges, (Some(first), Some(all)));
    assert_eq!(bench.state.dbs[16].len(), 1);
}

/// Found by fuzzing: the word behind REPLCONF was looked at whether it was there or not.
#[test]
fn a_replconf_of_the_primary_without_words_asks_for_nothing() {
    let mut bench = Bench::new();
    let lines = ["REPLCONF", "REPLCONF GETACK", "REPLCONF GETACK *"];
    for (line, asks) in lines.into_iter().zip([false, true, true]) {
        bench.feed(&stream(&[line])).expect("applied");
        assert_eq!(std::mem::take(&mut bench.replay.asked), asks, "{line}");
    }
}
