//! EVAL of any text: it answers, in its memory and in its time, and the next one finds all as it was.

use std::sync::OnceLock;

use redvault::base::clock::Clock;
use redvault::base::rng::Rng;
use redvault::exec::process::process;
use redvault::exec::registry::Registry;
use redvault::resp::argv::OwnedArgv;
use redvault::resp::reply::Writer;
use redvault::server::registry;
use redvault::state::State;
use redvault::state::client::{ClientId, Peer};
use redvault::state::config::Config;
use redvault::state::scripts::{End, Host};

fn table() -> &'static Registry {
    static TABLE: OnceLock<Registry> = OnceLock::new();
    TABLE.get_or_init(|| registry::build(&|_| None))
}

/// Ends what is busy.
struct Impatient;

impl Host for Impatient {
    fn serve(&mut self, state: &mut State) {
        if let Some(running) = &mut state.scripts.running {
            running.end = Some(End::Killed);
        }
    }
}

fn ask(state: &mut State, who: ClientId, words: &[&[u8]]) -> Vec<u8> {
    let argv: OwnedArgv = words.iter().copied().collect();
    let mut out = Writer::new(false);
    let row = table().find(argv.argv().get(0));
    process(state, table(), row, argv.argv(), &mut out, who);
    out.to_vec()
}

/// The first byte chooses how much memory there is; the rest is the script.
pub fn eval(data: &[u8]) {
    let Some((choice, code)) = data.split_first() else {
        return;
    };
    let config = Config {
        script_memory_limit: (1 + u64::from(choice % 8)) << 20,
        busy_reply_threshold: 20,
        ..Config::default()
    };
    let (rng, clock) = (Rng::from_seed(1), Clock::manual(1_790_000_000_000));
    let mut state = State::new(config, rng, clock, table().rows().len(), 1000.0);
    state.apply_config();
    state.prop.on = true;
    let me = state.open_session(Peer::None);
    state.running = Some(me);
    for _ in 0..2 {
        state.scripts.host = Some(Box::new(Impatient));
        let reply = ask(&mut state, me, &[b"EVAL", code, b"1", b"key", b"value"]);
        assert!(reply.ends_with(b"\r\n"));
        assert!(state.scripts.running.is_none() && !state.prop.has_unit());
        while state.scripts.tend() {}
    }
    let code: &[u8] = b"return {#KEYS, math.floor(2.5), type(redis.call)}";
    let reply = ask(&mut state, me, &[b"EVAL", code, b"0"]);
    assert_eq!(reply, b"*3\r\n:0\r\n:2\r\n$8\r\nfunction\r\n");
}
