//! A server in a directory of its own, and the two ways to speak to it: raw bytes, and the `redis`
//! crate. A server is killed when its handle goes out of scope, with everything it wrote.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take before a test gives up: far above what it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of a server's log is shown where a test fails.
const LOG_LINES: usize = 60;

/// The server under test: ours, or the one named in the environment.
pub fn binary() -> String {
    std::env::var("REDVAULT_TEST_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_redvault").into())
}

/// Whether the server under test is not ours: for the few replies that are newer than it.
pub fn is_oracle() -> bool {
    !binary().ends_with("redvault")
}

/// Wait until the condition holds; a panic names what was waited for.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < PATIENCE,
            "still waiting after {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub struct Server {
    child: Child,
    dir: TempDir,
    pub port: u16,
}

impl Server {
    pub fn start() -> Server {
        Server::with(&[])
    }

    /// Start with more arguments, `--name value` each.
    pub fn with(args: &[&str]) -> Server {
        Server::with_file(None, args)
    }

    /// Start with a configuration file of this content, too: `redis.conf` in the server's directory.
    pub fn with_file(file: Option<&str>, args: &[&str]) -> Server {
        let dir = tempfile::tempdir().expect("a temporary directory");
        if let Some(text) = file {
            fs::write(dir.path().join("redis.conf"), text).expect("a configuration file");
        }
        Server::on(&binary(), dir, args)
    }

    /// Start in a directory that holds these files.
    pub fn with_files(files: &[(&str, &[u8])], args: &[&str]) -> Server {
        Server::on(&binary(), directory_with(files), args)
    }

    /// The same for one that is to end by itself: how it did, its log, and the directory.
    pub fn fails_with(files: &[(&str, &[u8])], args: &[&str]) -> (ExitStatus, String, TempDir) {
        let mut server = Server::spawn(&binary(), free_port(), directory_with(files), args);
        let status = server.wait_end();
        let log = server.log();
        (status, log, server.kill())
    }

    /// Start this server on a directory that may have a data set, and a `redis.conf`, already.
    pub fn on(binary: &str, dir: TempDir, args: &[&str]) -> Server {
        let mut dir = dir;
        // Another process may take the port between our look and the server's bind.
        for _ in 0..5 {
            match Server::try_start(binary, free_port(), dir, args) {
                Ok(server) => return server,
                Err(back) => dir = back,
            }
        }
        panic!("no server could be started on any of five free ports");
    }

    /// Kill the server; what it wrote is left.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().ok();
        self.child.wait().ok();
        // The place of the directory is taken by one that nobody will use.
        let empty = tempfile::tempdir().expect("a temporary directory");
        std::mem::replace(&mut self.dir, empty)
    }

    fn spawn(binary: &str, port: u16, dir: TempDir, args: &[&str]) -> Server {
        let file = Some(dir.path().join("redis.conf")).filter(|path| path.exists());
        let log = File::create(dir.path().join("log")).expect("a log file");
        let child = Command::new(binary)
            .args(file)
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--dir", dir.path().to_str().expect("a plain path")])
            .args(["--enable-debug-command", "yes"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{binary}: {e}"));
        Server { child, dir, port }
    }

    fn try_start(binary: &str, port: u16, dir: TempDir, args: &[&str]) -> Result<Server, TempDir> {
        let mut server = Server::spawn(binary, port, dir, args);
        let started = Instant::now();
        while !server.answers() {
            if let Some(status) = server.child.try_wait().expect("our own child") {
                let log = server.log();
                assert!(
                    log.contains("already in use"),
                    "the server ended with {status}:\n{log}"
                );
                return Err(server.kill());
            }
            assert!(
                started.elapsed() < PATIENCE,
                "the server never answered:\n{}",
                server.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }

    fn answers(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut reply = [0; 1];
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout above zero");
        socket.write_all(b"PING\r\n").is_ok()
            && socket.read_exact(&mut reply).is_ok()
            && matches!(&reply, b"+" | b"-")
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The directory that the server works in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A connection for raw bytes.
    pub fn raw(&self) -> Raw {
        Raw::new(TcpStream::connect(("127.0.0.1", self.port)).expect("the server accepts"))
    }

    /// A connection of the `redis` crate.
    pub fn client(&self) -> redis::Connection {
        self.open("")
    }

    /// The same, speaking RESP3.
    pub fn client3(&self) -> redis::Connection {
        self.open("?protocol=resp3")
    }

    fn open(&self, options: &str) -> redis::Connection {
        let url = format!("redis://127.0.0.1:{}/{options}", self.port);
        let client = redis::Client::open(url).expect("a well-formed address");
        client.get_connection().expect("the server accepts")
    }

    /// The value of a field of INFO.
    pub fn info(&self, field: &str) -> String {
        let [value] = self.infos([field]);
        value
    }

    /// The values of fields of INFO at one moment: between two questions one of them may have changed.
    pub fn infos<const N: usize>(&self, fields: [&str; N]) -> [String; N] {
        let mut raw = self.raw();
        raw.command(&["INFO", "everything"]);
        let text = raw.reply();
        fields.map(|field| {
            let found = text
                .split("\\r\\n")
                .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            found
                .unwrap_or_else(|| panic!("INFO has no {field}"))
                .into()
        })
    }

    /// Wait until no rewrite of the AOF is running or due.
    pub fn wait_rewritten(&self) {
        wait_until("the end of the rewrite", || {
            self.infos(["aof_rewrite_scheduled", "aof_rewrite_in_progress"]) == ["0", "0"]
        });
    }

    /// Send each request (words split at spaces) on one connection, and compare each reply.
    pub fn check(&self, dialogue: &[(&str, &str)]) {
        let mut raw = self.raw();
        for (request, expected) in dialogue {
            raw.command(&request.split(' ').collect::<Vec<_>>());
            let reply = raw.reply();
            assert_eq!(reply, *expected, "the reply to {request}");
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("our own child");
    }

    /// Wait for the server to end by itself.
    pub fn wait_end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the end of the server", || {
            status = self.child.try_wait().expect("our own child");
            status.is_some()
        });
        status.expect("the condition says so")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        if std::thread::panicking() {
            // What failed on another machine is hard to find out without it.
            let (log, state) = (self.log(), ended.map_or("alive".into(), |s| s.to_string()));
            let first = log.lines().count().saturating_sub(LOG_LINES);
            let last: Vec<&str> = log.lines().skip(first).collect();
            eprintln!("the server at {}, {state}:\n{}", self.port, last.join("\n"));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn directory_with(files: &[(&str, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in files {
        let path = dir.path().join(name);
        let parent = path.parent().expect("it lies in the directory");
        fs::create_dir_all(parent).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }
    dir
}

/// A port that nobody listens on and that no other test was given: below those that the system gives
/// to connections, in an order that differs from that of another run at the same time. Between the
/// look and the server's bind somebody else's server would answer in place of ours.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(199);
    loop {
        let n = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (n % 22_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The RESP2 form of a request.
pub fn frame<T: AsRef<[u8]>>(args: &[T]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
        out.extend_from_slice(arg.as_ref());
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Bytes as text: what is not printable is escaped, quotes are not.
pub fn escape(bytes: &[u8]) -> String {
    bytes
        .escape_ascii()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

/// A connection that sends and reads bytes, nothing else.
pub struct Raw {
    input: BufReader<TcpStream>,
    pub socket: TcpStream,
}

impl Raw {
    fn new(socket: TcpStream) -> Raw {
        socket.set_nodelay(true).expect("an open socket");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout above zero");
        socket
            .set_write_timeout(Some(PATIENCE))
            .expect("a timeout above zero");
        Raw {
            input: BufReader::new(socket.try_clone().expect("a second handle")),
            socket,
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the server reads");
    }

    pub fn command<T: AsRef<[u8]>>(&mut self, args: &[T]) {
        self.send(&frame(args));
    }

    /// Send a request as [`Server::check`] does, and return the reply.
    pub fn ask(&mut self, request: &str) -> String {
        self.command(&request.split(' ').collect::<Vec<_>>());
        self.reply()
    }

    pub fn read_exact(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.input
            .read_exact(&mut bytes)
            .expect("the server answers");
        bytes
    }

    /// Everything until the server closes the connection.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A connection that is closed with input unread ends in a reset.
        if let Err(e) = self.input.read_to_end(&mut bytes) {
            assert_eq!(
                e.kind(),
                std::io::ErrorKind::ConnectionReset,
                "while waiting for the end"
            );
        }
        bytes
    }

    /// Tell the server that nothing more will come.
    pub fn end_sending(&self) {
        self.socket
            .shutdown(Shutdown::Write)
            .expect("an open socket");
    }

    /// A line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.input
            .read_until(b'\n', &mut line)
            .expect("the server answers");
        assert!(
            line.ends_with(b"\r\n"),
            "the connection ended behind {:?}",
            line.escape_ascii()
        );
        line.truncate(line.len() - 2);
        escape(&line)
    }

    /// One reply as text: `OK`, `(error) ERR ..`, `:1`, `"bulk"`, `nil`, `[..]`, `{k => v}`, `~[..]`,
    /// `>[..]`, `,1.5`, `#t`, `=txt:"..."`.
    pub fn reply(&mut self) -> String {
        let line = self.line();
        let (kind, rest) = line.split_at(1);
        let count = || {
            rest.parse::<i64>()
                .unwrap_or_else(|_| panic!("not a length: {line}"))
        };
        match kind {
            "+" => rest.into(),
            "-" => format!("(error) {rest}"),
            ":" | "," | "#" | "(" => line,
            "_" => "nil".into(),
            "$" | "*" if count() < 0 => "nil".into(),
            "$" | "=" => {
                let len = count() as usize;
                let bytes = self.read_exact(len + 2);
                assert_eq!(&bytes[len..], b"\r\n", "the end of a bulk");
                let text = escape(&bytes[..len]);
                if kind == "$" {
                    format!("\"{text}\"")
                } else {
                    format!("={}\"{}\"", &text[..4], &text[4..])
                }
            }
            "*" | "~" | ">" => {
                let items: Vec<String> = (0..count()).map(|_| self.reply()).collect();
                format!("{}[{}]", kind.trim_matches('*'), items.join(", "))
            }
            "%" => {
                let mut text = String::from("{");
                for i in 0..count() {
                    let (key, value) = (self.reply(), self.reply());
                    let comma = if i == 0 { "" } else { ", " };
                    write!(text, "{comma}{key} => {value}").expect("a String takes everything");
                }
                text + "}"
            }
            _ => panic!("not a reply: {line}"),
        }
    }
}
