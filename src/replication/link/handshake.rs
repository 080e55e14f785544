//! The lines that a replica and its primary exchange before any data flow.
//!
//! PING first, to hear whether anybody is there who may be spoken to; then, in one go, the password and what the
//! replica has to say of itself; then PSYNC. One reply for each request, a line each.
use crate::state::config::REDIS_VERSION;
use crate::state::prop::push_request;
use crate::state::repl::{ID_LEN, OFFSET_MAX};
use zeroize::Zeroizing;

/// No reply is longer.
const LINE_MAX: usize = 1024;

/// What a replica has to say.
#[derive(Default)]
pub struct Introduction {
    pub user: Option<Vec<u8>>,
    pub password: Option<Zeroizing<Vec<u8>>>,
    pub port: u16,
    /// Where it can be reached, unless that is where it comes from.
    pub address: Option<Vec<u8>>,
    /// The history that it would go on with: its id, and up to where it knows it.
    pub known: Option<(String, u64)>,
    /// The primary is asked to hand its part over.
    pub takes_over: bool,
}

/// What the primary will send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agreed {
    /// A snapshot of this history at this offset, then the stream behind it. Nothing is known of either where
    /// the primary is too old to say so.
    Full(Option<(String, u64)>),
    /// The stream, from where this server knows it; under another name, if it has one.
    Continue(Option<String>),
}

/// How far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The primary's turn.
    Waiting,
    Agreed(Agreed),
    /// Nothing came of it; why is for the log.
    Failed(String),
    /// The primary does not hand its part over.
    Refused,
}

/// What the next line answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Ping,
    Auth,
    Port,
    Address,
    Capa,
    Version,
    Psync,
}

/// A handshake under way.
pub struct Handshake {
    introduction: Introduction,
    asked: Asked,
    /// What is to be sent.
    pub out: Zeroizing<Vec<u8>>,
}

impl Handshake {
    /// The first word is the replica's.
    pub fn begin(introduction: Introduction) -> Handshake {
        let mut out = Zeroizing::new(Vec::new());
        push_request(&mut out, &[b"PING"]);
        Handshake {
            introduction,
            asked: Asked::Ping,
            out,
        }
    }

    /// Is PSYNC answered next?
    pub fn asks_for_sync(&self) -> bool {
        self.asked == Asked::Psync
    }

    /// Takes whole lines out of what has come in; what lies behind the end of the handshake stays.
    pub fn take(&mut self, input: &mut Vec<u8>) -> Step {
        let mut at = 0;
        let step = loop {
            let rest = &input[at..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                break match rest.len() > LINE_MAX {
                    true => Step::Failed("MASTER replied with a line that does not end".to_owned()),
                    false => Step::Waiting,
                };
            };
            let line = &rest[..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            at += end + 1;
            // To keep the connection alive while the primary is busy.
            if line.is_empty() {
                continue;
            }
            let line = String::from_utf8_lossy(&line[..line.len().min(LINE_MAX)]).into_owned();
            match self.line(&line) {
                Step::Waiting => {}
                step => break step,
            }
        };
        input.drain(..at);
        step
    }

    fn line(&mut self, line: &str) -> Step {
        let refused = line.starts_with('-');
        match self.asked {
            Asked::Ping => return self.greeted(line),
            Asked::Auth if refused => {
                return Step::Failed(format!("Unable to AUTH to MASTER: {line}"));
            }
            Asked::Port | Asked::Address | Asked::Capa | Asked::Version if refused => {
                let what = match self.asked {
                    Asked::Port => "listening-port",
                    Asked::Address => "ip-address",
                    Asked::Capa => "capa",
                    _ => "version",
                };
                log::info!("(Non critical) Master does not understand REPLCONF {what}: {line}");
            }
            Asked::Psync => return self.answered(line),
            _ => {}
        }
        self.next();
        Step::Waiting
    }

    /// The answer to PING: an error that only says that a password is needed is one, too.
    fn greeted(&mut self, line: &str) -> Step {
        const KNOWN: &[&str] = &["-NOAUTH", "-NOPERM", "-ERR operation not permitted"];
        if !line.starts_with('+') && !KNOWN.iter().any(|known| line.starts_with(known)) {
            return Step::Failed(format!("Error reply to PING from master: '{line}'"));
        }
        log::info!("Master replied to PING, replication can continue...");
        let own = &self.introduction;
        let out = &mut *self.out;
        if let Some(password) = &own.password {
            match &own.user {
                Some(user) => push_request(out, &[b"AUTH", user, password]),
                None => push_request(out, &[b"AUTH", password]),
            }
        }
        let port = own.port.to_string();
        push_request(out, &[b"REPLCONF", b"listening-port", port.as_bytes()]);
        if let Some(address) = &own.address {
            push_request(out, &[b"REPLCONF", b"ip-address", address]);
        }
        let capa = &b"capa"[..];
        let can = [b"eof" as &[u8], b"psync2", b"redvault-groups"];
        let words = can.iter().flat_map(|word| [capa, word]);
        let argv: Vec<&[u8]> = [&b"REPLCONF"[..]].into_iter().chain(words).collect();
        push_request(out, &argv);
        push_request(out, &[b"REPLCONF", b"version", REDIS_VERSION.as_bytes()]);
        self.next();
        Step::Waiting
    }

    fn next(&mut self) {
        let own = &self.introduction;
        self.asked = match self.asked {
            Asked::Ping if own.password.is_some() => Asked::Auth,
            Asked::Ping | Asked::Auth => Asked::Port,
            Asked::Port if own.address.is_some() => Asked::Address,
            Asked::Port | Asked::Address => Asked::Capa,
            Asked::Capa => Asked::Version,
            Asked::Version | Asked::Psync => Asked::Psync,
        };
        if self.asked == Asked::Psync {
            self.ask();
        }
    }

    fn ask(&mut self) {
        let own = &self.introduction;
        let (id, from) = match &own.known {
            Some((id, offset)) => {
                let from = (offset + 1).to_string();
                log::info!("Trying a partial resynchronization (request {id}:{from}).");
                (id.as_str(), from)
            }
            None => {
                log::info!("Partial resynchronization not possible (no cached master)");
                ("?", "-1".to_owned())
            }
        };
        let mut argv: Vec<&[u8]> = vec![b"PSYNC", id.as_bytes(), from.as_bytes()];
        if own.takes_over {
            argv.push(b"FAILOVER");
        }
        push_request(&mut self.out, &argv);
    }

    /// The answer to PSYNC.
    fn answered(&mut self, line: &str) -> Step {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("+FULLRESYNC") => {
                let id = words.next().filter(|id| is_id(id));
                let offset = words.next().and_then(|text| text.parse().ok());
                let offset = offset.filter(|offset| *offset < OFFSET_MAX);
                let (Some(id), Some(offset)) = (id, offset) else {
                    return Step::Failed(format!(
                        "Master replied with wrong +FULLRESYNC syntax: {line}"
                    ));
                };
                log::info!("Full resync from master: {id}:{offset}");
                Step::Agreed(Agreed::Full(Some((id.to_owned(), offset))))
            }
            Some("+CONTINUE") if self.introduction.known.is_none() => Step::Failed(
                "Master continues a history that it was not asked for: nothing is known of it here"
                    .to_owned(),
            ),
            Some("+CONTINUE") => {
                let id = words.next().filter(|id| is_id(id)).map(str::to_owned);
                Step::Agreed(Agreed::Continue(id))
            }
            _ if self.introduction.takes_over => {
                // Why is in the log of the failover that comes to nothing.
                Step::Refused
            }
            Some("-NOMASTERLINK" | "-LOADING") => Step::Failed(format!(
                "Master is currently unable to PSYNC but should be in the future: {line}"
            )),
            first => {
                if first == Some("-ERR") {
                    log::info!(
                        "Master does not support PSYNC or is in error state (reply: {line})"
                    );
                } else {
                    log::warn!("Unexpected reply to PSYNC from master: {line}");
                }
                log::info!("Retrying with SYNC...");
                self.out.extend_from_slice(b"SYNC\r\n");
                Step::Agreed(Agreed::Full(None))
            }
        }
    }
}

/// A history's name: what a primary says may stand in a file and in INFO.
fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    fn begin(known: Option<(String, u64)>) -> Handshake {
        Handshake::begin(Introduction {
            port: 7000,
            known,
            ..Introduction::default()
        })
    }

    fn said(handshake: &mut Handshake) -> String {
        let text = String::from_utf8_lossy(&std::mem::take(&mut *handshake.out)).into_owned();
        let words = text.split("\r\n").filter(|w| !w.starts_with(['*', '$']));
        words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
    }

    /// The same whatever pieces the lines come in.
    fn replies(handshake: &mut Handshake, text: &str) -> Step {
        let mut input = Vec::new();
        let mut last = Step::Waiting;
        for byte in text.bytes() {
            input.push(byte);
            last = handshake.take(&mut input);
            if last != Step::Waiting {
                break;
            }
        }
        last
    }

    #[test]
    fn each_reply_brings_the_next_request() {
        let mut one = begin(None);
        one.introduction.user = Some(b"me".to_vec());
        one.introduction.password = Some(Zeroizing::new(b"secret".to_vec()));
        one.introduction.address = Some(b"10.0.0.1".to_vec());
        assert_eq!(said(&mut one), "PING");
        assert_eq!(
            replies(&mut one, "-NOAUTH Authentication required.\r\n"),
            Step::Waiting
        );
        assert_eq!(
            said(&mut one),
            format!(
                "AUTH me secret REPLCONF listening-port 7000 REPLCONF ip-address 10.0.0.1 REPLCONF \
                 capa eof capa psync2 capa redvault-groups REPLCONF version {REDIS_VERSION}"
            )
        );
        assert_eq!(
            replies(&mut one, "+OK\r\n+OK\r\n-ERR x\r\n+OK\r\n"),
            Step::Waiting
        );
        assert!(said(&mut one).is_empty() && !one.asks_for_sync());
        assert_eq!(replies(&mut one, "-ERR Unrecognized\r\n"), Step::Waiting);
        assert_eq!(said(&mut one), "PSYNC ? -1");
        assert_eq!(
            replies(&mut one, &format!("\n\n+FULLRESYNC {ID} 1234\r\n")),
            Step::Agreed(Agreed::Full(Some((ID.to_owned(), 1234))))
        );
    }

    #[test]
    fn what_comes_behind_the_end_is_left() {
        let mut one = begin(Some((ID.to_owned(), 99)));
        let mut input = format!("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+CONTINUE {ID}\r\n*1\r\n").into();
        let agreed = Step::Agreed(Agreed::Continue(Some(ID.to_owned())));
        assert_eq!(one.take(&mut input), agreed);
        assert_eq!(input, b"*1\r\n");
        assert!(said(&mut one).ends_with(&format!("PSYNC {ID} 100")));
    }

    #[test]
    fn nothing_that_a_primary_says_is_taken_for_more_than_it_is() {
        let start = "+PONG\r\n+OK\r\n+OK\r\n+OK\r\n";
        let failed = |known: Option<(String, u64)>, reply: &str| {
            let mut one = begin(known);
            matches!(
                replies(&mut one, &format!("{start}{reply}\r\n")),
                Step::Failed(_)
            )
        };
        assert!(failed(None, "+CONTINUE"));
        assert!(failed(None, "+FULLRESYNC"));
        assert!(failed(None, "+FULLRESYNC x 1"));
        assert!(failed(None, &format!("+FULLRESYNC {ID} -1")));
        assert!(failed(None, &format!("+FULLRESYNC {ID} {}", i64::MAX)));
        assert!(failed(None, "-LOADING x"));
        assert!(failed(None, "-NOMASTERLINK x"));
        let mut one = begin(None);
        assert!(matches!(replies(&mut one, "$5\r\n"), Step::Failed(_)));
        let mut one = begin(None);
        assert!(matches!(one.take(&mut vec![b'x'; 5000]), Step::Failed(_)));
        let mut one = begin(None);
        let text = format!("{start}-ERR unknown command\r\n");
        assert_eq!(replies(&mut one, &text), Step::Agreed(Agreed::Full(None)));
        assert!(said(&mut one).ends_with("SYNC"));
        let mut one = begin(Some((ID.to_owned(), 5)));
        one.introduction.takes_over = true;
        let text = format!("{start}-NOGOODSLAVE x\r\n");
        assert_eq!(replies(&mut one, &text), Step::Refused);
        assert!(said(&mut one).ends_with("6 FAILOVER"));
    }
}
