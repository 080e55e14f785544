//! A client's session: the connection with what it stands for (database, protocol, transaction), and one
//! command on it, from request to printed reply.
//!
//! A request that may have reached the server is never sent a second time; only a connection that is found
//! dead before is opened anew.
use std::io::{IsTerminal, Write};

use super::docs::Docs;
use super::messages;
use super::options::Options;
use super::print::{self, Form};
use crate::base::num::parse_i64;
use crate::resp::value::Value;
use crate::tools::link::{Address, Broken, Link};

/// A session; `link` is `None` while there is no connection.
pub struct Session {
    pub options: Options,
    pub address: Address,
    pub link: Option<Link>,
    /// The database that the connection is in.
    pub db: i64,
    pub resp3: bool,
    pub in_transaction: bool,
    pub subscribed: bool,
    pub form: Form,
    /// A person sits at the other end of the output.
    pub terminal: bool,
    /// And at that of the input: they are asked for commands.
    pub keyboard: bool,
    /// Nobody takes the output any more.
    pub deaf: bool,
    show_pushes: bool,
}

impl Session {
    pub fn new(options: Options) -> Session {
        // The variable is how a test, of Redis's suite too, asks for what a terminal would show.
        let faked = std::env::var_os("FAKETTY").is_some_and(|value| !value.is_empty());
        let terminal = faked || std::io::stdout().is_terminal();
        let by_default = if terminal { Form::Standard } else { Form::Raw };
        Session {
            address: options.address.clone(),
            link: None,
            db: options.db,
            resp3: false,
            in_transaction: false,
            subscribed: false,
            form: options.form.unwrap_or(by_default),
            terminal,
            keyboard: false,
            deaf: false,
            show_pushes: options.show_pushes.unwrap_or(terminal),
            options,
        }
    }

    /// Opens the connection, and says on standard error what went wrong. False: there is none, or it is in a
    /// database that was not asked for.
    pub fn connect(&mut self) -> bool {
        self.hang_up();
        let link = match Link::open(&self.address, self.options.tls.as_ref(), None) {
            Ok(link) => link,
            Err(why) => {
                complain(&format!(
                    "Could not connect to Redis at {}: {why}",
                    self.address
                ));
                return false;
            }
        };
        self.link = Some(link);
        let mut introduction = Vec::new();
        if let Some(password) = &self.options.password {
            let words = [
                Some(b"AUTH".to_vec()),
                self.options.user.clone(),
                Some(password.clone()),
            ];
            introduction.push(("AUTH".to_owned(), words.into_iter().flatten().collect()));
        }
        if self.options.wants_resp3() {
            introduction.push(("HELLO 3".to_owned(), vec![b"HELLO".to_vec(), b"3".to_vec()]));
        }
        if self.db != 0 {
            let db = self.db.to_string();
            introduction.push((
                format!("SELECT {db}"),
                vec![b"SELECT".to_vec(), db.into_bytes()],
            ));
        }
        let mut sound = true;
        for (name, argv) in introduction {
            let answer: Result<Value, Broken> = match &mut self.link {
                Some(link) => link.ask::<Vec<u8>>(&argv),
                None => return false,
            };
            match answer {
                Err(broken) => {
                    complain(&format!("{name} failed: {broken}"));
                    self.link = None;
                    return false;
                }
                Ok(Value::Error(text)) => {
                    complain(&format!(
                        "{name} failed: {}",
                        String::from_utf8_lossy(&text)
                    ));
                    // A password too many does no harm, and one too few shows at the first command. But who asks
                    // for a database must not write into another one; a person sees where they are.
                    if name.starts_with("SELECT") {
                        sound = false;
                        match self.keyboard {
                            true => self.db = 0,
                            false => self.link = None,
                        }
                    }
                }
                Ok(_) => self.resp3 |= name.starts_with("HELLO"),
            }
        }
        sound
    }

    /// Ends the connection, with all that hung on it.
    pub fn hang_up(&mut self) {
        self.link = None;
        self.resp3 = false;
        self.in_transaction = false;
        self.subscribed = false;
    }

    /// A connection that is alive, opened if need be.
    pub fn ready(&mut self) -> bool {
        let Some(link) = &mut self.link else {
            return self.connect();
        };
        if !link.is_dead() {
            return true;
        }
        complain("Error: Server closed the connection");
        // What was to wait for EXEC must not run by itself.
        let transaction = self.in_transaction;
        let connected = self.connect();
        if transaction {
            complain("Error: the transaction is lost, and this command was not sent");
        }
        connected && !transaction
    }

    /// Runs a command and prints its reply. False: the reply is an error, or there is none.
    pub fn run(&mut self, argv: &[Vec<u8>]) -> bool {
        if let Some(why) = unusable(argv) {
            complain(why);
            return false;
        }
        if !self.ready() {
            return false;
        }
        match self.exchange(argv) {
            Ok(good) => good,
            Err(Broken::Closed) if is(argv, &["shutdown"]) => {
                self.hang_up();
                true
            }
            Err(broken) => {
                complain(&format!("Error: {broken}"));
                self.hang_up();
                false
            }
        }
    }

    fn exchange(&mut self, argv: &[Vec<u8>]) -> Result<bool, Broken> {
        let mut asking = false;
        // As many hops as a cluster that is being resharded may ask for.
        for _ in 0..16 {
            let link = self.link.as_mut().ok_or(Broken::Closed)?;
            if asking {
                link.ask(&["ASKING"])?;
            }
            link.send(argv)?;
            if is(argv, &["monitor"]) || messages::is_subscription(argv) {
                return messages::listen(self, argv);
            }
            let reply = self.reply()?;
            if self.options.cluster
                && let Some((ask, slot, address)) = redirection(&reply, &self.address)
            {
                if self.form == Form::Standard {
                    self.put(
                        format!("-> Redirected to slot [{slot}] located at {address}\n").as_bytes(),
                    );
                }
                asking = ask;
                self.address = address;
                if !self.connect() {
                    return Err(Broken::Closed);
                }
                continue;
            }
            self.note(argv, &reply);
            let failed = matches!(reply, Value::Error(_));
            match &reply {
                Value::Error(text) if self.options.fail_on_error => {
                    complain(&String::from_utf8_lossy(text));
                }
                reply => self.show(reply, is_report(argv)),
            }
            return Ok(!failed);
        }
        complain("Too many redirections");
        Ok(false)
    }

    /// The reply to what was sent; messages that come before it are shown.
    pub fn reply(&mut self) -> Result<Value, Broken> {
        loop {
            let value = self.link.as_mut().ok_or(Broken::Closed)?.receive()?;
            match &value {
                Value::Push(_) => self.show_push(&value),
                message if self.subscribed && !self.resp3 && messages::is_message(message) => {
                    self.show(message, false);
                }
                _ => return Ok(value),
            }
        }
    }

    fn show_push(&mut self, value: &Value) {
        if !self.show_pushes {
            return;
        }
        if let Value::Push(items) = value
            && let [kind, Value::Array(keys)] = items.as_slice()
            && kind.as_bytes() == Some(b"invalidate")
        {
            for key in keys {
                let key = key.as_bytes().unwrap_or_default();
                self.put(&[b"-> invalidate: '", key, b"'\n"].concat());
            }
            return;
        }
        self.show(value, false);
    }

    /// What the answer means for the session.
    fn note(&mut self, argv: &[Vec<u8>], reply: &Value) {
        if is(argv, &["exec"]) || is(argv, &["discard"]) {
            self.in_transaction = false;
        }
        let queued = reply.as_bytes() == Some(b"QUEUED");
        if queued || matches!(reply, Value::Error(_)) {
            return;
        }
        let arg = |i: usize| argv.get(i).cloned();
        if is(argv, &["select"]) {
            self.db = arg(1).and_then(|db| parse_i64(&db)).unwrap_or(self.db);
        } else if is(argv, &["multi"]) {
            self.in_transaction = true;
        } else if is(argv, &["auth"]) {
            self.options.user = arg(2).and(arg(1));
            self.options.password = argv.last().cloned();
        } else if is(argv, &["hello"]) && argv.len() > 1 {
            self.resp3 = argv[1] == b"3";
            self.options.protocol = Some(if self.resp3 { 3 } else { 2 });
            if let Some(at) = argv
                .iter()
                .position(|word| word.eq_ignore_ascii_case(b"auth"))
            {
                (self.options.user, self.options.password) = (arg(at + 1), arg(at + 2));
            }
        } else if is(argv, &["reset"]) {
            (self.resp3, self.in_transaction, self.subscribed) = (false, false, false);
            (self.options.protocol, self.db) = (Some(2), 0);
        }
    }

    /// Prints a reply; a report's text stays as it is, in every form.
    pub fn show(&mut self, value: &Value, report: bool) {
        let mut out = Vec::new();
        let between = &self.options.between;
        match self.form {
            _ if report => {
                print::raw(value, between, &mut out);
                if !out.ends_with(b"\n") {
                    out.push(b'\n');
                }
            }
            Form::Standard => print::standard(value, &mut out),
            Form::Raw => {
                print::raw(value, between, &mut out);
                out.extend_from_slice(&self.options.behind);
            }
            Form::Csv => print::csv(value, &mut out),
            Form::Json => print::json(value, false, &mut out),
            Form::QuotedJson => print::json(value, true, &mut out),
        }
        if !report && matches!(self.form, Form::Csv | Form::Json | Form::QuotedJson) {
            out.push(b'\n');
        }
        self.put(&out);
    }

    /// Writes to standard output, at once.
    pub fn put(&mut self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        self.deaf |= out.write_all(bytes).and_then(|()| out.flush()).is_err();
    }

    /// What the server says of its commands; nothing, where it does not.
    pub fn docs(&mut self) -> Docs {
        let link = self
            .link
            .as_mut()
            .filter(|_| !self.in_transaction && !self.subscribed);
        let answer = link.map(|link| link.ask(&["COMMAND", "DOCS"]));
        match answer {
            Some(Ok(value)) => Docs::read(&value),
            _ => Docs::default(),
        }
    }
}

/// A line on standard error.
pub fn complain(text: &str) {
    // There is nobody left to tell that nobody listens.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether the command begins with these words.
pub fn is(argv: &[Vec<u8>], words: &[&str]) -> bool {
    argv.len() >= words.len()
        && argv
            .iter()
            .zip(words)
            .all(|(arg, word)| arg.eq_ignore_ascii_case(word.as_bytes()))
}

/// Commands that answer with a text for people.
fn is_report(argv: &[Vec<u8>]) -> bool {
    const REPORTS: [&[&str]; 12] = [
        &["info"],
        &["lolwut"],
        &["debug", "htstats"],
        &["debug", "htstats-key"],
        &["memory", "malloc-stats"],
        &["memory", "doctor"],
        &["cluster", "nodes"],
        &["cluster", "info"],
        &["client", "list"],
        &["client", "info"],
        &["latency", "graph"],
        &["latency", "doctor"],
    ];
    REPORTS.iter().any(|words| is(argv, words))
}

/// Why a command cannot be answered here.
fn unusable(argv: &[Vec<u8>]) -> Option<&'static str> {
    if is(argv, &["sync"]) || is(argv, &["psync"]) {
        Some("Error: this client does not speak the replication protocol")
    } else if is(argv, &["client", "reply", "off"]) || is(argv, &["client", "reply", "skip"]) {
        Some("Error: without replies this client has nothing to show")
    } else {
        None
    }
}

/// `MOVED slot address` or `ASK slot address`: whether it is the latter, the slot, where.
fn redirection(reply: &Value, current: &Address) -> Option<(bool, String, Address)> {
    let Value::Error(text) = reply else {
        return None;
    };
    let text = String::from_utf8_lossy(text);
    let (ask, rest) = match text.split_once(' ')? {
        ("MOVED", rest) => (false, rest),
        ("ASK", rest) => (true, rest),
        _ => return None,
    };
    let (slot, place) = rest.split_once(' ')?;
    let (host, port) = place.rsplit_once(':')?;
    // A node that does not know its own name means the one that was asked.
    let host = match (host, current) {
        ("", Address::Tcp(same, _)) => same.as_str(),
        (host, _) => host,
    };
    let address = Address::Tcp(host.to_owned(), port.parse().ok()?);
    Some((ask, slot.to_owned(), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_read() {
        let here = Address::Tcp("a".to_owned(), 1);
        let read = |text: &str| redirection(&Value::Error(text.as_bytes().to_vec()), &here);
        let to = |host: &str| Address::Tcp(host.to_owned(), 7);
        assert_eq!(read("MOVED 3 b:7"), Some((false, "3".to_owned(), to("b"))));
        assert_eq!(read("ASK 3 ::1:7"), Some((true, "3".to_owned(), to("::1"))));
        assert_eq!(read("MOVED 3 :7"), Some((false, "3".to_owned(), to("a"))));
        for text in ["ERR no", "MOVED", "MOVED 3", "MOVED 3 b:x", "ASK 3 b"] {
            assert_eq!(read(text), None);
        }
    }

    #[test]
    fn reports_are_known_by_their_first_words() {
        let words = |line: &str| -> Vec<Vec<u8>> {
            line.split(' ')
                .map(|word| word.as_bytes().to_vec())
                .collect()
        };
        assert!(is_report(&words("INFO server")) && is_report(&words("client LIST")));
        assert!(!is_report(&words("client getname")) && !is_report(&words("client")));
        assert!(unusable(&words("CLIENT REPLY off")).is_some());
        assert!(unusable(&words("client reply on")).is_none());
    }
}
