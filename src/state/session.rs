//! The life of a session: how it opens, and everything that must forget it when it ends.
use super::State;
use super::client::{ClientId, Peer, client_flag};
use super::gate;

impl State {
    /// Opens a session for a new connection.
    pub fn open_session(&mut self, peer: Peer) -> ClientId {
        let id = self.clients.open(peer, self.clock.unix_ms);
        let client = self.clients.me(id);
        if self.config.requirepass.is_some() {
            client.gate |= gate::UNAUTHENTICATED;
        } else {
            client.authenticated = true;
        }
        id
    }

    /// Ends a session: whoever knew it forgets it.
    pub fn end_session(&mut self, who: ClientId) {
        self.unwatch_all(who);
        if let Some(client) = self.clients.get_mut(who) {
            if let Some(parked) = client.parked.take() {
                self.blocked.unpark(who, &parked);
            }
            let client = self.clients.me(who);
            if client.has(client_flag::MONITOR) {
                self.monitors.retain(|m| *m != who);
            }
            self.unsubscribe_all(who);
            self.clients.close(who);
        }
    }

    /// Does a snapshot child or a role forbid to remove keys whose deadline has passed?
    pub fn may_expire(&self) -> bool {
        self.gate & (gate::PAUSED_ALL | gate::PAUSED_WRITES | gate::LOADING) == 0
    }

    /// Removes up to `max` keys whose deadline has passed; true when more may be due.
    pub fn expire_some(&mut self, max: usize) -> bool {
        if !self.may_expire() {
            return false;
        }
        let mut gone = std::mem::take(&mut self.due);
        let done = self
            .dbs
            .expire_cycle(self.clock.unix_ms, max, |db, entry| gone.push((db, entry)));
        for (db, entry) in gone.drain(..) {
            self.note_expired(db, entry.view().key());
            self.discard(entry, self.config.lazyfree_lazy_expire);
        }
        self.due = gone;
        done.more
    }
}
