//! For unit tests of commands: a state with a clock that tests move, driven through the execute
//! path without sockets. It shows what no client sees: the commands the log gets.
use super::process::process;
use super::registry::{Family, Registry};
use crate::base::clock::Clock;
use crate::base::rng::Rng;
use crate::resp::reply::Writer;
use crate::resp::request::OwnedArgv;
use crate::resp::value::{Value, decode};
use crate::state::State;
use crate::state::client::{ClientId, Peer};
use crate::state::config::Config;

/// The clock's first time, in unix milliseconds.
pub const START_MS: i64 = 1_700_000_000_000;

/// A server without a network, and one client.
pub struct Bench {
    pub state: State,
    table: Registry,
    me: ClientId,
}

impl Bench {
    /// A server that knows the commands of these families.
    pub fn new(families: &[&Family]) -> Self {
        let table = Registry::new(families, &|_| None);
        let (rng, clock) = (Rng::from_seed(1), Clock::manual(START_MS));
        let mut state = State::new(Config::default(), rng, clock, table.rows().len(), 1.0);
        state.apply_config();
        state.prop.on = true;
        let me = state.open_session(Peer::None);
        Self { state, table, me }
    }

    /// Runs a request of words; the reply's bytes with `\r\n` shown as a space.
    pub fn ask(&mut self, line: &str) -> String {
        self.request(line.split(' ').map(str::as_bytes))
    }

    /// The same for a request with spaces in its words, or no text at all.
    pub fn request<'w>(&mut self, words: impl IntoIterator<Item = &'w [u8]>) -> String {
        let argv: OwnedArgv = words.into_iter().collect();
        let mut out = Writer::new(false);
        let row = self.table.find(argv.argv().get(0));
        let (state, table) = (&mut self.state, &self.table);
        process(state, table, row, argv.argv(), &mut out, self.me);
        let reply = String::from_utf8_lossy(&out.to_vec()).replace("\r\n", " ");
        reply.trim_end().to_owned()
    }

    /// The requests that the log got since it was last looked at, a line of words each.
    pub fn logged(&mut self) -> Vec<String> {
        let bytes = std::mem::take(&mut self.state.prop.log.bytes);
        let (mut lines, mut rest) = (Vec::new(), &bytes[..]);
        while let Ok(Some((Value::Array(words), used))) = decode(rest) {
            let words: Vec<_> = words
                .iter()
                .map(|w| String::from_utf8_lossy(w.as_bytes().unwrap_or_default()))
                .collect();
            lines.push(words.join(" "));
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "the log is a sequence of requests");
        lines
    }

    /// Lets somebody serve those who wait.
    pub fn serve(&mut self, serve: impl FnOnce(&mut State, &Registry) -> bool) -> bool {
        serve(&mut self.state, &self.table)
    }

    /// What the client was sent since it was last looked at, besides replies.
    pub fn posted(&mut self) -> String {
        let mut out = Writer::new(false);
        self.state
            .outbox
            .drain(|_, message| message.append_to(&mut out));
        let text = String::from_utf8_lossy(&out.to_vec()).replace("\r\n", " ");
        text.trim_end().to_owned()
    }

    /// What one request leaves in the log.
    pub fn logs(&mut self, line: &str) -> Vec<String> {
        self.logged();
        self.ask(line);
        self.logged()
    }
}
