//! The primary's side without sockets: what replicas are told, from where the stream goes on, what the clock does.
use super::{cron, feed, full, psync, replconf, role};
use crate::commands::string;
use crate::exec::testing::Bench;
use crate::state::client::client_flag;
use crate::state::gate;
use crate::state::repl::Stage;
use std::io::IoSlice;

fn bench() -> Bench {
    let mut bench = Bench::new(&[
        &psync::FAMILY,
        &replconf::FAMILY,
        &role::FAMILY,
        &string::FAMILY,
    ]);
    bench.state.repl.id = "a".repeat(40);
    bench.state.settle_readers();
    bench
}

/// The client becomes a replica that has everything so far.
fn follow(bench: &mut Bench) -> String {
    assert_eq!(bench.ask("psync ? -1"), "");
    let id = bench.state.repl.id.clone();
    let end = bench.state.repl.offset;
    let replica = &mut bench.state.repl.replicas[0];
    (replica.stage, replica.sent) = (Stage::Online, Some(end));
    id
}

/// It is a client again, as after a lost link.
fn leave(bench: &mut Bench) {
    let who = bench.state.repl.replicas[0].client;
    bench.state.forget_replica(who);
    let client = bench.state.clients.me(who);
    client.flags &= !client_flag::REPLICA;
    client.gate &= !gate::NO_KEYSPACE;
}

fn stream(bench: &Bench, from: u64) -> String {
    let backlog = bench.state.repl.backlog.as_ref().expect("it is kept");
    let mut room = [IoSlice::new(&[]); 64];
    let n = backlog.pieces(from, &mut room);
    let bytes: Vec<u8> = room[..n].iter().flat_map(|piece| piece.to_vec()).collect();
    String::from_utf8_lossy(&bytes).replace("\r\n", " ")
}

#[test]
fn nothing_is_kept_before_somebody_follows() {
    let mut bench = bench();
    assert!(!bench.state.prop.on);
    bench.ask("set a 1");
    feed::end_of_turn(&mut bench.state);
    assert_eq!(bench.state.repl.offset, 0);
    let before = bench.state.repl.id.clone();
    follow(&mut bench);
    assert_ne!(bench.state.repl.id, before, "a history of its own begins");
    assert!(bench.state.prop.on);
    leave(&mut bench);
    bench.ask("set a 2");
    feed::end_of_turn(&mut bench.state);
    assert!(
        bench.state.prop.log.bytes.is_empty(),
        "nobody else reads it"
    );
    let text = "*2 $6 SELECT $1 0 *3 $3 set $1 a $1 2 ";
    assert_eq!(stream(&bench, 0), text);
    assert_eq!(bench.state.repl.offset, 50);
    assert_eq!(bench.ask("role"), "*3 $6 master :50 *0");
}

#[test]
fn the_stream_goes_on_where_it_is_known() {
    let mut bench = bench();
    let id = follow(&mut bench);
    leave(&mut bench);
    bench.ask("set a 1");
    feed::end_of_turn(&mut bench.state);
    let end = bench.state.repl.offset;
    bench.state.repl.second_id = "b".repeat(40);
    bench.state.repl.second_until = 10;
    let other = "b".repeat(40);
    let cases = [
        // The first byte is number 1.
        (id.to_uppercase(), 1, Some(0)),
        (id.clone(), end as i64 + 1, Some(end)),
        (id.clone(), end as i64 + 2, None),
        (id.clone(), 0, None),
        (id, i64::MIN, None),
        (other.clone(), 10, Some(9)),
        (other, 11, None),
        ("c".repeat(40), 1, None),
    ];
    for (id, wanted, place) in cases {
        bench.ask("replconf capa psync2 capa eof");
        assert_eq!(bench.ask(&format!("psync {id} {wanted}")), "");
        let replica = &bench.state.repl.replicas[0];
        assert_eq!(replica.sent, place, "{id} {wanted}");
        let greeting = String::from_utf8_lossy(&replica.greeting).into_owned();
        match place {
            Some(_) => assert_eq!(greeting, format!("+CONTINUE {}\r\n", bench.state.repl.id)),
            None => assert_eq!(
                (greeting.as_str(), replica.stage),
                ("", Stage::WaitSnapshot)
            ),
        }
        leave(&mut bench);
    }
    let figures = bench.state.repl.figures;
    assert_eq!(
        (
            figures.full_syncs,
            figures.partial_syncs,
            figures.partial_syncs_refused
        ),
        (6, 3, 5)
    );
}

#[test]
fn requests_of_replicas_are_judged() {
    let mut bench = bench();
    for (request, reply) in [
        ("psync id x", "-ERR value is not an integer or out of range"),
        ("replconf a", "-ERR syntax error"),
        ("replconf ack 5", ""),
        ("replconf getack *", ""),
        (
            "replconf rdb-only 2",
            "-ERR value is out of range, value must between 0 and 1",
        ),
        (
            "replconf listening-port x",
            "-ERR value is not an integer or out of range",
        ),
        (
            "replconf rdb-filter-only x",
            "-ERR Unsupported rdb-filter-only option: x",
        ),
        ("replconf foo 1", "-ERR Unrecognized REPLCONF option: foo"),
        ("replconf rdb-filter-only functions", "+OK"),
        (
            "psync ? -1",
            "-ERR Filtered replica requires EOF capability",
        ),
        (
            "replconf capa eof capa psync2 capa later listening-port 7000",
            "+OK",
        ),
        ("replconf ip-address host version 7.2.5", "+OK"),
        ("psync ? -1", ""),
        ("psync ? -1", ""),
        ("get a", "-ERR Replica can't interact with the keyspace"),
    ] {
        assert_eq!(bench.ask(request), reply, "{request}");
    }
    assert_eq!(bench.state.repl.replicas.len(), 1);
    let who = bench.state.repl.replicas[0].client;
    assert_eq!(bench.state.replica_name(who), "host:7000");
    let parts = bench.state.repl.replicas[0].parts(false);
    assert!(parts.functions && !parts.data);
}

#[test]
fn a_replica_that_says_nothing_is_no_good_one_and_is_dropped() {
    let mut bench = bench();
    bench.state.config.min_replicas_to_write = 1;
    bench.state.settle_good_replicas();
    assert_ne!(bench.state.gate & gate::FEW_REPLICAS, 0);
    follow(&mut bench);
    bench.ask("replconf ack 0");
    assert_eq!(bench.state.gate & gate::FEW_REPLICAS, 0);
    cron::run(&mut bench.state);
    assert_eq!(
        stream(&bench, 0),
        "",
        "the first PING comes when a period has passed"
    );
    bench.state.clock.advance_ms(12_000);
    cron::run(&mut bench.state);
    assert_eq!(stream(&bench, 0), "*1 $4 PING ");
    assert_ne!(bench.state.gate & gate::FEW_REPLICAS, 0);
    bench.ask("replconf ack 14 fack 3");
    let replica = &bench.state.repl.replicas[0];
    assert_eq!((replica.acked, replica.acked_on_disk), (14, Some(3)));
    bench.state.clock.advance_ms(60_000);
    cron::run(&mut bench.state);
    assert!(bench.state.closing.is_empty());
    // It loads a snapshot, and lives.
    let who = bench.state.repl.replicas[0].client;
    bench.state.note_empty_line(who);
    bench.state.clock.advance_ms(60_000);
    cron::run(&mut bench.state);
    assert!(bench.state.closing.is_empty());
    bench.state.clock.advance_ms(1_000);
    cron::run(&mut bench.state);
    assert_eq!(bench.state.closing.len(), 1);
}

#[test]
fn a_replica_that_takes_nothing_of_its_snapshot_is_dropped() {
    for stage in [Stage::WaitSnapshotEnd, Stage::SendSnapshot] {
        let mut bench = bench();
        follow(&mut bench);
        let now_us = bench.state.clock.mono_us;
        let replica = &mut bench.state.repl.replicas[0];
        (replica.stage, replica.stuck_since_us) = (stage, now_us);
        bench.state.clock.advance_ms(60_500);
        cron::run(&mut bench.state);
        assert!(bench.state.closing.is_empty());
        bench.state.clock.advance_ms(1_000);
        cron::run(&mut bench.state);
        assert_eq!(bench.state.closing.len(), 1, "{stage:?}");
    }
}

#[test]
fn a_backlog_that_nobody_reads_goes_with_its_history() {
    let mut bench = bench();
    let id = follow(&mut bench);
    bench.state.config.repl_backlog_ttl = 5;
    bench.state.clock.advance_ms(20_000);
    cron::run(&mut bench.state);
    assert!(bench.state.repl.backlog.is_some());
    leave(&mut bench);
    bench.state.clock.advance_ms(5_500);
    cron::run(&mut bench.state);
    assert!(bench.state.repl.backlog.is_some());
    bench.state.clock.advance_ms(1_000);
    cron::run(&mut bench.state);
    assert!(bench.state.repl.backlog.is_none() && !bench.state.prop.on);
    assert_ne!(bench.state.repl.id, id);
}

#[test]
fn a_diskless_round_waits_for_others() {
    let mut bench = bench();
    bench.state.config.repl_diskless_sync_delay = 5;
    bench.state.config.set_proc_title = false;
    bench.ask("replconf capa eof");
    bench.ask("psync ? -1");
    assert!(full::step(&mut bench.state).is_none());
    bench.state.clock.advance_ms(5_000);
    assert!(full::step(&mut bench.state).is_some());
    let replica = &bench.state.repl.replicas[0];
    assert_eq!(
        (replica.stage, replica.sent),
        (Stage::WaitSnapshotEnd, Some(0))
    );
    let greeting = format!("+FULLRESYNC {} 0\r\n", bench.state.repl.id);
    assert_eq!(replica.greeting, greeting.as_bytes());
    leave(&mut bench);
    assert!(full::follow_leaving(&mut bench.state), "nobody is left");
}
