//! Commands that are typed, or come line by line from standard input.
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::rc::Rc;

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hint, Hinter};
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::docs::Docs;
use super::help;
use super::messages;
use super::options::words;
use super::print::Form;
use super::session::{Session, complain, is};
use crate::base::clock::mono_us;
use crate::base::num::parse_i64;
use crate::tools::link::Address;

/// A command that took longer shows how long.
const SLOW_US: u64 = 500_000;

/// Lines of history that are kept.
const HISTORY_MAX: usize = 10_000;

/// What happens after a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The next line, the last one having been answered without an error or not.
    Line(bool),
    Quit,
}

/// Runs commands until there are no more; the exit code.
pub fn run(session: &mut Session) -> i32 {
    session.keyboard = std::io::stdin().is_terminal();
    let connected = session.connect();
    if session.keyboard {
        typed(session)
    } else {
        piped(session, connected)
    }
}

/// Lines from a file or another program. A person can see what went wrong; a script gets an exit code: 1 if
/// the server could not be reached, or for the first error with -e.
fn piped(session: &mut Session, connected: bool) -> i32 {
    let mut code = i32::from(!connected);
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    while !session.deaf {
        line.clear();
        match input.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        match obey(session, &line, None) {
            Next::Quit => break,
            Next::Line(good) => {
                if !good && session.options.fail_on_error {
                    return 1;
                }
                code = i32::from(session.link.is_none() && !good);
            }
        }
    }
    code
}

fn typed(session: &mut Session) -> i32 {
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)
        .map(|config| {
            config
                .completion_type(CompletionType::Circular)
                .auto_add_history(false)
        });
    let editor =
        config.and_then(|config| Editor::<Assistant, FileHistory>::with_config(config.build()));
    let mut editor = match editor {
        Ok(editor) => editor,
        Err(error) => {
            complain(&format!("Error: {error}"));
            return 1;
        }
    };
    let docs = Rc::new(RefCell::new(Docs::default()));
    let hints = Rc::new(Cell::new(true));
    editor.set_helper(Some(Assistant {
        docs: docs.clone(),
        hints: hints.clone(),
    }));
    let history = history_file(|name| std::env::var_os(name));
    if let Some(path) = &history {
        // There is none before the first line.
        let _ = editor.load_history(path);
    }
    let mut asked = false;
    loop {
        // Once: a server that does not tell will not tell later.
        if session.link.is_some() && !asked {
            asked = true;
            docs.replace(session.docs());
        }
        let line = match editor.readline(&prompt(session)) {
            Ok(line) => line,
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return 0,
            Err(error) => {
                complain(&format!("Error: {error}"));
                return 1;
            }
        };
        let said = words(line.as_bytes()).unwrap_or_default();
        if !said.is_empty() && !holds_secret(&said) {
            // A line that cannot be kept is no reason to stop.
            let _ = editor.add_history_entry(line.as_str());
            if let Some(path) = &history {
                let _ = editor.append_history(path);
            }
        }
        match line.trim() {
            ":set hints" => hints.set(true),
            ":set nohints" => hints.set(false),
            _ if obey(session, line.as_bytes(), Some(&docs.borrow())) == Next::Quit => return 0,
            _ => {}
        }
        if session.deaf {
            return 1;
        }
    }
}

/// Where typed lines are kept: nowhere without a home.
fn history_file(env: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let named = env("REDISCLI_HISTFILE").filter(|path| !path.is_empty());
    let path = named.map(PathBuf::from).or_else(|| {
        let home = env("HOME").filter(|home| !home.is_empty())?;
        Some(PathBuf::from(home).join(".redvault_history"))
    });
    path.filter(|path| path.as_os_str() != "/dev/null")
}

fn prompt(session: &Session) -> String {
    if session.link.is_none() {
        return "not connected> ".to_owned();
    }
    let mut text = match &session.address {
        Address::Unix(path) => format!("redis {}", path.display()),
        address => address.to_string(),
    };
    if session.db != 0 {
        text.push_str(&format!("[{}]", session.db));
    }
    if session.in_transaction {
        text.push_str("(TX)");
    }
    if session.subscribed {
        text.push_str("(subscribed mode)");
    }
    text.push_str("> ");
    text
}

/// Does what one line says.
fn obey(session: &mut Session, line: &[u8], docs: Option<&Docs>) -> Next {
    let line = line.trim_ascii();
    let Some(mut argv) = words(line) else {
        session.put(b"Invalid argument(s)\n");
        return Next::Line(false);
    };
    let Some(first) = argv.first() else {
        return Next::Line(true);
    };
    if first.starts_with(b":") {
        if line != b":set hints" && line != b":set nohints" {
            let line = String::from_utf8_lossy(line);
            session.put(format!("unknown redis-cli internal command '{line}'\n").as_bytes());
        }
        return Next::Line(true);
    }
    let mut repeat = 1;
    if argv.len() > 1
        && let Some(times) = parse_i64(first)
    {
        if times <= 0 {
            session.put(b"Invalid redis-cli repeat command option value.\n");
            return Next::Line(false);
        }
        repeat = times;
        argv.remove(0);
    }
    if is(&argv, &["quit"]) || is(&argv, &["exit"]) {
        return Next::Quit;
    }
    if is(&argv, &["clear"]) && argv.len() == 1 {
        session.put(b"\x1b[H\x1b[2J");
    } else if is(&argv, &["help"]) || is(&argv, &["?"]) {
        help::run(session, &argv[1..], docs);
    } else if is(&argv, &["connect"]) && argv.len() == 3 {
        return Next::Line(change_server(session, &argv));
    } else {
        let pause = session.options.interval;
        for turn in 0..repeat {
            if turn > 0 && !pause.is_zero() {
                std::thread::sleep(pause);
            }
            let begun = mono_us();
            let good = session.run(&argv);
            let took = mono_us() - begun;
            // Who listened has seen how long it took.
            let listened = is(&argv, &["monitor"]) || messages::is_subscription(&argv);
            if took > SLOW_US && !listened && session.terminal && session.form == Form::Standard {
                session.put(
                    format!("({}.{:02}s)\n", took / 1_000_000, took / 10_000 % 100).as_bytes(),
                );
            }
            if !good && session.link.is_none() || session.deaf {
                return Next::Line(false);
            }
            if !good && turn + 1 == repeat {
                return Next::Line(false);
            }
        }
    }
    Next::Line(true)
}

fn change_server(session: &mut Session, argv: &[Vec<u8>]) -> bool {
    let port = parse_i64(&argv[2]).and_then(|port| u16::try_from(port).ok());
    let Some(port) = port else {
        session.put(b"Invalid server port.\n");
        return false;
    };
    let host = String::from_utf8_lossy(&argv[1]).into_owned();
    session.address = Address::Tcp(host, port);
    session.connect()
}

/// Whether the words hold a password, so that they must not be kept.
fn holds_secret(argv: &[Vec<u8>]) -> bool {
    let argv = match argv {
        // A number of times may stand in front.
        [times, rest @ ..] if parse_i64(times).is_some() => rest,
        argv => argv,
    };
    let later = |names: &[&str]| {
        let mut words = argv.iter().skip(1);
        words.any(|word| {
            names
                .iter()
                .any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
        })
    };
    let settings = [
        "requirepass",
        "masterauth",
        "masteruser",
        "tls-key-file-pass",
        "tls-client-key-file-pass",
    ];
    is(argv, &["auth"])
        || is(argv, &["acl", "setuser"])
        || is(argv, &["acl", "deluser"])
        || is(argv, &["adduser"])
        || is(argv, &["hello"]) && later(&["auth"])
        || is(argv, &["migrate"]) && later(&["auth", "auth2"])
        || is(argv, &["config", "set"]) && later(&settings)
        || is(argv, &["sentinel"]) && later(&["auth-pass", "auth-user", "sentinel-pass"])
}

/// What helps while a line is typed.
struct Assistant {
    docs: Rc<RefCell<Docs>>,
    hints: Rc<Cell<bool>>,
}

/// Shown behind the cursor, and never typed by itself.
struct Shown(String);

impl Hint for Shown {
    fn display(&self) -> &str {
        &self.0
    }

    fn completion(&self) -> Option<&str> {
        None
    }
}

impl Hinter for Assistant {
    type Hint = Shown;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<Shown> {
        let wanted = self.hints.get() && pos == line.len();
        wanted
            .then(|| self.docs.borrow().hint(line).map(Shown))
            .flatten()
    }
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..pos).unwrap_or(line);
        Ok((0, self.docs.borrow().complete(typed)))
    }
}

impl Highlighter for Assistant {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[90m{hint}\x1b[0m"))
    }
}

impl Validator for Assistant {}
impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::cli::options::Options;

    #[test]
    fn passwords_are_not_kept() {
        let secret = |line: &str| holds_secret(&words(line.as_bytes()).expect("sound"));
        for line in [
            "auth x",
            "AUTH u x",
            "2 auth x",
            "hello 3 auth u x",
            "acl setuser u on >x",
            "config set maxmemory 1 requirepass x",
            "migrate h 1 k 0 1 AUTH2 u x",
        ] {
            assert!(secret(line), "{line}");
        }
        for line in [
            "get auth",
            "hello 3",
            "acl list",
            "config get requirepass",
            "set k auth",
        ] {
            assert!(!secret(line), "{line}");
        }
    }

    #[test]
    fn history_lies_at_home_or_where_it_is_told_to() {
        let env = |name: &str, value: &'static str| {
            let name = name.to_owned();
            history_file(move |asked| (asked == name).then(|| value.into()))
        };
        assert_eq!(env("HOME", "/h"), Some("/h/.redvault_history".into()));
        assert_eq!(env("REDISCLI_HISTFILE", "/x"), Some("/x".into()));
        assert_eq!(env("REDISCLI_HISTFILE", "/dev/null"), None);
        assert_eq!(history_file(|_| None), None);
    }

    #[test]
    fn the_prompt_tells_where_one_is() {
        let mut session = Session::new(Options::default());
        assert_eq!(prompt(&session), "not connected> ");
        let (server, client) = std::os::unix::net::UnixStream::pair().expect("a pair");
        drop(server);
        session.link = Some(crate::tools::link::Link::over(client));
        (session.db, session.in_transaction) = (2, true);
        assert_eq!(prompt(&session), "127.0.0.1:6379[2](TX)> ");
        session.address = Address::Unix("/s".into());
        (session.db, session.in_transaction, session.subscribed) = (0, false, true);
        assert_eq!(prompt(&session), "redis /s(subscribed mode)> ");
    }
}
