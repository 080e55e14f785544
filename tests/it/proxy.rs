//! A link between two servers that can be disturbed: cut at a byte, held there, or changed there; and a primary
//! that is none, and says whatever a test wants it to say. On loopback only.
//!
//! What a plan counts is what the primary sends, from the first byte of a connection on: a test that names a
//! byte meets the same moment each time, however busy the machine is.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What happens to a connection when the primary has sent so many bytes over it.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Both sides are closed.
    Cut(u64),
    /// Nothing more comes until [`Proxy::release`].
    Hold(u64),
    /// One bit of the next byte is another one.
    Flip(u64),
    /// The same, counted from the first byte of a snapshot.
    Spoil(u64),
}

#[derive(Default)]
struct Shared {
    target: AtomicU16,
    /// Of the next connections, in turn; those after them are left alone.
    plans: Mutex<VecDeque<Fault>>,
    live: Mutex<Vec<TcpStream>>,
    held: Mutex<bool>,
    let_go: Condvar,
    /// Somebody waits for the release.
    holds: AtomicBool,
    refuses: AtomicBool,
    connections: AtomicU64,
    /// Plans that have been carried out.
    struck: AtomicU64,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A way to the server at this port.
    pub fn to(target: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared::default());
        shared.target.store(target, Ordering::SeqCst);
        let ours = Arc::clone(&shared);
        thread::spawn(move || {
            for replica in listener.incoming().map_while(Result::ok) {
                ours.connect(replica);
            }
        });
        Proxy { port, shared }
    }

    /// From the next connection on it leads there.
    pub fn aim(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    /// What is to happen to the next connections, one each.
    pub fn plan(&self, faults: &[Fault]) {
        lock(&self.shared.plans).extend(faults);
    }

    /// Closes what is open.
    pub fn cut(&self) {
        for socket in lock(&self.shared.live).drain(..) {
            socket.shutdown(Shutdown::Both).ok();
        }
    }

    /// Closes what is open, and whatever is opened, until it is told otherwise.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
        if refuses {
            self.cut();
        }
    }

    /// Nothing passes from the primary until the release.
    pub fn hold(&self) {
        *lock(&self.shared.held) = true;
    }

    /// Ends every hold.
    pub fn release(&self) {
        *lock(&self.shared.held) = false;
        self.shared.let_go.notify_all();
    }

    /// Does something wait for the release?
    pub fn holds(&self) -> bool {
        self.shared.holds.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Plans that have been carried out.
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.refuse(true);
        self.release();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn connect(self: &Arc<Shared>, replica: TcpStream) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let target = self.target.load(Ordering::SeqCst);
        let Ok(primary) = TcpStream::connect(("127.0.0.1", target)) else {
            return;
        };
        let clone = |socket: &TcpStream| socket.try_clone().expect("a second handle");
        lock(&self.live).extend([clone(&replica), clone(&primary)]);
        // Looked at behind the entry above: one of the two closes this connection.
        if self.refuses.load(Ordering::SeqCst) {
            primary.shutdown(Shutdown::Both).ok();
            replica.shutdown(Shutdown::Both).ok();
            return;
        }
        let plan = lock(&self.plans).pop_front();
        let (up_from, up_to) = (clone(&replica), clone(&primary));
        thread::spawn(move || pump(up_from, up_to));
        let ours = Arc::clone(self);
        thread::spawn(move || ours.pump_down(primary, replica, plan));
    }

    /// From the primary to the replica, with what was planned.
    fn pump_down(&self, mut from: TcpStream, mut to: TcpStream, mut plan: Option<Fault>) {
        let mut room = [0; 16 << 10];
        let mut passed = 0u64;
        'reading: while let Ok(n @ 1..) = from.read(&mut room) {
            let mut bytes = &mut room[..n];
            if let Some(Fault::Spoil(at)) = plan
                && let Some(begin) = bytes.windows(7).position(|seven| seven == b"REDIS00")
            {
                plan = Some(Fault::Flip(passed + begin as u64 + at));
            }
            if let Some(Fault::Cut(at) | Fault::Hold(at) | Fault::Flip(at)) = plan
                && at < passed + bytes.len() as u64
            {
                let (before, behind) = bytes.split_at_mut((at - passed) as usize);
                if to.write_all(before).is_err() {
                    break;
                }
                passed += before.len() as u64;
                match plan.take() {
                    Some(Fault::Cut(_)) => {
                        self.struck.fetch_add(1, Ordering::SeqCst);
                        break 'reading;
                    }
                    Some(Fault::Flip(_)) => behind[0] ^= 0x10,
                    Some(Fault::Hold(_)) => *lock(&self.held) = true,
                    Some(Fault::Spoil(_)) | None => {}
                }
                self.struck.fetch_add(1, Ordering::SeqCst);
                bytes = behind;
            }
            let mut held = lock(&self.held);
            while *held {
                self.holds.store(true, Ordering::SeqCst);
                held = self
                    .let_go
                    .wait(held)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            self.holds.store(false, Ordering::SeqCst);
            drop(held);
            if to.write_all(bytes).is_err() {
                break;
            }
            passed += bytes.len() as u64;
        }
        from.shutdown(Shutdown::Both).ok();
        to.shutdown(Shutdown::Both).ok();
        // It ended before its time: the next one meets what was planned for it.
        if let Some(plan) = plan {
            lock(&self.plans).push_front(plan);
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    std::io::copy(&mut from, &mut to).ok();
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}

/// What an [`Impostor`] sends behind its answer to PSYNC.
pub type Script = Box<dyn FnMut(&mut TcpStream) + Send>;

/// A primary that is none: it introduces itself as one does, and answers PSYNC by a script of its own.
pub struct Impostor {
    pub port: u16,
    asked: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

impl Impostor {
    /// `script` is run for each PSYNC; then the connection stays open, and silent, until the replica closes it.
    pub fn with(mut script: Script) -> Impostor {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (asked, ended) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, end) = (Arc::clone(&asked), Arc::clone(&ended));
        thread::spawn(move || {
            for mut replica in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                greet(&mut replica, &mut script, &count, &end);
            }
        });
        Impostor { port, asked, ended }
    }

    /// How many times it was asked for a synchronisation.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

/// One connection of a replica, to its end.
fn greet(replica: &mut TcpStream, script: &mut Script, asked: &AtomicU64, end: &AtomicBool) {
    let patience = Some(Duration::from_millis(100));
    replica.set_read_timeout(patience).expect("above zero");
    let (mut seen, mut room) = (Vec::new(), [0; 4096]);
    let mut answered = 0;
    while !end.load(Ordering::SeqCst) {
        match replica.read(&mut room) {
            Ok(0) => return,
            Ok(n) => seen.extend_from_slice(&room[..n]),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock) => continue,
            Err(_) => return,
        }
        let text = String::from_utf8_lossy(&seen).to_uppercase();
        // A request's name stands behind its length; of what it is called with REPLCONF's option counts.
        let names = ["PING", "AUTH", "REPLCONF", "PSYNC", "SYNC"];
        let lines: Vec<&str> = text.split("\r\n").collect();
        let known = |at: &usize| names.contains(&lines[*at]);
        let found: Vec<usize> = (0..lines.len()).filter(known).collect();
        for &at in &found[answered.min(found.len())..] {
            // What stands behind the last end of a line is not whole yet.
            if at + 2 >= lines.len() - 1 && lines[at] == "REPLCONF" {
                break;
            }
            answered += 1;
            let reply: &[u8] = match lines[at] {
                "PING" => b"+PONG\r\n",
                "PSYNC" | "SYNC" => {
                    asked.fetch_add(1, Ordering::SeqCst);
                    script(replica);
                    continue;
                }
                // An ACK is no question.
                "REPLCONF" if lines[at + 2] == "ACK" => continue,
                _ => b"+OK\r\n",
            };
            if replica.write_all(reply).is_err() {
                return;
            }
        }
    }
}
