//! Bytes for replicas: the snapshot from a child's pipe or from its file, and the stream behind it.
//!
//! The stream lies in the backlog, once for all who read it: a replica's part of it is written from there, behind
//! whatever else its connection has to say. A pipe is read as fast as the slowest replica of its round takes what
//! came out of it; who takes nothing at all is dropped by `repl-timeout`.
use super::conn::Conn;
use super::flush::close_over_limit;
use super::spool::Reading;
use super::turn::Server;
use crate::base::disk::DiskFile;
use crate::base::sys::ticks;
use crate::replication::{cron, full};
use crate::state::State;
use crate::state::client::{ClientId, client_flag};
use crate::state::config::ClientClass;
use crate::state::repl::{Repl, Replica, Stage, capa};
use mio::unix::SourceFd;
use mio::{Interest, Token};
use std::io::{self, IoSlice, PipeReader, Read};
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// The child's pipe; below the other tokens that are no connection's.
pub const TOKEN_SNAPSHOT: usize = usize::MAX - 3;

/// Bytes of a snapshot that are read at once.
const CHUNK: usize = 128 << 10;
/// Time for snapshots in a turn, and for the stream, microseconds.
const SNAPSHOT_US: u64 = 300;
const STREAM_US: u64 = 300;
/// Time for the stream when the server ends, microseconds.
const LAST_WORDS_US: u64 = 200_000;
/// Bytes of the stream that one replica is written in a turn at least, and twice what the turn brought: a replica
/// that reads never falls behind.
const STREAM_BYTES: u64 = 1 << 20;
/// Of which so many count.
const BROUGHT_MAX: u64 = 8 << 20;
/// Bytes a microsecond that a socket takes at least.
const WRITTEN_A_US: u64 = 1 << 10;
/// Pieces of one vectored write: 512 KiB.
const PIECES: usize = 32;
/// What others' changes look like to who knows no groups: requests without words.
const BLANK: [u8; 4096] = [b'\n'; 4096];

/// What goes to replicas besides the stream.
#[derive(Default)]
pub(super) struct Replicas {
    pipe: Option<Pipe>,
    files: Vec<FileSending>,
    /// Who is first to be written the stream: where the last turn had no time left.
    next: usize,
    /// Where the stream ended when it was last written to them.
    offset: u64,
    /// Something can go on without an event: not in this turn, whose time was up.
    pub(super) more: bool,
}

/// What comes out of a child.
struct Pipe {
    reader: PipeReader,
    readable: bool,
    ended: bool,
    chunk: Vec<u8>,
    /// How much of the chunk each replica of the round has taken.
    taken: Vec<(ClientId, usize)>,
    told_end: bool,
}

/// A file that is sent to one replica.
struct FileSending {
    to: ClientId,
    reading: Reading,
    /// Bytes not taken from it yet.
    left: u64,
    chunk: Vec<u8>,
    taken: usize,
}

/// What became of bytes for a replica.
enum Sent {
    /// All of them are written.
    All,
    /// The socket takes no more for now.
    Blocked(usize),
    /// Its connection ends.
    Gone,
}

/// What may be written to one replica.
#[derive(Clone, Copy)]
struct Share {
    /// Bytes.
    most: u64,
    /// Not behind this moment, but for the first [`STREAM_BYTES`], clock ticks.
    end: u64,
}

impl Server {
    /// Does what is to be done for replicas at the end of a turn, behind the replies.
    pub(super) fn serve_replicas(&mut self) {
        self.replicas.more = false;
        if self.state.repl.replicas.is_empty() && self.state.repl.round.is_none() {
            // Each has a thread, and holds a file that may have no name any more.
            self.replicas.files.clear();
            return;
        }
        if full::follow_leaving(&mut self.state) {
            self.end_pipe();
        }
        self.end_round();
        if let Some(reader) = full::step(&mut self.state) {
            self.open_pipe(reader);
        }
        let end = ticks() + self.state.stats.us_to_ticks(SNAPSHOT_US);
        self.greet(end);
        self.pass_on(end);
        self.send_files(end);
        self.send_streams();
    }

    /// The server ends: what replicas can still be told, they are told.
    pub(super) fn tell_replicas_the_rest(&mut self) {
        let end = ticks() + self.state.stats.us_to_ticks(LAST_WORDS_US);
        loop {
            self.replicas.more = false;
            self.send_streams();
            if !self.replicas.more || ticks() > end {
                break;
            }
        }
    }

    /// Writes the stream to all who read it, in the time there is.
    fn send_streams(&mut self) {
        let offset = self.state.repl.offset;
        let brought = offset.saturating_sub(std::mem::replace(&mut self.replicas.offset, offset));
        let owed = 2 * brought.min(BROUGHT_MAX);
        let most = STREAM_BYTES.max(owed);
        // To bring it has taken longer than this.
        let time_us = STREAM_US + owed / WRITTEN_A_US;
        let end = ticks() + self.state.stats.us_to_ticks(time_us);
        let count = self.state.repl.replicas.len();
        let first = std::mem::take(&mut self.replicas.next);
        for n in 0..count {
            let at = (first + n) % count;
            let more = send_stream(&mut self.state, &mut self.conns, at, Share { most, end });
            self.replicas.more |= more;
            if ticks() > end {
                self.replicas.next = (at + 1) % count;
                self.replicas.more |= n + 1 < count;
                break;
            }
        }
        for at in 0..count {
            show(&mut self.state, at);
            check_limit(&mut self.state, at);
        }
    }

    /// Tells replicas what stands in front of the snapshot or the stream.
    fn greet(&mut self, end: u64) {
        for at in 0..self.state.repl.replicas.len() {
            let replica = &mut self.state.repl.replicas[at];
            if replica.greeting.is_empty() {
                continue;
            }
            let (who, greeting) = (replica.client, std::mem::take(&mut replica.greeting));
            let delays = self.state.config.repl_disable_tcp_nodelay;
            if let Some(conn) = conn_of(&mut self.conns, who) {
                if delays {
                    conn.stream.delay_small_writes();
                }
                conn.out.raw(&greeting);
                // Nothing else is written before that is.
                match ticks() > end {
                    true => self.mark_unwritten(who.slot as usize),
                    false => self.flush(who.slot as usize),
                }
            }
        }
    }

    /// Once a second: signs of life to those who wait for a snapshot.
    pub(super) fn replicas_cron(&mut self) {
        // In case that it could not be polled.
        self.note_snapshot();
        for who in cron::run(&mut self.state) {
            if let Some(conn) = conn_of(&mut self.conns, who) {
                // The output limit holds for what it does not take, too.
                conn.out.raw(b"\n");
                self.mark_unwritten(who.slot as usize);
            }
        }
    }

    /// The child's pipe has something.
    pub(super) fn note_snapshot(&mut self) {
        if let Some(pipe) = &mut self.replicas.pipe {
            pipe.readable = true;
        }
    }

    fn open_pipe(&mut self, reader: PipeReader) {
        let fd = reader.as_raw_fd();
        let polled = self.poll.registry().register(
            &mut SourceFd(&fd),
            Token(TOKEN_SNAPSHOT),
            Interest::READABLE,
        );
        if let Err(error) = polled {
            // It is read once a second then.
            log::warn!("Can't poll the pipe of the diskless transfer: {error}");
        }
        let waiting = self.state.repl.replicas.iter();
        let members = waiting.filter(|one| one.stage == Stage::WaitSnapshotEnd);
        self.replicas.pipe = Some(Pipe {
            reader,
            readable: true,
            ended: false,
            chunk: Vec::new(),
            taken: members.map(|one| (one.client, 0)).collect(),
            told_end: false,
        });
    }

    fn end_pipe(&mut self) {
        if let Some(pipe) = self.replicas.pipe.take() {
            let fd = pipe.reader.as_raw_fd();
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }

    /// Passes on what the child has written, in the time there is.
    fn pass_on(&mut self, end: u64) {
        let Some(pipe) = &mut self.replicas.pipe else {
            return;
        };
        let (state, conns) = (&mut self.state, &mut self.conns);
        let (mut more, mut begun) = (false, false);
        pipe.taken
            .retain(|(who, _)| state.repl.replica(*who).is_some());
        'turn: loop {
            let mut waits = false;
            for (who, taken) in &mut pipe.taken {
                let rest = &pipe.chunk[*taken..];
                if rest.is_empty() {
                    continue;
                }
                // Something is done in each turn, however late it is.
                if begun && ticks() > end {
                    more = true;
                    break 'turn;
                }
                let sent = write_to(state, conns, *who, rest);
                let n = match sent {
                    Sent::All => rest.len(),
                    Sent::Blocked(n) => n,
                    Sent::Gone => {
                        // The others go on without it.
                        more = true;
                        continue;
                    }
                };
                *taken += n;
                begun |= n > 0;
                note_progress(state, *who, *taken < pipe.chunk.len(), n);
                waits |= *taken < pipe.chunk.len();
            }
            if waits || pipe.ended || !pipe.readable {
                break;
            }
            if begun && ticks() > end {
                more = true;
                break;
            }
            begun = true;
            match read_chunk(&mut pipe.reader, &mut pipe.chunk) {
                Ok(0) => pipe.ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Nothing for now; any other error is followed by the child's end.
                    log::debug!("Reading from the child: {error}");
                    pipe.readable = false;
                }
            }
            pipe.taken.iter_mut().for_each(|(_, taken)| *taken = 0);
        }
        self.replicas.more |= more;
        self.end_round();
    }

    /// A round is over when its child has ended and everybody has what came out of it.
    fn end_round(&mut self) {
        let Some(round) = &self.state.repl.round else {
            return;
        };
        let (on_disk, succeeded) = (round.on_disk, round.succeeded);
        if let Some(pipe) = &mut self.replicas.pipe
            && pipe.is_done()
            && !pipe.told_end
        {
            pipe.told_end = true;
            log::info!(
                "Diskless rdb transfer, done reading from pipe, {} replicas still up.",
                pipe.taken.len()
            );
        }
        let Some(succeeded) = succeeded else {
            return;
        };
        let done = self.replicas.pipe.as_ref().is_none_or(Pipe::is_done);
        if succeeded && !on_disk && !done {
            return;
        }
        let all = self.state.repl.replicas.iter();
        let members = all.filter(|one| one.stage == Stage::WaitSnapshotEnd);
        let members: Vec<ClientId> = members.map(|one| one.client).collect();
        for who in members {
            if !succeeded {
                log::warn!("SYNC failed. BGSAVE child returned an error");
                self.state.close_client(who);
            } else if !on_disk && !full::put_online(&mut self.state, who, true) {
                self.end_behind_snapshot(who);
            }
        }
        self.end_pipe();
        let round = self.state.repl.round.take();
        for (who, opened) in round.map(|round| round.files.0).unwrap_or_default() {
            if self.state.repl.replica(who).is_some() {
                self.begin_file(who, opened);
            }
        }
    }

    /// It has all that it wanted: its connection ends when that has left.
    fn end_behind_snapshot(&mut self, who: ClientId) {
        if let Some(client) = self.state.clients.get_mut(who) {
            client.flags |= client_flag::CLOSE_AFTER_REPLY;
        }
        self.mark_unwritten(who.slot as usize);
    }

    /// The file is written: this replica is sent it.
    fn begin_file(&mut self, who: ClientId, opened: io::Result<Arc<dyn DiskFile>>) {
        let wake = self.jobs.wake(&self.poll);
        let on = &self.state.config.bio_cpulist;
        let opened = opened.and_then(|file| Ok((file.size()?, Reading::begin(file, on, wake)?)));
        match opened {
            Ok((bytes, reading)) => {
                if let Some(replica) = self.state.repl.replica(who) {
                    replica.stage = Stage::SendSnapshot;
                }
                self.replicas.files.push(FileSending {
                    to: who,
                    reading,
                    left: bytes,
                    chunk: format!("${bytes}\r\n").into_bytes(),
                    taken: 0,
                });
            }
            Err(error) => {
                log::warn!("SYNC failed. Can't open/stat DB after BGSAVE: {error}");
                self.state.close_client(who);
            }
        }
    }

    /// Sends files on, in the time there is: at least a piece of one, and first of whom the last turn had no
    /// time for.
    fn send_files(&mut self, end: u64) {
        for _ in 0..self.replicas.files.len() {
            let mut file = self.replicas.files.remove(0);
            if self.send_file(&mut file, end) {
                self.replicas.files.push(file);
            }
            if ticks() > end {
                self.replicas.more |= !self.replicas.files.is_empty();
                return;
            }
        }
    }

    /// Sends a file on; false when there is nothing more to send.
    fn send_file(&mut self, file: &mut FileSending, end: u64) -> bool {
        loop {
            if self.state.repl.replica(file.to).is_none() {
                return false;
            }
            match write_to(&mut self.state, &mut self.conns, file.to, file.rest()) {
                Sent::All => note_progress(&mut self.state, file.to, false, 0),
                Sent::Blocked(n) => {
                    file.taken += n;
                    note_progress(&mut self.state, file.to, true, n);
                    return true;
                }
                Sent::Gone => return false,
            }
            file.taken = file.chunk.len();
            if file.left == 0 {
                if !full::put_online(&mut self.state, file.to, false) {
                    self.end_behind_snapshot(file.to);
                }
                return false;
            }
            match file.read_on() {
                Ok(true) => {}
                // The thread that reads wakes the loop.
                Ok(false) => return true,
                Err(error) => {
                    log::warn!("Read error sending DB to replica: {error}");
                    self.state.close_client(file.to);
                    return false;
                }
            }
            if ticks() > end {
                return true;
            }
        }
    }
}

impl Pipe {
    /// Is there nothing more to come, and has everybody got all of it?
    fn is_done(&self) -> bool {
        self.ended
            && self
                .taken
                .iter()
                .all(|(_, taken)| *taken == self.chunk.len())
    }
}

impl FileSending {
    fn rest(&self) -> &[u8] {
        &self.chunk[self.taken..]
    }

    /// Takes the next piece; false while it is not there.
    fn read_on(&mut self) -> io::Result<bool> {
        let Some(piece) = self.reading.next() else {
            return Ok(false);
        };
        (self.chunk, self.taken) = (piece?, 0);
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        self.chunk.truncate(most);
        self.left -= self.chunk.len() as u64;
        match self.chunk.is_empty() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(true),
        }
    }
}

/// Reads what there is, in place of what the chunk held.
fn read_chunk(reader: &mut PipeReader, chunk: &mut Vec<u8>) -> io::Result<usize> {
    chunk.resize(CHUNK, 0);
    let result = reader.read(chunk);
    chunk.truncate(*result.as_ref().unwrap_or(&0));
    result
}

/// Takes down whether a replica takes its snapshot.
fn note_progress(state: &mut State, who: ClientId, waits: bool, n: usize) {
    let now_us = state.clock.mono_us.max(1);
    if let Some(replica) = state.repl.replica(who) {
        match waits {
            false => replica.stuck_since_us = 0,
            true if n > 0 || replica.stuck_since_us == 0 => replica.stuck_since_us = now_us,
            true => {}
        }
    }
}

fn conn_of(conns: &mut [Option<Conn>], who: ClientId) -> Option<&mut Conn> {
    let conn = conns.get_mut(who.slot as usize)?.as_mut()?;
    (conn.id == who).then_some(conn)
}

/// Writes bytes to a replica that has nothing else to be told.
fn write_to(state: &mut State, conns: &mut [Option<Conn>], who: ClientId, bytes: &[u8]) -> Sent {
    let Some(conn) = writable(state, conns, who) else {
        return match conn_of(conns, who) {
            Some(_) => Sent::Blocked(0),
            None => Sent::Gone,
        };
    };
    let mut written = 0;
    let mut failed = false;
    while written < bytes.len() && !conn.blocked_write {
        match conn.stream.write(&bytes[written..]) {
            Ok(n) => written += n,
            Err(error) => failed = note_error(conn, &error),
        }
        if failed {
            break;
        }
    }
    // What TLS could not send goes out when the socket takes it: nothing else may come to push it.
    conn.blocked_write |= !conn.stream.settled();
    count(state, who, written);
    if failed {
        state.close_client(who);
        return Sent::Gone;
    }
    match written == bytes.len() {
        true => Sent::All,
        false => Sent::Blocked(written),
    }
}

/// Its connection, if it can be written to now.
fn writable<'a>(
    state: &State,
    conns: &'a mut [Option<Conn>],
    who: ClientId,
) -> Option<&'a mut Conn> {
    let client = state.clients.get(who)?;
    let ends = client_flag::CLOSE_NOW | client_flag::CLOSE_AFTER_REPLY;
    if client.flags & ends != 0 {
        return None;
    }
    conn_of(conns, who).filter(|conn| conn.out.is_empty() && !conn.blocked_write)
}

/// What an error of a write means; true if the connection is of no more use.
fn note_error(conn: &mut Conn, error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            conn.blocked_write = true;
            false
        }
        io::ErrorKind::Interrupted => false,
        _ => {
            log::info!("Write error sending to replica: {error}");
            true
        }
    }
}

fn count(state: &mut State, who: ClientId, written: usize) {
    state.repl.figures.net_out += written as u64;
    if let Some(client) = state.clients.get_mut(who) {
        client.net_out += written as u64;
    }
}

/// Writes a replica's part of the stream; true when there is more than one turn's share.
fn send_stream(state: &mut State, conns: &mut [Option<Conn>], at: usize, share: Share) -> bool {
    let replica = &state.repl.replicas[at];
    let who = replica.client;
    let pending = replica.pending(state.repl.offset);
    let mut written = 0;
    let mut outcome = (false, pending > 0 && replica.streams());
    if outcome.1
        && let Some(conn) = writable(state, conns, who)
    {
        outcome = write_stream(&mut state.repl, at, conn, share, &mut written);
    } else {
        outcome.1 = false;
    }
    count(state, who, written as usize);
    if outcome.0 {
        state.close_client(who);
        return false;
    }
    outcome.1
}

/// Has it failed, and is there more that could be written?
fn write_stream(
    repl: &mut Repl,
    at: usize,
    conn: &mut Conn,
    share: Share,
    written: &mut u64,
) -> (bool, bool) {
    while !conn.blocked_write {
        let replica = &repl.replicas[at];
        let Some(from) = replica.sent.filter(|from| *from < repl.offset) else {
            return (false, false);
        };
        if *written >= share.most || (*written >= STREAM_BYTES && ticks() > share.end) {
            return (false, true);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let n = pieces_for(repl, replica, from, &mut pieces);
        if n == 0 {
            log::error!(
                "The replication stream has no bytes at offset {from}: dropping the replica"
            );
            return (true, false);
        }
        match conn.stream.write_vectored(&pieces[..n]) {
            Ok(n) => {
                repl.replicas[at].sent = Some(from + n as u64);
                *written += n as u64;
                conn.blocked_write |= !conn.stream.settled();
            }
            Err(error) => {
                if note_error(conn, &error) {
                    return (true, false);
                }
            }
        }
    }
    (false, false)
}

/// The stream from an offset on as this replica is to see it.
fn pieces_for<'a>(
    repl: &'a Repl,
    replica: &Replica,
    from: u64,
    out: &mut [IoSlice<'a>; PIECES],
) -> usize {
    let Some(backlog) = &repl.backlog else {
        return 0;
    };
    if repl.hidden.is_empty() || replica.capa & capa::GROUPS != 0 {
        return backlog.pieces(from, out);
    }
    let mut room = [IoSlice::new(&[]); PIECES];
    let held = backlog.pieces(from, &mut room);
    let (mut at, mut n) = (from, 0);
    let first = repl.hidden.partition_point(|(_, end)| *end <= from);
    let mut hidden = repl.hidden.range(first..).copied().peekable();
    for piece in &room[..held] {
        // `IoSlice` ties what it gives to itself.
        let (mut skip, len) = (0, piece.len());
        let whole = backlog.slice(at, len);
        while skip < len {
            while hidden.peek().is_some_and(|(_, end)| *end <= at) {
                hidden.next();
            }
            if n == PIECES {
                return n;
            }
            let left = len - skip;
            let (is_hidden, run) = match hidden.peek() {
                Some((start, end)) if *start <= at => (true, (*end - at) as usize),
                Some((start, _)) => (false, (*start - at) as usize),
                None => (false, left),
            };
            let run = run.min(left);
            let run = if is_hidden { run.min(BLANK.len()) } else { run };
            out[n] = IoSlice::new(match is_hidden {
                true => &BLANK[..run],
                false => &whole[skip..skip + run],
            });
            n += 1;
            skip += run;
            at += run as u64;
        }
    }
    n
}

/// Tells the session what waits for it, for CLIENT LIST.
fn show(state: &mut State, at: usize) {
    let replica = &state.repl.replicas[at];
    let (who, pending) = (replica.client, replica.pending(state.repl.offset));
    let short = u32::try_from(pending).unwrap_or(u32::MAX);
    if let Some(client) = state.clients.get_mut(who) {
        let transport = &mut client.transport;
        if transport.out_bytes != short {
            (transport.out_bytes, transport.out_held) = (short, short);
            transport.out_pieces = u32::try_from(pending.div_ceil(16 << 10)).unwrap_or(u32::MAX);
        }
    }
}

/// `client-output-buffer-limit replica`, for what it has not read of the stream.
fn check_limit(state: &mut State, at: usize) {
    let offset = state.repl.offset;
    let limit = state
        .config
        .client_output_buffer_limit
        .of(ClientClass::Replica);
    // Whoever asks again could be given as much as the backlog holds, at once.
    let hard = match limit.hard_bytes {
        0 => u64::MAX,
        bytes => bytes.max(state.config.repl_backlog_size),
    };
    let now_ms = (state.clock.mono_us / 1000).max(1);
    let replica = &mut state.repl.replicas[at];
    let pending = replica.pending(offset);
    let mut over = pending > hard;
    if limit.soft_bytes > 0 && pending > limit.soft_bytes {
        if replica.soft_since_ms == 0 {
            replica.soft_since_ms = now_ms;
        }
        over |= now_ms - replica.soft_since_ms > limit.soft_seconds * 1000;
    } else {
        replica.soft_since_ms = 0;
    }
    if over {
        let who = replica.client;
        close_over_limit(state, who);
    }
}
