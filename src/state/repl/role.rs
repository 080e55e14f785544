//! What being a replica forbids: to clients, to keys whose deadline has passed, to eviction.
use super::super::State;
use super::super::client::client_flag;
use super::super::gate;
use super::super::listener;

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

impl State {
    // TEMPORARY-UNTIL-PRIMARY
    pub fn feed(&mut self) {}
    pub fn settle_readers(&mut self) {
        self.prop.on = self.aof.file.is_some();
    }
}
