//! The command line: turned into configuration text, because every directive can stand on it.
//!
//! `redvault [FILE] [--name value ...] [-]` follows redis-server's rules to the letter (scripts, service files and
//! tests of half the world rely on them). Only what comes first and is not a directive (`--help`, `--version`,
//! `--check-config`, ...) is given to clap. Nothing here starts or prints anything: the caller does what it is told.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::base::{alloc, sys};
use crate::state::config::file::{self, split_words};
use crate::state::config::setting::quoted;
use crate::state::config::{Config, Directive, LoadError, Lookups, REDIS_VERSION};
use crate::tools::command_line::{self, Tool};

/// What the command line asks for.
#[derive(Debug)]
pub enum Request {
    /// Run the server.
    Serve(Launch),
    /// Work on files, without a server.
    Tool(Tool),
    /// Check a configuration file and say what is wrong with it.
    CheckConfig(PathBuf),
    /// Print something and end.
    Print(Answer),
}

/// Text to print before the process ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text, complete with its last newline.
    pub text: String,
    /// Where it goes: standard error if true.
    pub to_stderr: bool,
    /// The process's exit code.
    pub code: i32,
}

/// Where the configuration comes from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Launch {
    /// The configuration file, as an absolute path.
    pub file: Option<PathBuf>,
    /// Whether standard input follows the file.
    pub stdin: bool,
    /// The arguments as lines of a configuration file; they come last and win.
    pub arguments: Vec<u8>,
}

impl Launch {
    /// Everything that was given, in the order in which it holds: file, standard input, arguments.
    pub fn text(&self, stdin: &mut dyn Read) -> Result<Vec<u8>, LoadError> {
        let mut text = match &self.file {
            Some(path) => file::read(path)?,
            None => Vec::new(),
        };
        if self.stdin {
            if !text.is_empty() && !text.ends_with(b"\n") {
                text.push(b'\n');
            }
            let read = stdin.read_to_end(&mut text);
            read.map_err(|error| open_error(Path::new("-"), &error))?;
        }
        text.push(b'\n');
        text.extend_from_slice(&self.arguments);
        Ok(text)
    }

    /// The configuration that holds at the start.
    pub fn configure(
        &self,
        stdin: &mut dyn Read,
        lookups: Lookups<'_>,
    ) -> Result<Config, LoadError> {
        let mut config = Config::default();
        file::load(&mut config, &self.text(stdin)?, lookups)?;
        check_logfile(&config)?;
        Ok(config)
    }
}

fn open_error(path: &Path, error: &io::Error) -> LoadError {
    LoadError::Open {
        path: path.to_owned(),
        reason: file::errno_text(error),
    }
}

/// A log that cannot be written must be noticed while somebody still looks at the terminal.
fn check_logfile(config: &Config) -> Result<(), LoadError> {
    if config.logfile.is_empty() {
        return Ok(());
    }
    let path = config.dir.0.join(OsStr::from_bytes(&config.logfile));
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path);
    match opened {
        Ok(_) => Ok(()),
        Err(error) => Err(LoadError::Whole {
            reason: format!("Can't open the log file: {}", file::errno_text(&error)),
        }),
    }
}

/// Reads a command line, with the program's name first.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Request {
    let args: Vec<OsString> = args.into_iter().collect();
    let program = args.first().map(OsString::as_os_str).unwrap_or_default();
    let rest = args.get(1..).unwrap_or_default();
    // First: a tool's arguments are its own, whatever they are called.
    if let Some(tool) = command_line::parse(program, rest) {
        return Request::Tool(tool);
    }
    if is_sentinel(program) || rest.iter().any(|arg| arg == "--sentinel") {
        return Request::Print(Answer {
            text:
                "RedVault has no Sentinel mode of its own. Run redis-sentinel or valkey-sentinel: \
                   both watch RedVault as they watch Redis.\n"
                    .to_owned(),
            to_stderr: true,
            code: 1,
        });
    }
    match rest.first() {
        Some(first) if is_for_clap(first) => match command().try_get_matches_from(&args) {
            Ok(matches) => tool(&matches),
            Err(error) => Request::Print(Answer {
                text: error.render().to_string(),
                to_stderr: true,
                code: 1,
            }),
        },
        _ => Request::Serve(launch(rest)),
    }
}

fn is_sentinel(program: &OsStr) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default();
    name.as_bytes()
        .windows(14)
        .any(|part| part == b"redis-sentinel")
}

/// What comes first and is no directive. Everything else is a file or a directive, known or not.
fn is_for_clap(arg: &OsStr) -> bool {
    let Some(arg) = arg.to_str() else {
        return false;
    };
    command().get_arguments().any(|known| {
        known
            .get_long()
            .is_some_and(|long| arg.strip_prefix("--") == Some(long))
            || known
                .get_short()
                .is_some_and(|short| arg.strip_prefix('-') == Some(short.encode_utf8(&mut [0; 4])))
    })
}

fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("redvault")
        .about("An in-memory data server: a drop-in for redis-server")
        .override_usage(
            "redvault [FILE] [--directive value ...] [-]\n       redvault OPTION\n       redvault TOOL ...",
        )
        .after_help(format!(
            "Tools:\n{}\n\
             FILE is a redis.conf; any of its directives may follow as an argument and wins over the file.\n\
             A - as the first or last argument reads more directives from standard input.\n\n\
             Examples:\n  \
             redvault                                    built-in defaults\n  \
             redvault redvault.conf                      a file\n  \
             redvault --port 7777 --maxmemory 1gb        directives\n  \
             redvault redvault.conf --loglevel verbose   both\n  \
             echo 'maxmemory 128mb' | redvault -         standard input",
            tools()
        ))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .arg(flag("help").short('h').help("Show this text"))
        .arg(flag("version").short('v').help("Show the version"))
        .arg(
            Arg::new("check-config")
                .long("check-config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Check a configuration file, starting nothing"),
        )
        .arg(flag("check-system").help("Check the system's settings"))
        .arg(
            Arg::new("test-memory")
                .long("test-memory")
                .value_name("MEGABYTES")
                .help("Known to redis-server; use memtester instead"),
        )
        .arg(Arg::new("rest").num_args(0..).hide(true))
}

/// The tools, a line each.
fn tools() -> String {
    let lines = command_line::NAMES.map(|(name, what)| format!("  {name}\n      {what}\n"));
    lines.concat()
}

fn tool(matches: &ArgMatches) -> Request {
    if let Some(path) = matches.get_one::<PathBuf>("check-config") {
        return Request::CheckConfig(path.clone());
    }
    let answer = |text: String, to_stderr, code| {
        Request::Print(Answer {
            text,
            to_stderr,
            code,
        })
    };
    if matches.get_flag("version") {
        return answer(version_line(), false, 0);
    }
    if matches.get_flag("check-system") {
        return Request::Print(check_system());
    }
    if matches.contains_id("test-memory") {
        let text =
            "RedVault does not test memory. Use memtester, or memtest86+ from a boot medium.\n";
        return answer(text.to_owned(), true, 1);
    }
    // Where redis-server prints its usage, and with its exit code.
    answer(command().render_help().to_string(), true, 1)
}

/// The answer to `--version`, in redis-server's shape: tools take the number behind `v=`.
pub fn version_line() -> String {
    format!(
        "Redis server v={REDIS_VERSION} sha=00000000:0 malloc={} bits=64 build={:x} redvault={}\n",
        allocator(),
        build_id(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The allocator with its version, as `--version` and INFO name it.
pub fn allocator() -> String {
    let version = alloc::ctl_read_str("version").unwrap_or_default();
    // Behind the first dash stands where jemalloc's source was taken from.
    format!("jemalloc-{}", version.split('-').next().unwrap_or_default())
}

/// A number that tells builds of different versions apart (INFO's `redis_build_id`).
pub fn build_id() -> u64 {
    // FNV-1a: nothing depends on it but being the same for the same text.
    concat!(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Looks at the settings of the system that a server of this kind suffers from.
fn check_system() -> Answer {
    let mut text = String::new();
    let mut code = 0;
    let mut check = |name: &str, fault: Option<&str>| match fault {
        None => text.push_str(&format!("[{name}]...OK\n")),
        Some(fault) => {
            code = 1;
            text.push_str(&format!("[{name}]...WARNING:\n{fault}\n"));
        }
    };
    let strict = sys::overcommit_memory().is_some_and(|mode| mode != 1);
    check(
        "overcommit",
        strict.then_some(
            "Memory overcommit is off, so a snapshot may fail for lack of memory that it would never use. \
             Run 'sysctl vm.overcommit_memory=1' and put vm.overcommit_memory = 1 into /etc/sysctl.conf.",
        ),
    );
    check(
        "THP",
        sys::thp_is_always().then_some(
            "Transparent huge pages are always on, which makes a snapshot copy more memory than it must. \
             Run 'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled'.",
        ),
    );
    Answer {
        text,
        to_stderr: false,
        code,
    }
}

/// Checks one file by itself, as `--check-config` does.
pub fn check_config(path: &Path, lookups: Lookups<'_>) -> Answer {
    let mut config = Config::default();
    let loaded = file::read(path).and_then(|text| file::load(&mut config, &text, lookups));
    match loaded {
        Err(error) => Answer {
            text: format!("{}\n", error.to_string().trim_matches('\n')),
            to_stderr: true,
            code: 1,
        },
        Ok(()) => {
            let mut text = format!("{}: no fault found\n", path.display());
            for (directive, reason) in config.without_effect() {
                text.push_str(&format!("{} has no effect: {reason}\n", directive.name));
            }
            Answer {
                text,
                to_stderr: false,
                code: 0,
            }
        }
    }
}

/// Splits the arguments of a server start into file, standard input and directives.
fn launch(args: &[OsString]) -> Launch {
    let mut launch = Launch::default();
    let mut args = args;
    if let [first, rest @ ..] = args
        && !first.as_bytes().starts_with(b"-")
    {
        launch.file = Some(absolute(Path::new(first)));
        args = rest;
    }
    if let [first, rest @ ..] = args
        && first == "-"
    {
        launch.stdin = true;
        args = rest;
    }
    if let [rest @ .., last] = args
        && last == "-"
    {
        launch.stdin = true;
        args = rest;
    }
    launch.arguments = argument_lines(args);
    launch
}

fn absolute(path: &Path) -> PathBuf {
    // Without a working directory nothing but the path as it is can be tried.
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Turns `--name value value --name value` into lines. A directive's name is followed by all arguments up to the
/// next one that starts with `--`; but directly behind a name even that is a value, except behind `--save`.
fn argument_lines(args: &[OsString]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut value_follows = false;
    for (at, arg) in args.iter().enumerate() {
        let arg = arg.as_bytes();
        let Some(body) = arg.strip_prefix(b"--").filter(|_| !value_follows) else {
            text.extend_from_slice(&quoted(arg));
            text.push(b' ');
            value_follows = false;
            continue;
        };
        if !text.is_empty() {
            text.push(b'\n');
        }
        if let Some((name, value)) = name_and_value(body) {
            text.extend_from_slice(name);
            text.push(b' ');
            text.extend_from_slice(&quoted(value));
            continue;
        }
        text.extend_from_slice(match body {
            b"filename" => b"dbfilename",
            other => other,
        });
        text.push(b' ');
        // `"--port 6380"` in one argument already has its value.
        value_follows = split_words(arg).is_some_and(|words| words.len() == 1);
        let next_is_name = args
            .get(at + 1)
            .is_none_or(|next| next.as_bytes().starts_with(b"--"));
        if value_follows && next_is_name && body.eq_ignore_ascii_case(b"save") {
            text.extend_from_slice(b"\"\"");
            value_follows = false;
        }
    }
    text
}

/// Takes `name=value` apart, where there is such a directive.
fn name_and_value(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = body.iter().position(|byte| *byte == b'=')?;
    let name = &body[..at];
    Directive::find(name).map(|_| (name, &body[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(args: &[&str]) -> Request {
        parse(
            std::iter::once("redvault")
                .chain(args.iter().copied())
                .map(OsString::from),
        )
    }

    fn served(args: &[&str]) -> Launch {
        match request(args) {
            Request::Serve(launch) => launch,
            other => panic!("{other:?}"),
        }
    }

    fn lines(args: &[&str]) -> Vec<String> {
        let text = String::from_utf8(served(args).arguments).expect("the tests write text");
        text.lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    /// The line and the reason that the server stops with.
    fn fault(args: &[&str]) -> String {
        let outcome = served(args).configure(&mut io::empty(), Lookups::ANY);
        match outcome.err().expect("the arguments are wrong") {
            LoadError::Line { line, reason, .. } => {
                format!("{}: {reason}", String::from_utf8_lossy(&line))
            }
            other => other.to_string(),
        }
    }

    fn configured(args: &[&str]) -> Config {
        let outcome = served(args).configure(&mut io::empty(), Lookups::ANY);
        outcome.unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn names_and_values_become_lines() {
        assert_eq!(
            lines(&["--port", "6380", "--save", "900", "1"]),
            [r#"port "6380""#, r#"save "900" "1""#]
        );
        assert_eq!(
            lines(&["--port 6380", "--loglevel  debug"]),
            ["port 6380", "loglevel  debug"]
        );
        assert_eq!(
            lines(&["--save", "--loglevel", "verbose"]),
            [r#"save """#, r#"loglevel "verbose""#]
        );
        assert_eq!(
            lines(&["--loglevel", "verbose", "--save"]),
            [r#"loglevel "verbose""#, r#"save """#]
        );
        assert_eq!(
            lines(&["--save", "", "--hz", "1"]),
            [r#"save """#, r#"hz "1""#]
        );
        assert_eq!(
            lines(&["--proc-title-template", "--save", "--save", "", "--hz", "2"]),
            [r#"proc-title-template "--save""#, r#"save """#, r#"hz "2""#]
        );
        assert_eq!(
            lines(&["--", "--zzz"]),
            [r#""--zzz""#].map(|l| format!(" {l}"))
        );
        assert_eq!(lines(&["--filename", "x"]), [r#"dbfilename "x""#]);
        assert_eq!(
            lines(&["--requirepass=a=b", "--x=1"]),
            [r#"requirepass "a=b""#, "x=1"]
        );
        assert_eq!(
            lines(&["--requirepass", "a\nhz 1\""]),
            [r#"requirepass "a\nhz 1\"""#]
        );
    }

    #[test]
    fn faults_name_the_line() {
        assert_eq!(fault(&["--port"]), "port: wrong number of arguments");
        assert_eq!(
            fault(&["--port", "6380", "--loglevel"]),
            "loglevel: wrong number of arguments"
        );
        assert_eq!(
            fault(&["--port", "6379", "6380"]),
            r#"port "6379" "6380": wrong number of arguments"#
        );
        assert_eq!(
            fault(&["--port", "--loglevel", "verbose"]),
            r#"port "--loglevel" "verbose": wrong number of arguments"#
        );
        assert_eq!(
            fault(&["--port", "--bla", "--loglevel", "verbose"]),
            r#"port "--bla": argument couldn't be parsed into an integer"#
        );
        let words = "argument(s) must be one of the following: default, save, nosave, now, force";
        assert_eq!(
            fault(&["--shutdown-on-sigint"]),
            format!("shutdown-on-sigint: {words}")
        );
        assert_eq!(
            fault(&["--shutdown-on-sigint", "now force", "--shutdown-on-sigterm"]),
            format!("shutdown-on-sigterm: {words}")
        );
        assert_eq!(
            fault(&["--replicaof", "--127.0.0.1", "abc"]),
            r#"replicaof "--127.0.0.1" "abc": Invalid master port"#
        );
        assert_eq!(
            fault(&["--replicaof", "--127.0.0.1", "--abc"]),
            r#"replicaof "--127.0.0.1": wrong number of arguments"#
        );
        assert_eq!(
            fault(&["-x"]),
            r#""-x": Bad directive or wrong number of arguments"#
        );
    }

    #[test]
    fn file_then_input_then_arguments() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("r.conf");
        std::fs::write(&path, "hz 20\ntimeout 1\ndatabases 2").expect("written");
        let path = path.to_str().expect("text");
        let launch = served(&[
            path,
            "loglevel",
            "verbose",
            "--maxmemory '700mb'",
            "--hz",
            "40",
            "-",
        ]);
        assert_eq!(launch.file.as_deref(), Some(Path::new(path)));
        let config = launch.configure(&mut &b"hz 30\ntimeout 2\n"[..], Lookups::ANY);
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((config.hz, config.timeout, config.databases), (40, 2, 2));
        assert_eq!(
            (config.maxmemory, config.loglevel.word()),
            (734_003_200, "verbose")
        );

        assert!(served(&["-", "--hz", "1"]).stdin);
        assert!(!served(&["--hz", "1"]).stdin);
        let none = served(&["/nofile", "--zzz"]).configure(&mut io::empty(), Lookups::ANY);
        assert_eq!(
            none.err().expect("no such file").to_string(),
            "Fatal error, can't open config file '/nofile': No such file or directory"
        );
    }

    #[test]
    fn several_words_in_one_or_many_arguments() {
        let config = configured(&[
            "--shutdown-on-sigint",
            "nosave",
            "force",
            "now",
            "--shutdown-on-sigterm",
            "nosave force",
        ]);
        assert_eq!(config.shutdown_on_sigint.0, 0b1110);
        assert_eq!(config.shutdown_on_sigterm.0, 0b1010);
        assert!(configured(&["--save", ""]).save.points.is_empty());
        assert_eq!(
            configured(&["--bind", "127.0.0.1", "::1"]).bind.0,
            ["127.0.0.1", "::1"]
        );
    }

    #[test]
    fn a_log_that_cannot_be_opened_stops_the_start() {
        assert_eq!(
            fault(&["--logfile", "/none/x"]),
            format!(
                "\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n\
                 Can't open the log file: No such file or directory\n"
            )
        );
    }

    #[test]
    fn what_comes_first_may_be_no_directive() {
        let printed = |args: &[&str]| match request(args) {
            Request::Print(answer) => answer,
            other => panic!("{other:?}"),
        };
        command().debug_assert();
        for arg in ["-v", "--version"] {
            let answer = printed(&[arg]);
            assert!(
                answer
                    .text
                    .starts_with("Redis server v=7.2.4 sha=00000000:0 malloc=jemalloc-")
            );
            assert_eq!((answer.to_stderr, answer.code), (false, 0));
        }
        let help = printed(&["--help"]);
        assert!(help.text.contains("redvault [FILE]") && help.to_stderr && help.code == 1);
        assert!(printed(&["--sentinel"]).text.contains("redis-sentinel"));
        assert!(
            printed(&["--check-system"])
                .text
                .starts_with("[overcommit]...")
        );
        assert_eq!(printed(&["--test-memory", "5"]).code, 1);
        assert_eq!(printed(&["--check-config"]).code, 1);
        assert!(
            matches!(request(&["--check-config", "x"]), Request::CheckConfig(path) if path == Path::new("x"))
        );
    }

    #[test]
    fn a_file_is_checked_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("r.conf");
        std::fs::write(&path, "io-threads 4\nio-threads-do-reads no\n").expect("written");
        let answer = check_config(&path, Lookups::ANY);
        assert_eq!(answer.code, 0);
        let notes: Vec<&str> = answer.text.lines().skip(1).collect();
        assert_eq!(
            notes,
            ["io-threads has no effect: one thread serves every connection"]
        );
        std::fs::write(&path, "zzz\n").expect("written");
        assert_eq!(check_config(&path, Lookups::ANY).code, 1);
    }
}
