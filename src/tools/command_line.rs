//! What the tools are asked for: `redvault check-rdb ...`, or the program under the name `redis-check-rdb`.
//!
//! The two checks take their arguments as Redis's do, to the exit code; `recover` is ours.
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use super::check_aof::{self, Cut};
use super::check_rdb;
use super::cli;
use super::console::Console;
use super::ping;
use super::recover::{self, Order};
use super::time;
use crate::base::clock::Clock;
use crate::base::disk::RealDisk;
use crate::base::rng::Rng;
use crate::state::State;
use crate::state::config::{Config, REDIS_VERSION};
use crate::types::saved::Loading;

/// A tool's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tool {
    CheckRdb(PathBuf),
    CheckAof(PathBuf, Cut),
    Recover(Order),
    /// The client, with its arguments.
    Cli(Vec<OsString>),
    Ping(ping::Order),
    /// Something to print before the process ends.
    Say {
        text: String,
        to_stderr: bool,
        code: i32,
    },
}

const CHECK_RDB: &str = "check-rdb";
const CHECK_AOF: &str = "check-aof";
const RECOVER: &str = "recover";
const CLI: &str = "cli";
const PING: &str = "ping";

/// The tools that can stand as the first argument, with what each is for.
pub const NAMES: [(&str, &str); 5] = [
    ("check-rdb FILE", "check an RDB file"),
    (
        "check-aof [--fix | --truncate-to-timestamp SECONDS] FILE",
        "check an AOF file, or all files of a manifest",
    ),
    (
        "recover --dir DIR (--to TIME | --before COMMAND) [--out DIR]",
        "write the data set as it was then, from the AOF",
    ),
    (
        "cli [-h HOST] [-p PORT] [-a PASSWORD] [-n DB] ... [COMMAND ...]",
        "send a command, or ask for commands at a prompt; cli --help tells all options",
    ),
    (
        "ping [-h HOST] [-p PORT] [-s SOCKET] [-a PASSWORD] [-t SECONDS]",
        "ask whether a server serves: exit code 0 if it does, else 1",
    ),
];

/// The tool that a command line asks for, if it asks for one; `args` come behind the program's name.
pub fn parse(program: &OsStr, args: &[OsString]) -> Option<Tool> {
    let program = Path::new(program).file_name().unwrap_or_default();
    let is = |name: &str| {
        let name = [b"-", name.as_bytes()].concat();
        program
            .as_bytes()
            .windows(name.len())
            .any(|part| part == name)
    };
    let named = |default: &str| program.to_str().unwrap_or(default).to_owned();
    if is(CHECK_RDB) {
        return Some(parse_check_rdb(&named(CHECK_RDB), args));
    }
    if is(CHECK_AOF) {
        return Some(parse_check_aof(&named(CHECK_AOF), args));
    }
    if program.as_bytes().ends_with(b"-cli") {
        return Some(Tool::Cli(args.to_vec()));
    }
    let (first, rest) = args.split_first()?;
    match first.to_str()? {
        CHECK_RDB => Some(parse_check_rdb("redvault check-rdb", rest)),
        CHECK_AOF => Some(parse_check_aof("redvault check-aof", rest)),
        RECOVER => Some(parse_recover(rest)),
        CLI => Some(Tool::Cli(rest.to_vec())),
        PING => Some(parse_ping(rest)),
        _ => None,
    }
}

fn say(text: String, to_stderr: bool, code: i32) -> Tool {
    Tool::Say {
        text,
        to_stderr,
        code,
    }
}

/// `-v` and `--version`, where no file can be meant.
fn version(name: &str, args: &[OsString]) -> Option<Tool> {
    let [arg] = args else { return None };
    (arg == "-v" || arg == "--version").then(|| {
        let ours = env!("CARGO_PKG_VERSION");
        say(
            format!("{name} {REDIS_VERSION} (RedVault {ours})\n"),
            false,
            0,
        )
    })
}

fn asks_for_help(args: &[OsString]) -> bool {
    matches!(args, [arg] if arg == "-h" || arg == "--help")
}

fn parse_check_rdb(name: &str, args: &[OsString]) -> Tool {
    match args {
        [file] if !asks_for_help(args) => {
            version(name, args).unwrap_or_else(|| Tool::CheckRdb(file.into()))
        }
        _ => say(format!("Usage: {name} <rdb-file-name>\n"), true, 1),
    }
}

fn parse_check_aof(name: &str, args: &[OsString]) -> Tool {
    match args {
        [file] if !asks_for_help(args) => {
            version(name, args).unwrap_or_else(|| Tool::CheckAof(file.into(), Cut::Nothing))
        }
        [fix, file] if fix == "--fix" => Tool::CheckAof(file.into(), Cut::Broken),
        [option, time, file] if option == "--truncate-to-timestamp" => {
            match time.to_str().and_then(|time| time.parse().ok()) {
                Some(time) => Tool::CheckAof(file.into(), Cut::LaterThan(time)),
                None => say("Invalid timestamp, aborting...\n".to_owned(), false, 1),
            }
        }
        _ => {
            let options = "[--fix|--truncate-to-timestamp $timestamp] <file.manifest|file.aof>";
            say(format!("Usage: {name} {options}\n"), false, 1)
        }
    }
}

fn recover_command() -> Command {
    let path = || clap::value_parser!(PathBuf);
    Command::new(RECOVER)
        .bin_name("redvault recover")
        .about(
            "Writes the data set as it was at a moment into a new directory, from an append-only file.\n\
             The files that are there stay as they are, and their server may go on running.",
        )
        .after_help(
            "The AOF knows the time of its changes, to the second, if aof-timestamp-enabled was yes when \
             they were made. What happened before the last rewrite is gone with it, unless \
             aof-disable-auto-gc kept the files.\n\n\
             Examples:\n  \
             redvault recover --dir /var/lib/redis --to 2026-11-20T10:15:00Z\n  \
             redvault recover --dir /var/lib/redis --before flushall   as it was before the last FLUSHALL",
        )
        .arg(
            Arg::new("dir")
                .long("dir")
                .value_name("DIR")
                .required(true)
                .value_parser(path())
                .help("The server's directory, or the AOF's, or the AOF's manifest"),
        )
        .arg(
            Arg::new("to")
                .long("to")
                .value_name("TIME")
                .required_unless_present("before")
                .allow_hyphen_values(true)
                .value_parser(|text: &str| time::parse(text))
                .help("The moment: RFC 3339 (2026-11-20T10:15:00Z) or unix seconds; its second is included"),
        )
        .arg(
            Arg::new("before")
                .long("before")
                .value_name("COMMAND")
                .help("Stop before the last command of this name (up to TIME, where both are given)"),
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .value_parser(path())
                .help("Where to write; made if need be, but empty [default: DIR/recovered-TIME]"),
        )
}

fn parse_recover(args: &[OsString]) -> Tool {
    let command = recover_command().no_binary_name(true);
    match command.try_get_matches_from(args) {
        Ok(matches) => Tool::Recover(order(&matches)),
        Err(error) => say_what_clap_says(&error),
    }
}

fn parse_ping(args: &[OsString]) -> Tool {
    let command = ping::command().no_binary_name(true);
    match command.try_get_matches_from(args) {
        Ok(matches) => Tool::Ping(ping::order(&matches, |name| std::env::var_os(name))),
        Err(error) => say_what_clap_says(&error),
    }
}

/// Help that was asked for, or what is wrong with the arguments.
fn say_what_clap_says(error: &clap::Error) -> Tool {
    let failed = error.use_stderr();
    say(error.render().to_string(), failed, i32::from(failed))
}

fn order(matches: &ArgMatches) -> Order {
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    Order {
        dir: path("dir").unwrap_or_default(),
        to: matches.get_one("to").copied(),
        before: matches
            .get_one::<String>("before")
            .map(|name| name.to_ascii_lowercase().into_bytes()),
        out: path("out"),
    }
}

/// Does it, on this process's input and output; the exit code.
pub fn run(tool: &Tool) -> i32 {
    match tool {
        Tool::CheckRdb(path) => {
            offline(|console, how| check_rdb::run(console, &RealDisk, path, how))
        }
        Tool::CheckAof(path, cut) => {
            offline(|console, how| check_aof::run(console, &RealDisk, path, *cut, how))
        }
        Tool::Recover(order) => {
            offline(|console, how| recover::run(console, &RealDisk, order, how))
        }
        Tool::Cli(args) => cli::run(args),
        Tool::Ping(order) => {
            let (answer, serves) = ping::run(order);
            print(&mut std::io::stdout(), &format!("{answer}\n"));
            i32::from(!serves)
        }
        Tool::Say {
            text,
            to_stderr,
            code,
        } => {
            match to_stderr {
                true => print(&mut std::io::stderr(), text),
                false => print(&mut std::io::stdout(), text),
            }
            *code
        }
    }
}

fn print(to: &mut dyn Write, text: &str) {
    // There is nobody to tell that nobody listens; the exit code still tells.
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

/// Work on files, with a console.
fn offline(work: impl FnOnce(&mut Console<'_>, &Loading) -> i32) -> i32 {
    let (out, input) = (std::io::stdout(), std::io::stdin());
    let terminal = out.is_terminal() && std::io::stderr().is_terminal();
    let (mut out, mut input) = (out.lock(), input.lock());
    let mut console = Console::new(&mut out, &mut input, terminal);
    // Files are read under the limits of an untouched configuration: they decide nothing here.
    let clock = Clock::system();
    let state = State::new(Config::default(), Rng::from_seed(1), clock, 0, 1.0);
    work(&mut console, &state.loading(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(program: &str, args: &[&str]) -> Option<Tool> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        parse(OsStr::new(program), &args)
    }

    fn said(program: &str, args: &[&str]) -> (String, bool, i32) {
        match tool(program, args) {
            Some(Tool::Say {
                text,
                to_stderr,
                code,
            }) => (text, to_stderr, code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn tools_are_found_by_name_or_by_their_first_argument() {
        let rdb = |path: &str| Some(Tool::CheckRdb(path.into()));
        assert_eq!(tool("/usr/bin/redis-check-rdb", &["a"]), rdb("a"));
        assert_eq!(tool("redvault", &["check-rdb", "a"]), rdb("a"));
        assert_eq!(
            tool("valkey-check-aof", &["a"]),
            tool("redvault", &["check-aof", "a"])
        );
        for args in [
            &[][..],
            &["./check-rdb"],
            &["--port", "1"],
            &["redvault.conf"],
        ] {
            assert_eq!(tool("redvault", args), None);
        }
        recover_command().debug_assert();
    }

    /// What the real tools say to the same arguments.
    #[test]
    fn the_checks_take_their_arguments_as_the_real_ones_do() {
        let usage = "Usage: redis-check-aof [--fix|--truncate-to-timestamp $timestamp] \
                     <file.manifest|file.aof>\n";
        for args in [
            &[][..],
            &["a", "b"],
            &["--fix", "a", "b"],
            &["--foo", "a"],
            &["--truncate-to-timestamp", "5"],
            &["--fix", "--truncate-to-timestamp", "5", "a"],
        ] {
            assert_eq!(said("redis-check-aof", args), (usage.to_owned(), false, 1));
        }
        let aof = |args: &[&str]| tool("redis-check-aof", args);
        let path = || PathBuf::from("a");
        assert_eq!(
            aof(&["--fix", "a"]),
            Some(Tool::CheckAof(path(), Cut::Broken))
        );
        let cut = Cut::LaterThan(-5);
        assert_eq!(
            aof(&["--truncate-to-timestamp", "-5", "a"]),
            Some(Tool::CheckAof(path(), cut))
        );
        let bad = said("redis-check-aof", &["--truncate-to-timestamp", "5x", "a"]);
        assert_eq!(
            bad,
            ("Invalid timestamp, aborting...\n".to_owned(), false, 1)
        );
        let (text, to_stderr, code) = said("redis-check-rdb", &["a", "b"]);
        assert_eq!(text, "Usage: redis-check-rdb <rdb-file-name>\n");
        assert_eq!((to_stderr, code), (true, 1));
        let (text, _, code) = said("redis-check-rdb", &["-v"]);
        assert!(text.starts_with("redis-check-rdb 7.2.4") && code == 0);
    }

    #[test]
    fn a_recovery_needs_a_directory_and_a_time() {
        let order = |args: &[&str]| match tool("redvault", &[&["recover"], args].concat()) {
            Some(Tool::Recover(order)) => order,
            other => panic!("{other:?}"),
        };
        let by_time = order(&["--dir", "d", "--to", "1970-01-01T00:01:00Z"]);
        assert_eq!((by_time.to, by_time.out), (Some(60), None));
        let by_name = order(&["--dir=d", "--before", "FlushAll", "--out", "o"]);
        assert_eq!(by_name.before.as_deref(), Some(&b"flushall"[..]));
        assert_eq!(by_name.out.as_deref(), Some(Path::new("o")));
        for args in [
            &["recover"][..],
            &["recover", "--dir", "d"],
            &["recover", "--to", "5"],
            &["recover", "--dir", "d", "--to", "yesterday"],
        ] {
            let (text, to_stderr, code) = said("redvault", args);
            assert!(to_stderr && code == 1 && text.contains("error"), "{text}");
        }
        assert_eq!(said("redvault", &["recover", "--help"]).2, 0);
    }
}
