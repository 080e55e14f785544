//! What the base file of an append only file holds: the data set as a snapshot, or as the commands that
//! make it. Straight code over shared references, for a forked child.
use std::io;
use std::path::Path;

use super::temporary;
use crate::base::{alloc, sys};
use crate::codec::{Commands, Sink};
use crate::persist::aof::timestamp;
use crate::persist::child::Reporter;
use crate::persist::groups;
use crate::persist::rdb;
use crate::persist::rdb::file::Flowing;
use crate::persist::rdb::write::{delay, progress_every};
use crate::state::State;
use crate::state::groups::GroupId;

/// How a base file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A snapshot (`aof-use-rdb-preamble yes`).
    Snapshot,
    /// Commands only; with an annotation of the time in front.
    Commands { stamped: bool },
}

impl Form {
    /// What the configuration asks for.
    pub fn wanted(state: &State) -> Form {
        if state.config.aof_use_rdb_preamble {
            Form::Snapshot
        } else {
            let stamped = state.config.aof_timestamp_enabled;
            Form::Commands { stamped }
        }
    }
}

/// The child's job: writes the base file beside its place, and all of it to the disk.
pub fn write_file(state: &State, form: &Form, reporter: &mut Reporter<'_>) -> io::Result<()> {
    let path = temporary(&state.config, sys::pid());
    let result = write_to(state, *form, &path, reporter);
    if result.is_err() {
        // What is there of it is of no use, and room on the disk may be what is missing.
        let _ = state.disk.remove(&path);
    }
    result
}

fn write_to(state: &State, form: Form, path: &Path, reporter: &mut Reporter<'_>) -> io::Result<()> {
    let config = &state.config;
    let failed = |what: &str, error: io::Error| {
        let why = sys::strerror(&error);
        let text = format!(
            "Write error while rewriting the AOF ({what} {}): {why}",
            path.display()
        );
        io::Error::new(error.kind(), text)
    };
    let file = state
        .disk
        .create(path)
        .map_err(|error| failed("open", error))?;
    let mut out = Flowing::new(&*file, config.aof_rewrite_incremental_fsync);
    let mut sink = Sink::to_writer(&mut out, config.rdbcompression, config.rdbchecksum);
    write(state, form, &mut sink, &mut |keys| reporter.keys_done(keys));
    sink.finish().map_err(|error| failed("write", error))?;
    file.sync().map_err(|error| failed("fsync", error))
}

/// Writes all libraries and databases. `progress` is called with the number of keys so far, now and then; it cannot stop
/// the writing.
pub fn write(state: &State, form: Form, sink: &mut Sink<'_>, progress: &mut dyn FnMut(u64)) {
    match form {
        Form::Snapshot => {
            let aux = [("aof-base", "1")];
            rdb::write::write(state, sink, alloc::used(), &aux, progress);
        }
        Form::Commands { stamped } => {
            if stamped {
                sink.raw(&timestamp(state.clock.unix_ms / 1000));
            }
            write_commands(state, sink, progress);
        }
    }
}

fn write_commands(state: &State, sink: &mut Sink<'_>, progress: &mut dyn FnMut(u64)) {
    let every = progress_every(state);
    let mut out = Commands::new(sink);
    let mut keys = 0u64;
    groups::write_commands(state, &mut out);
    for (_, code) in state.libraries.of(GroupId::DEFAULT).iter() {
        out.command("FUNCTION", 2);
        out.bulk(b"LOAD");
        out.bulk(code);
    }
    for (number, db) in state.dbs.iter() {
        if db.is_empty() {
            continue;
        }
        out.command("SELECT", 1);
        out.uint(number as u64);
        for entry in db.iter() {
            // Keys whose deadline has passed are written, too: whoever loads them sees to their end.
            entry
                .value()
                .rewrite(entry.key(), entry.expire_at(), &mut out);
            keys += 1;
            if keys.is_multiple_of(every) {
                delay(state, keys);
                progress(keys);
            }
            if out.failed() {
                return;
            }
        }
    }
    progress(keys);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::commands::debug::digest;
    use crate::commands::{connection, expire, hash, list, set, stream, string, zset};
    use crate::exec::process::process;
    use crate::exec::registry::Registry;
    use crate::persist::aof::replay::{self, Replay};
    use crate::persist::rdb::read::{Options, Progress, Reader, Taken};
    use crate::resp::reply::Writer;
    use crate::resp::request::OwnedArgv;
    use crate::script::function;
    use crate::state::client::{ClientId, Peer};
    use crate::state::config::Config;
    use std::path::Path;

    /// Long before the deadlines in the files: nothing expires on the way.
    const NOW_MS: i64 = 1_000_000_000_000;

    fn state() -> State {
        let (rng, clock) = (Rng::from_seed(1), Clock::manual(NOW_MS));
        let mut state = State::new(Config::default(), rng, clock, 1000, 1.0);
        state.apply_config();
        state
    }

    fn commands_of(state: &State) -> Vec<u8> {
        let mut sink = Sink::to_memory(false);
        let mut keys = 0;
        let form = Form::Commands { stamped: false };
        write(state, form, &mut sink, &mut |done| keys = done);
        assert_eq!(keys, state.dbs.total_keys() as u64);
        sink.into_vec()
    }

    struct Client {
        state: State,
        table: Registry,
        me: ClientId,
    }

    impl Client {
        fn new() -> Client {
            let families = [
                &string::FAMILY,
                &list::FAMILY,
                &hash::FAMILY,
                &set::FAMILY,
                &zset::FAMILY,
                &stream::FAMILY,
                &stream::CONTAINERS,
                &expire::FAMILY,
                &connection::FAMILY,
                &function::FAMILY,
            ];
            let mut state = state();
            let me = state.open_session(Peer::None);
            let table = Registry::new(&families, &|_| None);
            Client { state, table, me }
        }

        /// The reply to a request, which must succeed.
        fn ask(&mut self, argv: &OwnedArgv) -> Vec<u8> {
            let mut out = Writer::new(false);
            let row = self.table.find(argv.argv().get(0));
            let (state, table) = (&mut self.state, &self.table);
            process(state, table, row, argv.argv(), &mut out, self.me);
            let reply = out.to_vec();
            assert_ne!(reply[0], b'-', "{argv:?}: {}", reply.escape_ascii());
            reply
        }

        fn say(&mut self, line: &str) -> String {
            let argv: OwnedArgv = line.split(' ').map(str::as_bytes).collect();
            String::from_utf8_lossy(&self.ask(&argv)).into_owned()
        }

        /// A server that was told what this one would write.
        fn rewritten(&self) -> Client {
            let mut again = Client::new();
            let (state, table) = (&mut again.state, &again.table);
            let mut replay = Replay::behind(table, 0, commands_of(&self.state));
            while replay.step(state, table, again.me, 1000).unwrap() == replay::Progress::More {}
            assert_eq!((replay.end(), replay.failed), (Ok(()), 0));
            again
        }
    }

    #[test]
    fn the_commands_make_the_same_data_of_every_type_and_layout() {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/assets/rdb");
        let (mut files, mut keys, mut libraries) = (0, 0, 0);
        for file in std::fs::read_dir(assets).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|end| end != "rdb") {
                continue;
            }
            let mut client = Client::new();
            let state = &mut client.state;
            let mut reader = Reader::new(Options {
                taken: Taken::Refuse,
                drop_expired: false,
                starts: false,
                checksum: true,
                total: None,
            });
            reader.feed(&std::fs::read(&path).unwrap());
            loop {
                match reader.step(state, 1000) {
                    Ok(Progress::More) => {}
                    Ok(Progress::Done) => break,
                    other => {
                        assert!(path.ends_with("redis_40_with_module.rdb"), "{other:?}");
                        break;
                    }
                }
            }
            let keys_here = state.dbs.total_keys();
            let again = client.rewritten();
            let digest =
                |client: &Client| digest::of_all(&client.state.dbs).map(|digest| digest.hex());
            assert_eq!(digest(&again), digest(&client), "{}", path.display());
            let libraries_of = |state: &State| {
                format!(
                    "{:?}",
                    state
                        .libraries
                        .of(GroupId::DEFAULT)
                        .iter()
                        .collect::<Vec<_>>()
                )
            };
            assert_eq!(libraries_of(&again.state), libraries_of(&client.state));
            libraries += again.state.libraries.of(GroupId::DEFAULT).len();
            files += 1;
            keys += keys_here;
        }
        assert!(files > 30 && keys > 100, "{files} files, {keys} keys");
        assert!(libraries > 0);
    }

    /// The digest does not see them.
    #[test]
    fn streams_keep_their_counters_groups_and_what_is_pending() {
        let mut before = Client::new();
        for line in [
            // Entries of which the first, one between and the last are gone, two of them pending.
            "XADD a 1-1 f v",
            "XADD a 1-2 f v g w",
            "XADD a 2-0 f v",
            "XADD a 3-0 f v",
            "XADD a 9-0 f v",
            "XGROUP CREATE a one 0",
            "XGROUP CREATE a two $ ENTRIESREAD 3",
            "XGROUP CREATECONSUMER a one idle",
            "XREADGROUP GROUP one anna COUNT 3 STREAMS a >",
            "XREADGROUP GROUP one bert COUNT 5 STREAMS a >",
            "XCLAIM a one bert 0 2-0 TIME 77 RETRYCOUNT 9",
            "XDEL a 1-1 2-0 9-0",
            // None at all, but with a past.
            "XADD b 5-0 f v",
            "XGROUP CREATE b g 0",
            "XREADGROUP GROUP g c STREAMS b >",
            "XDEL b 5-0",
            "XGROUP CREATE c g $ MKSTREAM",
            "XADD d MAXLEN 0 7-0 f v",
            // As a file of a server before 7.0 has it: no more were added than there are.
            "XADD e 1-0 f v",
            "XADD e 2-0 f v",
            "XGROUP CREATE e g 0",
            "XREADGROUP GROUP g c STREAMS e >",
            "XDEL e 1-0",
            "XSETID e 2-0 ENTRIESADDED 1",
            "EXPIRE d 1000",
        ] {
            before.say(line);
        }
        let mut after = before.rewritten();
        for key in ["a", "b", "c", "d", "e"] {
            for line in [
                "XRANGE key - +",
                "XINFO STREAM key FULL COUNT 0",
                "PTTL key",
            ] {
                let line = line.replace("key", key);
                assert_eq!(after.say(&line), before.say(&line), "{line}");
            }
        }
    }

    #[test]
    fn deadlines_of_fields_and_databases_are_told() {
        let mut before = Client::new();
        for line in [
            "HSET h f 1 g 2 i 3",
            "HPEXPIREAT h 1000000005000 FIELDS 2 f g",
            "SET s 12 PX 500",
            "SELECT 5",
            "ZADD z -inf a 0.1 b -0 c 1e300 d",
        ] {
            before.say(line);
        }
        let text = String::from_utf8(commands_of(&before.state)).unwrap();
        assert!(text.contains("$4\r\nPXAT\r\n$13\r\n1000000000500\r\n"));
        let mut after = before.rewritten();
        after.say("SELECT 0");
        let deadlines = after.say("HPEXPIRETIME h FIELDS 3 f g i");
        assert_eq!(
            deadlines,
            "*3\r\n:1000000005000\r\n:1000000005000\r\n:-1\r\n"
        );
        after.say("SELECT 5");
        let scores = after.say("ZRANGE z 0 -1 WITHSCORES");
        assert_eq!(scores, before.say("ZRANGE z 0 -1 WITHSCORES"));

        let mut sink = Sink::to_memory(false);
        let form = Form::Commands { stamped: true };
        write(&before.state, form, &mut sink, &mut |_| {});
        assert!(sink.into_vec().starts_with(b"#TS:1000000000\r\n*2\r\n"));
    }
}
