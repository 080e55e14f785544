//! Who reads the stream: what is put into it, and who comes and goes.
use super::{Repl, Replica, Stage};
use crate::state::State;
use crate::state::client::{Client, ClientId, Peer, client_flag};
use crate::state::gate;
use crate::state::prop::push_request;

/// Blocks of the backlog that are let go of at once: freeing takes time.
const TRIMMED_AT_ONCE: usize = 64;

impl Repl {
    /// Lets go of what is older than the backlog's size and has been sent to everybody; true when there is
    /// more of it.
    pub fn trim(&mut self, size: u64) -> bool {
        let Some(backlog) = &mut self.backlog else {
            return false;
        };
        let unsent = self.replicas.iter().filter_map(|one| one.sent).min();
        let keep = backlog.end().saturating_sub(size);
        let needed = unsent.map_or(keep, |sent| keep.min(sent));
        let more = backlog.trim(needed, TRIMMED_AT_ONCE);
        let base = backlog.base();
        while self.hidden.front().is_some_and(|(_, end)| *end <= base) {
            self.hidden.pop_front();
        }
        more
    }

    /// Replicas without groups see blanks in place of what was appended from here on.
    fn hide_from(&mut self, from: u64) {
        self.hide(from, self.offset);
    }

    /// The same in place of what lies between two offsets, behind all that is hidden already.
    pub fn hide(&mut self, from: u64, to: u64) {
        match self.hidden.back_mut() {
            Some((_, end)) if *end == from => *end = to,
            _ => self.hidden.push_back((from, to)),
        }
    }

    /// Bytes that the stream holds in memory.
    pub fn heap_bytes(&self) -> usize {
        let hidden = self.hidden.capacity() * size_of::<(u64, u64)>();
        self.backlog.as_ref().map_or(0, |b| b.heap_bytes() + hidden)
    }

    /// How many replicas stand at this stage.
    pub fn count(&self, stage: Stage) -> usize {
        let at = self.replicas.iter().filter(|one| one.stage == stage);
        at.count()
    }
}

impl State {
    /// Tells handlers whether anybody reads what they propagate.
    pub fn settle_readers(&mut self) {
        // Waiting for a rewrite there is a file only while one runs.
        self.prop.on = self.aof.file.is_some() || self.repl.feeds();
    }

    /// Takes what whole units have changed into the stream. Whoever takes it out of the log comes behind this.
    #[inline]
    pub fn feed(&mut self) {
        let (log, repl) = (&mut self.prop.log, &mut self.repl);
        let feeds = repl.feeds();
        log.feed(|bytes, for_plain| {
            if feeds {
                let from = repl.offset;
                repl.append(bytes);
                if !for_plain {
                    repl.hide_from(from);
                }
            }
        });
    }

    /// Tells all replicas something that is no change of the data here. A replica's stream is its primary's: it
    /// adds nothing.
    pub fn tell_replicas(&mut self, argv: &[&[u8]]) {
        if !self.repl.feeds() {
            return;
        }
        self.feed();
        let mut request = Vec::new();
        push_request(&mut request, argv);
        self.repl.append(&request);
    }

    /// What was propagated so far is of no use to the append-only file; of the running unit, neither.
    pub fn abandon_log(&mut self) {
        if self.repl.feeds() {
            self.prop.log.cut_unit();
            self.feed();
        }
        self.prop.log.abandon();
    }

    /// A replica passes its primary's stream on as it comes: nobody without groups can follow it where there
    /// are some.
    pub fn send_plain_replicas_away(&mut self) {
        if !self.repl.is_replica() {
            return;
        }
        let all = self.repl.replicas.iter();
        let plain = all.filter(|one| one.capa & super::capa::GROUPS == 0);
        let plain: Vec<ClientId> = plain.map(|one| one.client).collect();
        plain.into_iter().for_each(|who| self.close_client(who));
    }

    /// A replica's connection has ended, or it reads no more.
    pub fn forget_replica(&mut self, who: ClientId) {
        let Some(at) = self.repl.replicas.iter().position(|r| r.client == who) else {
            return;
        };
        let name = self.replica_name(who);
        log::info!("Connection with replica {name} lost.");
        self.repl.replicas.remove(at);
        if self.repl.replicas.is_empty() {
            self.repl.unread_since_us = self.clock.mono_us;
        }
        self.settle_good_replicas();
    }

    /// An empty line came: a replica that loads a snapshot has no offset to tell of, and says so that it lives.
    #[cold]
    pub fn note_empty_line(&mut self, who: ClientId) {
        let now_us = self.clock.mono_us;
        let is_replica = |client: &Client| client.has(client_flag::REPLICA);
        if self.clients.get(who).is_some_and(is_replica)
            && let Some(replica) = self.repl.replica(who)
        {
            replica.acked_us = now_us;
        }
    }

    /// Where a replica can be reached, as log lines name it.
    pub fn replica_name(&self, who: ClientId) -> String {
        let Some(client) = self.clients.get(who) else {
            return format!("client id #{}", who.serial);
        };
        match replica_address(client) {
            (ip, _) if ip.is_empty() => format!("client id #{}", who.serial),
            (ip, 0) => format!("{ip}:<unknown-replica-port>"),
            (ip, port) if ip.contains(':') => format!("[{ip}]:{port}"),
            (ip, port) => format!("{ip}:{port}"),
        }
    }

    /// Counts the replicas that follow closely enough, and refuses writes where they are too few.
    pub fn settle_good_replicas(&mut self) {
        let (wanted, lag_s) = (
            self.config.min_replicas_to_write,
            self.config.min_replicas_max_lag,
        );
        let now_us = self.clock.mono_us;
        let good = self
            .repl
            .replicas
            .iter()
            .filter(|one| one.stage == Stage::Online && one.lag_s(now_us) <= u64::from(lag_s));
        self.repl.good = good.count() as u32;
        let asked = wanted > 0 && lag_s > 0 && !self.repl.is_replica();
        let few = asked && self.repl.good < wanted;
        self.restrict(gate::FEW_REPLICAS, few);
    }
}

impl Replica {
    /// Seconds since it last said how far it is.
    pub fn lag_s(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.acked_us) / 1_000_000
    }
}

/// Where a replica says that it can be reached; port 0 if it has not said.
pub fn replica_address(client: &Client) -> (String, u16) {
    let told = client.introduction.as_ref();
    let port = told.map_or(0, |told| told.port);
    let ip = match told.filter(|told| !told.address.is_empty()) {
        Some(told) => told.address.clone(),
        None => match &client.peer {
            Peer::Tcp(ends) => ends.0.ip().to_canonical().to_string(),
            // As the real server shows who comes over a socket file.
            Peer::Unix(path) => path.to_string(),
            Peer::None => String::new(),
        },
    };
    (ip, port)
}
