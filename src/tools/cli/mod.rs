//! `redvault cli`: a client in the same binary, for one command, for a prompt, and for scripts.
//!
//! Options, output and exit codes are redis-cli's, so that it can stand in for it (also under the name
//! `redvault-cli`, or any other that ends in `-cli`). What it knows of commands it asks the server for.
mod docs;
mod help;
mod messages;
pub(super) mod options;
mod pipe;
mod print;
mod prompt;
mod replica;
mod session;
mod sweep;

use std::ffi::OsString;
use std::io::{BufRead, Read};

use crate::base::sys;
use options::{FromInput, Work};
pub use options::{Instead, Options};
use session::{Session, complain};

/// Runs the client with these arguments; the exit code.
pub fn run(args: &[OsString]) -> i32 {
    let options = match options::parse(args, |name| std::env::var_os(name)) {
        Ok(options) => options,
        Err(instead) => return say(&instead),
    };
    if options.warn_of_password {
        complain(
            "Warning: Using a password with '-a' or '-u' option on the command line interface may not be safe.",
        );
    }
    let mut session = Session::new(options);
    if session.options.ask_password {
        session.options.password = ask_password();
    }
    let works = match session.options.work.clone() {
        Work::Scan => Some(sweep::scan(&mut session)),
        Work::Latency => Some(sweep::latency(&mut session)),
        Work::Stat => Some(sweep::stat(&mut session)),
        Work::Largest { by_memory } => Some(sweep::largest(&mut session, by_memory)),
        Work::Pipe => Some(pipe::run(&mut session)),
        Work::Replica => Some(replica::log(&mut session)),
        Work::Snapshot {
            file,
            functions_only,
        } => Some(replica::snapshot(&mut session, &file, functions_only)),
        Work::Commands => None,
    };
    if let Some(code) = works {
        return code;
    }
    let argv = match command(&session.options) {
        Ok(argv) => argv,
        Err(text) => {
            complain(&text);
            return 1;
        }
    };
    if argv.is_empty() {
        return prompt::run(&mut session);
    }
    if session::is(&argv, &["help"]) || session::is(&argv, &["?"]) {
        help::run(&mut session, &argv[1..], None);
        return 0;
    }
    repeat(&mut session, &argv)
}

/// The command of the command line, with what comes from standard input or a script's file.
fn command(options: &Options) -> Result<Vec<Vec<u8>>, String> {
    let mut argv = options.command.clone();
    if let Some(path) = &options.script {
        let script = std::fs::read(path).map_err(|error| {
            format!(
                "Can't open file '{}': {}",
                path.display(),
                sys::strerror(&error)
            )
        })?;
        let keys = argv
            .iter()
            .position(|arg| arg == b",")
            .unwrap_or(argv.len());
        let count = keys.to_string().into_bytes();
        argv = [
            &[b"EVAL".to_vec(), script, count],
            &argv[..keys],
            argv.get(keys + 1..).unwrap_or(&[]),
        ]
        .concat();
    }
    let Some(which) = &options.from_input else {
        return Ok(argv);
    };
    let mut text = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut text);
    read.map_err(|error| format!("Error: {}", sys::strerror(&error)))?;
    match which {
        FromInput::Last => argv.push(text),
        FromInput::Tag(tag) => {
            let place = argv.iter_mut().find(|arg| *arg == tag);
            *place.ok_or("Using -X option but stdin tag not match.")? = text;
        }
    }
    Ok(argv)
}

/// Runs the command as often as it is asked for.
fn repeat(session: &mut Session, argv: &[Vec<u8>]) -> i32 {
    let times = session.options.repeat;
    if times == 0 {
        return 0;
    }
    if !session.connect() {
        return 1;
    }
    let mut done = 0;
    while times < 0 || done < times {
        if done > 0 && !session.options.interval.is_zero() {
            std::thread::sleep(session.options.interval);
        }
        let good = session.run(argv);
        let lost = session.link.is_none() && !good;
        if session.deaf || lost || !good && session.options.fail_on_error {
            return 1;
        }
        done += 1;
    }
    0
}

fn ask_password() -> Option<Vec<u8>> {
    // Where there is no terminal, nothing is shown anyway.
    let hidden = sys::without_echo();
    if hidden.is_ok() {
        write(&mut std::io::stderr(), "Please input password: ");
    }
    let mut line = Vec::new();
    let read = std::io::stdin().lock().read_until(b'\n', &mut line);
    if hidden.is_ok() {
        write(&mut std::io::stderr(), "\n");
    }
    let password = line.trim_ascii_end();
    (read.is_ok() && !password.is_empty()).then(|| password.to_vec())
}

fn say(instead: &Instead) -> i32 {
    match instead {
        Instead::Usage => write(&mut std::io::stdout(), USAGE),
        Instead::Version => {
            let version = env!("CARGO_PKG_VERSION");
            write(&mut std::io::stdout(), &format!("redvault cli {version}\n"));
        }
        Instead::Complaint(text) => {
            write(&mut std::io::stderr(), text);
            return 1;
        }
        Instead::BadQuotes => {
            write(&mut std::io::stdout(), "Invalid quoted string\n");
            return 1;
        }
    }
    0
}

fn write(to: &mut dyn std::io::Write, text: &str) {
    // There is nobody left to tell that nobody listens.
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}

const USAGE: &str = "\
Usage: redvault cli [OPTIONS] [COMMAND [ARG ...]]

One command, or without one a prompt (or the lines of standard input).

Where:
  -h HOST, -p PORT       the server [127.0.0.1, 6379]
  -s SOCKET              its unix socket instead
  -u URI                 redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS
  -n DB                  the database
  -c                     follow MOVED and ASK from node to node
  --tls                  speak TLS
  --cacert FILE, --cacertdir DIR
                         whom to trust for the server [the system's authorities]
  --insecure             take whoever answers for the server
  --cert FILE, --key FILE
                         the certificate to show, and its key
  --sni NAME             whom the server is asked for by name
  --tls-ciphers LIST, --tls-ciphersuites LIST
                         for TLS 1.2 and for TLS 1.3, as OpenSSL calls them
Who:
  -a PASSWORD            or in the environment as REDISCLI_AUTH, which others cannot see
  --user USER            with -a
  --askpass              ask for the password
  --no-auth-warning      do not warn of passwords on the command line
How it is shown:
  --raw, --no-raw        texts alone (where the output is no terminal), or as for a person
  --csv, --json, --quoted-json
  -d TEXT, -D TEXT       between the texts of a reply, and behind a reply, with --raw [newline]
  --show-pushes yes|no   messages that come between replies [yes on a terminal]
  -2, -3                 the protocol [2; 3 with --json]
What is sent:
  -x                     the last argument comes from standard input
  -X TAG                 the argument TAG comes from standard input
  -r TIMES, -i SECONDS   run the command so often (-1: for ever), with that pause
  -e                     an error reply goes to standard error and ends with 1
  --quoted-input         arguments in quotes are unquoted
  --eval FILE KEY ... , ARG ...
                         run the script of a file
  --pipe                 requests from standard input, as they are; replies are counted
  --pipe-timeout SECONDS wait no longer for the last of them [30; 0: for ever]
What is looked at:
  --scan [--pattern GLOB | --quoted-pattern GLOB]
                         every key
  --bigkeys, --memkeys, --memkeys-samples COUNT
                         the largest key of each type, by elements or by memory
  --latency              how long a PING takes
  --stat                 the server's figures, every -i seconds
  --replica              what the server tells its replicas, in CSV, as it comes
  --rdb FILE, --functions-rdb FILE
                         a snapshot of everything, or of the functions alone (-: to standard output)
  --help, --version

Exit code: 1 where the server cannot be reached or hangs up, where the database cannot be chosen, for wrong
options, and with -e for error replies; else 0.

  redvault cli SET greeting hello
  redvault cli -x SET page < index.html
  redvault cli -r 3 -i 1 INFO memory
  redvault cli --json HGETALL user:1
  redvault cli --eval add.lua total , 5
";
