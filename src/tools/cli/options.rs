//! The command line of `redvault cli`: redis-cli's options, to the letter where both have one.
//!
//! Options come first; the first argument that is none begins the command, and everything behind is the command's.
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use super::print::Form;
use crate::base::num::{parse_f64, parse_i64};
use crate::resp::argv::Span;
use crate::resp::words::split_words;
use crate::tools::link::{Address, Tls};

/// What a run of the client is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// The command of the command line, or the prompt where there is none.
    Commands,
    /// Print every key.
    Scan,
    /// Pass requests through from standard input.
    Pipe,
    /// Sample how long a PING takes.
    Latency,
    /// A line of figures every so often.
    Stat,
    /// The largest keys of each type, by elements or by memory.
    Largest { by_memory: bool },
    /// Print what a replica is told.
    Replica,
    /// Fetch a snapshot, as a replica does.
    Snapshot { file: PathBuf, functions_only: bool },
}

/// What of a command is read from standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromInput {
    /// The last argument.
    Last,
    /// The argument that is this tag.
    Tag(Vec<u8>),
}

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Options {
    pub address: Address,
    /// To speak TLS, and how.
    pub tls: Option<Tls>,
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    /// The password stands on the command line, for everybody to see.
    pub warn_of_password: bool,
    pub ask_password: bool,
    pub db: i64,
    /// RESP 2 or 3, if one is asked for.
    pub protocol: Option<u8>,
    /// Without one, it depends on the terminal.
    pub form: Option<Form>,
    /// Between the texts of a reply in the raw form, and behind a reply.
    pub between: Vec<u8>,
    pub behind: Vec<u8>,
    pub show_pushes: Option<bool>,
    /// Times that the command is run; below zero, for ever.
    pub repeat: i64,
    pub interval: Duration,
    pub from_input: Option<FromInput>,
    /// An error reply ends the run, with code 1.
    pub fail_on_error: bool,
    /// Follow MOVED and ASK.
    pub cluster: bool,
    pub script: Option<PathBuf>,
    pub pattern: Option<Vec<u8>>,
    pub pipe_timeout_s: u64,
    pub memory_samples: i64,
    pub work: Work,
    pub command: Vec<Vec<u8>>,
}

/// What ends the program instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instead {
    Usage,
    Version,
    /// A text for standard error; ends with 1.
    Complaint(String),
    /// The same for standard output, where redis-cli says this.
    BadQuotes,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            address: Address::Tcp("127.0.0.1".to_owned(), 6379),
            tls: None,
            user: None,
            password: None,
            warn_of_password: false,
            ask_password: false,
            db: 0,
            protocol: None,
            form: None,
            between: b"\n".to_vec(),
            behind: b"\n".to_vec(),
            show_pushes: None,
            repeat: 1,
            interval: Duration::ZERO,
            from_input: None,
            fail_on_error: false,
            cluster: false,
            script: None,
            pattern: None,
            pipe_timeout_s: 30,
            memory_samples: 0,
            work: Work::Commands,
            command: Vec::new(),
        }
    }
}

impl Options {
    /// The protocol to ask for, if not the one that a connection begins with.
    pub fn wants_resp3(&self) -> bool {
        let json = matches!(self.form, Some(Form::Json | Form::QuotedJson));
        self.protocol.map_or(json, |version| version == 3)
    }
}

/// Options of redis-cli that this one does not have, with what to do instead.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &[
            "--cluster",
            "--ldb",
            "--ldb-sync-mode",
            "--lru-test",
            "--hotkeys",
            "--intrinsic-latency",
        ],
        "use redis-cli for it",
    ),
    (
        &["--latency-history", "--latency-dist"],
        "use --latency, or LATENCY HISTOGRAM of the server",
    ),
];

/// Reads the arguments behind the program's (or the tool's) name; the environment may hold a password.
pub fn parse(
    args: &[OsString],
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Options, Instead> {
    let mut options = Options {
        password: env("REDISCLI_AUTH").map(|password| password.as_bytes().to_vec()),
        ..Options::default()
    };
    let (mut host, mut port, mut socket) = ("127.0.0.1".to_owned(), 6379, None);
    let (mut secure, mut tls) = (false, Tls::default());
    let (mut quoted_input, mut warn, mut last, mut tag) = (false, true, false, None);
    let mut args = args;
    while let Some((name, rest)) = args.split_first() {
        if !name.as_bytes().starts_with(b"-") {
            break;
        }
        let bad = || {
            let name = name.to_string_lossy();
            Instead::Complaint(format!(
                "Unrecognized option or bad number of args for: '{name}'\n"
            ))
        };
        let name = name.to_str().ok_or_else(bad)?;
        if let Some((_, why)) = ELSEWHERE.iter().find(|(names, _)| names.contains(&name)) {
            return Err(Instead::Complaint(format!("{name}: {why}\n")));
        }
        args = rest;
        if flag(&mut options, name) {
            continue;
        }
        match name {
            "--tls" => secure = true,
            "--insecure" => tls.setup.insecure = true,
            "--quoted-input" => quoted_input = true,
            "-x" => last = true,
            "--help" => return Err(Instead::Usage),
            "-h" if rest.is_empty() => return Err(Instead::Usage),
            "-v" | "--version" => return Err(Instead::Version),
            "--no-auth-warning" => warn = false,
            "--verbose" => {}
            _ => {
                let (value, rest) = rest.split_first().ok_or_else(bad)?;
                args = rest;
                let text = value.to_string_lossy();
                match name {
                    "-h" => text.as_ref().clone_into(&mut host),
                    "-p" => {
                        port = text
                            .parse()
                            .map_err(|_| Instead::Complaint("Invalid server port.\n".to_owned()))?;
                    }
                    "-X" => tag = Some(value.as_bytes().to_vec()),
                    "-s" => socket = Some(PathBuf::from(value)),
                    "-u" => {
                        secure |= uri(value.as_bytes(), &mut options, &mut host, &mut port)?;
                    }
                    _ if of_tls(&mut tls, name, value) => {}
                    _ => with_value(&mut options, name, value).ok_or_else(bad)?,
                }
            }
        }
    }
    options.address = match socket {
        Some(path) => Address::Unix(path),
        None => Address::Tcp(host, port),
    };
    options.tls = secure.then_some(tls);
    options.warn_of_password &= warn;
    options.from_input = match (last, tag) {
        (true, Some(_)) => {
            let text = "Options -x and -X are mutually exclusive.\n";
            return Err(Instead::Complaint(text.to_owned()));
        }
        (true, None) => Some(FromInput::Last),
        (false, tag) => tag.map(FromInput::Tag),
    };
    options.command = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    if quoted_input {
        for arg in &mut options.command {
            *arg = unquoted(arg).ok_or(Instead::BadQuotes)?;
        }
    }
    Ok(options)
}

/// Options that stand alone; false for all others.
fn flag(options: &mut Options, name: &str) -> bool {
    match name {
        "-2" => options.protocol = Some(2),
        "-3" => options.protocol = Some(3),
        "-c" => options.cluster = true,
        "-e" => options.fail_on_error = true,
        "--raw" => options.form = Some(Form::Raw),
        "--no-raw" => options.form = Some(Form::Standard),
        "--csv" => options.form = Some(Form::Csv),
        "--json" => options.form = Some(Form::Json),
        "--quoted-json" => options.form = Some(Form::QuotedJson),
        "--askpass" => options.ask_password = true,
        "--replica" | "--slave" => options.work = Work::Replica,
        "--scan" => options.work = Work::Scan,
        "--pipe" => options.work = Work::Pipe,
        "--latency" => options.work = Work::Latency,
        "--stat" => options.work = Work::Stat,
        "--bigkeys" => options.work = Work::Largest { by_memory: false },
        "--memkeys" => options.work = Work::Largest { by_memory: true },
        _ => return false,
    }
    true
}

/// Options that take a value.
fn with_value(options: &mut Options, name: &str, value: &OsStr) -> Option<()> {
    let bytes = value.as_bytes();
    match name {
        "-a" | "--pass" => {
            options.password = Some(bytes.to_vec());
            options.warn_of_password = true;
        }
        "--user" => options.user = Some(bytes.to_vec()),
        "-n" => options.db = parse_i64(bytes)?,
        "-r" => options.repeat = parse_i64(bytes)?,
        "-i" => {
            let seconds = parse_f64(bytes).filter(|seconds| *seconds >= 0.0)?;
            options.interval = Duration::try_from_secs_f64(seconds).ok()?;
        }
        "-d" => options.between = bytes.to_vec(),
        "-D" => options.behind = bytes.to_vec(),
        "--show-pushes" => {
            options.show_pushes = Some(bytes.first().is_some_and(|b| b"yY".contains(b)));
        }
        "--pattern" => options.pattern = Some(bytes.to_vec()),
        "--quoted-pattern" => options.pattern = Some(unquoted(bytes)?),
        "--eval" => options.script = Some(PathBuf::from(value)),
        "--rdb" | "--functions-rdb" => {
            options.work = Work::Snapshot {
                file: PathBuf::from(value),
                functions_only: name == "--functions-rdb",
            };
        }
        "--pipe-timeout" => options.pipe_timeout_s = u64::try_from(parse_i64(bytes)?).ok()?,
        "--memkeys-samples" => {
            options.work = Work::Largest { by_memory: true };
            options.memory_samples = parse_i64(bytes)?;
        }
        _ => return None,
    }
    Some(())
}

/// Options that say how TLS is spoken; false for all others.
pub fn of_tls(tls: &mut Tls, name: &str, value: &OsStr) -> bool {
    let path = || Some(PathBuf::from(value));
    let text = || Some(value.as_bytes().to_vec());
    match name {
        "--sni" => tls.name = Some(value.to_string_lossy().into_owned()),
        "--cacert" => tls.setup.authorities.file = path(),
        "--cacertdir" => tls.setup.authorities.dir = path(),
        "--cert" => tls.setup.identity.cert = path(),
        "--key" => tls.setup.identity.key = path(),
        "--tls-ciphers" => tls.setup.ciphers.ciphers = text(),
        "--tls-ciphersuites" => tls.setup.ciphers.ciphersuites = text(),
        _ => return false,
    }
    true
}

/// What stands in quotes, or the text as it is.
fn unquoted(text: &[u8]) -> Option<Vec<u8>> {
    if !text.starts_with(b"\"") && !text.starts_with(b"'") {
        return Some(text.to_vec());
    }
    match words(text)?.as_mut_slice() {
        [word] => Some(std::mem::take(word)),
        _ => None,
    }
}

/// The words of a line; `None` for quotes that do not end.
pub fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut line, mut spans) = (line.to_vec(), Vec::new());
    split_words(&mut line, 0, &mut spans)?;
    let word = |span: &Span| {
        let at = span.at as usize;
        line[at..at + span.len as usize].to_vec()
    };
    Some(spans.iter().map(word).collect())
}

/// `redis://[[user]:password@]host[:port][/db]`; a name without a colon in front of the `@` is a password. True
/// where the scheme asks for TLS.
fn uri(
    uri: &[u8],
    options: &mut Options,
    host: &mut String,
    port: &mut u16,
) -> Result<bool, Instead> {
    let complaint = |text: &str| Instead::Complaint(format!("{text}\n"));
    let uri = String::from_utf8_lossy(uri);
    let (secure, rest) = match uri.split_once("://") {
        Some(("redis" | "valkey", rest)) => (false, rest),
        Some(("rediss" | "valkeys", rest)) => (true, rest),
        _ => return Err(complaint("Invalid URI scheme")),
    };
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut place = place;
    if let Some((who, after)) = place.rsplit_once('@') {
        place = after;
        let (user, password) = who.split_once(':').unwrap_or(("", who));
        options.user = (!user.is_empty()).then(|| percent(user));
        options.password = Some(percent(password));
        options.warn_of_password = true;
    }
    // In brackets an address of IPv6, whose colons are no port's.
    let (name, number) = match place
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((name, rest)) => (name, rest.strip_prefix(':')),
        None => match place.split_once(':') {
            Some((name, number)) => (name, Some(number)),
            None => (place, None),
        },
    };
    if !name.is_empty() {
        name.clone_into(host);
    }
    if let Some(number) = number {
        *port = number
            .parse()
            .map_err(|_| complaint("Invalid server port."))?;
    }
    if !path.is_empty() {
        let db = path.split('?').next().unwrap_or_default();
        options.db =
            parse_i64(db.as_bytes()).ok_or_else(|| complaint("Invalid database number in URI"))?;
    }
    Ok(secure)
}

/// `%41` is a byte.
fn percent(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Options, Instead> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        parse(&args, |_| None)
    }

    fn complaint(args: &[&str]) -> String {
        match parsed(args) {
            Err(Instead::Complaint(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let options = parsed(&["-p", "7", "-n", "2", "-r", "-1", "--raw", "set", "-n", "3"]);
        let options = options.expect("sound");
        assert_eq!(options.address, Address::Tcp("127.0.0.1".to_owned(), 7));
        assert_eq!((options.db, options.repeat), (2, -1));
        assert_eq!(options.form, Some(Form::Raw));
        assert_eq!(options.command, [&b"set"[..], b"-n", b"3"]);
        let socket = parsed(&["-s", "/x", "-h", "y"]).expect("sound");
        assert_eq!(socket.address, Address::Unix("/x".into()));
    }

    #[test]
    fn what_is_wrong_is_said_as_redis_cli_says_it() {
        for args in [
            &["--bogus"][..],
            &["-p"],
            &["-X"],
            &["-", "ping"],
            &["-n"],
            &["-n", "x"],
        ] {
            let name = args[0];
            let text = "Unrecognized option or bad number of args for:";
            assert_eq!(complaint(args), format!("{text} '{name}'\n"));
        }
        let both = complaint(&["-x", "-X", "t", "get"]);
        assert_eq!(both, "Options -x and -X are mutually exclusive.\n");
        assert_eq!(complaint(&["-u", "http://x"]), "Invalid URI scheme\n");
        for arg in ["\"un", "\"a\" \"b\""] {
            let bad = parsed(&["--quoted-input", "set", arg]);
            assert_eq!(bad.err(), Some(Instead::BadQuotes));
        }
    }

    #[test]
    fn tls_is_asked_for_by_option_or_scheme() {
        assert!(parsed(&["--cacert", "x"]).expect("sound").tls.is_none());
        let tls = parsed(&["--tls", "--cacert", "x", "--sni", "h", "--insecure"]);
        let tls = tls.expect("sound").tls.expect("asked for");
        assert_eq!(tls.setup.authorities.file, Some(PathBuf::from("x")));
        assert_eq!((tls.name.as_deref(), tls.setup.insecure), (Some("h"), true));
        let by_scheme = parsed(&["-u", "rediss://h:7"]).expect("sound");
        assert_eq!(by_scheme.address, Address::Tcp("h".to_owned(), 7));
        assert!(by_scheme.tls.is_some());
        assert!(complaint(&["--cert"]).contains("--cert"));
    }

    #[test]
    fn a_uri_tells_everything() {
        let options = parsed(&["-u", "redis://me:p%40ss:w@[::1]:7/3", "ping"]).expect("sound");
        assert_eq!(options.address, Address::Tcp("::1".to_owned(), 7));
        assert_eq!(options.user.as_deref(), Some(&b"me"[..]));
        assert_eq!(options.password.as_deref(), Some(&b"p@ss:w"[..]));
        assert_eq!((options.db, options.warn_of_password), (3, true));
        let quiet = parsed(&["--no-auth-warning", "-u", "redis://pw@h"]).expect("sound");
        assert_eq!(quiet.password.as_deref(), Some(&b"pw"[..]));
        assert_eq!((quiet.user, quiet.warn_of_password), (None, false));
    }

    #[test]
    fn quoted_input_is_unquoted() {
        let options = parsed(&["--quoted-input", "set", "\"\\x41\"", "b\"c"]).expect("sound");
        assert_eq!(options.command, [&b"set"[..], b"A", b"b\"c"]);
        assert_eq!(
            words(b"a \"b c\""),
            Some(vec![b"a".to_vec(), b"b c".to_vec()])
        );
        assert_eq!(words(b"a \"b"), None);
    }
}
