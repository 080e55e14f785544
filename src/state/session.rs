//! The life of a session: how it opens, and everything that must forget it when it ends.
use super::State;
use super::client::{ClientId, Peer, client_flag};
use super::gate;
use super::groups::GroupId;
use super::watch::FORGOTTEN_AT_ONCE_MAX;

impl State {
    /// Opens a session for a new connection.
    pub fn open_session(&mut self, peer: Peer) -> ClientId {
        let id = self.clients.open(peer, self.clock.unix_ms);
        self.count_client(GroupId::DEFAULT, 1);
        self.forget_login(id);
        id
    }

    /// Opens the session on whose behalf a file's requests run; it ends before anybody else runs.
    pub fn open_loader_session(&mut self) -> ClientId {
        self.count_client(GroupId::DEFAULT, 1);
        self.clients
            .open_as(u64::MAX, Peer::None, self.clock.unix_ms)
    }

    /// The client listens to what others run from now on, and may do little else.
    pub fn start_monitor(&mut self, who: ClientId) {
        let client = self.clients.me(who);
        if client.has(client_flag::MONITOR) {
            return;
        }
        client.flags |= client_flag::MONITOR;
        client.gate |= gate::NO_KEYSPACE;
        let group = client.group;
        self.monitors.push(who);
        self.settle_monitored(group);
    }

    /// The client no longer runs MONITOR.
    pub fn stop_monitor(&mut self, who: ClientId) {
        let client = self.clients.me(who);
        if !client.has(client_flag::MONITOR) {
            return;
        }
        client.flags &= !client_flag::MONITOR;
        client.gate &= !gate::NO_KEYSPACE;
        let group = client.group;
        self.monitors.retain(|m| *m != who);
        self.settle_monitored(group);
    }

    /// Those who run MONITOR in a group.
    pub fn monitors_of(&self, group: GroupId) -> impl Iterator<Item = ClientId> {
        let all = self.monitors.iter().copied();
        all.filter(move |who| self.group_of_client(*who) == group)
    }

    /// A group's MONITOR began or ended: what its clients run is shown, or no longer. That of others costs
    /// them nothing.
    fn settle_monitored(&mut self, group: GroupId) {
        let on = self.monitors_of(group).next().is_some();
        if group.is_default() {
            return self.restrict(gate::MONITORED, on);
        }
        for client in self.clients.iter_mut().filter(|c| c.group == group) {
            client.gate = client.gate & !gate::MONITORED | if on { gate::MONITORED } else { 0 };
        }
    }

    /// The same for one client that came into its group.
    pub(super) fn settle_monitored_client(&mut self, who: ClientId) {
        let group = self.group_of_client(who);
        let on = !group.is_default() && self.monitors_of(group).next().is_some();
        let client = self.clients.me(who);
        client.gate = client.gate & !gate::MONITORED | if on { gate::MONITORED } else { 0 };
    }

    /// CLIENT PAUSE: the later of two ends holds, and the stricter of two modes.
    pub fn pause_clients(&mut self, until_ms: i64, all: bool) {
        let paused = gate::PAUSED_ALL | gate::PAUSED_WRITES;
        if self.gate & paused == 0 {
            self.pause = Default::default();
        } else if self.pause.until_ms == 0 {
            self.pause.all = false;
        }
        self.pause.until_ms = self.pause.until_ms.max(until_ms);
        self.pause.all |= all;
        self.gate |= if all {
            gate::PAUSED_ALL
        } else {
            gate::PAUSED_WRITES
        };
    }

    /// CLIENT UNPAUSE; the server's own reasons to hold writes back hold on.
    pub fn unpause_clients(&mut self) {
        self.gate &= !(gate::PAUSED_ALL | gate::PAUSED_WRITES);
        if self.pause.held != 0 {
            self.gate |= gate::PAUSED_WRITES;
            // The server looks again at everybody who waits.
            self.pause.until_ms = self.pause.until_ms.min(1);
        }
    }

    /// Holds writes back for a reason of the server's own (`run::hold`).
    pub fn hold_writes(&mut self, why: u8) {
        self.pause.held |= why;
        self.gate |= gate::PAUSED_WRITES;
    }

    /// That reason is gone; others may hold on.
    pub fn release_writes(&mut self, why: u8) {
        let held = std::mem::take(&mut self.pause.held);
        self.pause.held = held & !why;
        if held != 0 && self.pause.held == 0 && self.pause.until_ms <= self.clock.unix_ms {
            self.gate &= !(gate::PAUSED_ALL | gate::PAUSED_WRITES);
            // The server looks again at everybody who waits.
            self.pause.until_ms = 1;
        }
    }

    /// Ends a session: whoever knew it forgets it.
    pub fn end_session(&mut self, who: ClientId) {
        self.leave_watches(who);
        self.unweigh(who);
        if let Some(client) = self.clients.get_mut(who) {
            if let Some(multi) = client.multi.take()
                && multi.queue.len() > FORGOTTEN_AT_ONCE_MAX
            {
                let bytes = multi.bytes;
                self.garbage.later_sized(multi, 0, bytes);
            }
            if let Some(mut parked) = client.parked.take() {
                self.blocked.unpark(&mut parked);
            }
            self.forget_replica(who);
            self.stop_monitor(who);
            self.unsubscribe_all(who, true);
            self.untrack(who);
            if let Some(client) = self.clients.close(who) {
                if client.has(client_flag::HANDSHAKE) {
                    let held = client.transport.session_bytes as usize;
                    let others = self.tls.held_by_handshakes.saturating_sub(held);
                    self.tls.held_by_handshakes = others;
                }
                self.count_client(client.group, -1);
                self.count_output(client.group, client.transport.out_held.into(), 0);
            }
        }
    }

    /// Is there anything left of clients that have ended, or wait no longer?
    #[inline]
    pub fn has_leaving(&self) -> bool {
        self.pubsub.has_leaving() || self.watched.has_leaving() || self.blocked.has_leaving()
    }

    /// Forgets some of it.
    #[cold]
    pub fn forget_leaving(&mut self) {
        if self.pubsub.has_leaving() {
            self.end_leaving_subscriptions();
        }
        self.watched.forget_some(FORGOTTEN_AT_ONCE_MAX);
        self.blocked.forget_some(FORGOTTEN_AT_ONCE_MAX);
    }

    /// May keys whose deadline has passed be removed? On a replica that is for its primary to say.
    pub fn may_expire(&self) -> bool {
        self.gate & (gate::PAUSED_ALL | gate::PAUSED_WRITES | gate::LOADING) == 0
            && !self.repl.is_replica()
    }

    /// Removes up to `max` keys, and as many fields, whose deadline has passed; true when more may be due.
    pub fn expire_some(&mut self, max: usize) -> bool {
        if !self.may_expire() {
            if !self.repl.is_replica() || self.is_loading() {
                return false;
            }
            let more = self.dbs.sweep_indexes(max).more;
            return (!self.repl.own_deadlines.is_empty() && self.expire_some_own()) || more;
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
        // Each has a budget of its own, so that neither waits for the end of the other.
        let more = self.expire_some_members(max) || done.more;
        self.prop.apart = self.prop.has_unit();
        more
    }
}
