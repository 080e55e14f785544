//! What being a replica forbids: to clients, to keys whose deadline has passed, to eviction.
use super::super::State;
use super::super::client::client_flag;
use super::super::gate;
use super::super::listener;
use super::backlog::Backlog;

/// The fact of a snapshot that says how many databases each group has in the stream behind it.
pub const STREAM_DATABASES: &str = "redvault-stream-databases";
/// Keys of a writable replica's own that end in one go.
const ENDED_AT_ONCE: usize = 64;

impl State {
    /// Lets clients do what the role and the link to the primary allow.
    pub fn settle_role(&mut self) {
        let config = &self.config;
        let (read_only, stale_too) = (config.replica_read_only, config.replica_serve_stale_data);
        let upstream = self.repl.upstream.as_ref();
        let replica = upstream.is_some();
        let serves = upstream.is_none_or(|upstream| upstream.is_up() || upstream.async_loading);
        let swaps = upstream.is_some_and(|upstream| upstream.async_loading);
        self.restrict(gate::READ_ONLY, replica && read_only);
        self.restrict(gate::STALE_REPLICA, !serves && !stale_too);
        self.restrict(gate::ASYNC_LOADING, swaps);
        let limited = self.config.maxmemory > 0 && !self.ignores_maxmemory();
        self.restrict(gate::MAXMEMORY, limited);
        self.settle_good_replicas();
        self.listen(listener::OWN_DEADLINES, replica && !read_only);
        if !replica || read_only {
            self.repl.own_deadlines.clear();
        }
    }

    /// A replica leaves it to its primary which keys there is room for.
    pub fn ignores_maxmemory(&self) -> bool {
        self.repl.is_replica() && self.config.replica_ignore_maxmemory
    }

    /// Are keys there whatever their deadline says? A file and a primary say by themselves when one ends.
    #[inline]
    pub fn keeps_expired(&self) -> bool {
        self.is_loading() || self.repl.applying
    }

    /// May whoever writes to a key whose deadline has passed find its place empty? On a replica that only its
    /// primary writes to nobody is to put anything there.
    #[inline]
    pub fn may_end_keys(&self) -> bool {
        !self.repl.is_replica() || !self.config.replica_read_only
    }

    /// CLIENT PAUSE holds for whoever changes something: the primary as well.
    pub fn is_paused(&self) -> bool {
        self.gate & (gate::PAUSED_ALL | gate::PAUSED_WRITES) != 0
    }

    /// A client of a writable replica changed a key.
    pub(in crate::state) fn note_own_deadline(&mut self, db: usize, key: &[u8]) {
        if self.repl.applying {
            return;
        }
        let entry = self.dbs.get(db, key);
        if let Some(at_ms) = entry.and_then(|entry| entry.expire_at()) {
            self.repl.own_deadlines.note(db as u32, key, at_ms);
        }
    }

    /// Ends keys of a writable replica's own; true when more may be due.
    pub(in crate::state) fn expire_some_own(&mut self) -> bool {
        let now_ms = self.clock.unix_ms;
        for _ in 0..ENDED_AT_ONCE {
            let Some((db, key)) = self.repl.own_deadlines.next_due(now_ms) else {
                return false;
            };
            let db = db as usize;
            let Some(slot) = self.dbs.find(db, &key) else {
                continue;
            };
            match self.dbs[db].entry(slot).expire_at() {
                Some(at_ms) if at_ms <= now_ms => {
                    self.expire(db, &key, slot);
                    self.prop.apart = self.prop.has_unit();
                }
                Some(at_ms) => self.repl.own_deadlines.note(db as u32, &key, at_ms),
                None => {}
            }
        }
        true
    }

    /// The stream that others read begins here, unless there is one already.
    pub fn begin_backlog(&mut self) {
        let repl = &mut self.repl;
        if repl.backlog.is_none() {
            repl.backlog = Some(Backlog::new(repl.offset));
            repl.unread_since_us = self.clock.mono_us;
        }
    }

    /// The database in which the stream goes on.
    pub fn stream_db(&self) -> u32 {
        match &self.repl.upstream {
            Some(upstream) => upstream.db,
            None => self.prop.log.selected().unwrap_or(0),
        }
    }

    /// What a snapshot says of the place in the stream at which it is taken; nothing where no stream is kept.
    pub fn stream_facts(&self) -> Vec<(&'static str, String)> {
        if self.repl.backlog.is_none() {
            return Vec::new();
        }
        let mut facts = Vec::new();
        // The numbers of databases in the file are this server's, those in the stream its primary's.
        let told = self.repl.upstream.as_ref().map(|up| up.file_databases);
        if let Some(count) = told.filter(|count| *count != 0 && *count != self.dbs.count()) {
            facts.push((STREAM_DATABASES, count.to_string()));
        }
        facts.extend([
            ("repl-stream-db", self.stream_db().to_string()),
            ("repl-id", self.repl.id.clone()),
            ("repl-offset", self.repl.offset.to_string()),
        ]);
        facts
    }

    /// A file that is loaded at the start tells of which history its data are, up to where: that may go on.
    pub fn continue_history(&mut self, id: String, offset: u64, db: u32) {
        let of_file = self.groups.databases_behind_file();
        let repl = &mut self.repl;
        repl.offset = offset;
        if let Some(upstream) = &mut repl.upstream {
            repl.id = id;
            (upstream.resumes, upstream.db) = (true, db);
            upstream.file_databases = of_file;
        } else {
            repl.second_id = id;
            repl.second_until = offset.cast_signed() + 1;
        }
        self.begin_backlog();
        self.settle_readers();
    }

    /// A key in that file had expired and was left out: who has it is told.
    pub fn tell_left_out(&mut self, db: usize, key: &[u8]) {
        let logged = std::mem::replace(&mut self.prop.on, true);
        self.prop.push_own(db, &[b"DEL", key]);
        self.prop.end_unit();
        self.prop.on = logged;
    }

    /// Sends everybody away who follows this server: what they know of it holds no more. They come back, and
    /// mostly go on where they were.
    pub fn disconnect_replicas(&mut self) {
        let all: Vec<_> = self.repl.replicas.iter().map(|one| one.client).collect();
        all.into_iter().for_each(|who| self.close_client(who));
    }

    /// The session under which the primary's stream is applied ends.
    pub fn end_primary_session(&mut self) {
        let upstream = self.repl.upstream.as_mut();
        if let Some(who) = upstream.and_then(|upstream| upstream.client.take()) {
            if let Some(client) = self.clients.get_mut(who) {
                client.flags &= !client_flag::PRIMARY;
            }
            self.close_client(who);
        }
    }
}
