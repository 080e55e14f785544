//! What clients hold together, and who is closed when it is too much (`maxmemory-clients`).
//!
//! Without a limit, as it is by default, nothing of this is kept. With one, the server has each client weighed
//! when its buffers or what it has queued may have changed, and the client lies in a class by its size,
//! powers of two, so that those who hold most are found without a look at all others.
use super::State;
use super::client::{Client, ClientId, client_flag};

/// Sizes below this are all alike: what a client takes that does nothing.
const SMALLEST: usize = 1 << 9;
/// The last class holds whatever is larger.
const CLASSES: usize = 32;
/// A limit below this would leave nobody who could raise it.
const LIMIT_MIN: u64 = 128 * 1024;
/// In no class: it is not closed for its size.
const EXEMPT: u8 = u8::MAX;

/// Where a client lies on the scales.
#[derive(Debug, Clone, Copy)]
pub struct Weight {
    bytes: usize,
    class: u8,
    /// Its place in the class.
    place: u32,
}

impl Default for Weight {
    fn default() -> Self {
        Weight {
            bytes: 0,
            class: EXEMPT,
            place: 0,
        }
    }
}

/// The scales.
#[derive(Debug, Default)]
pub struct ClientMemory {
    /// Bytes; 0: no limit, nobody is weighed.
    limit: usize,
    /// Somebody wants to know when what a client holds may have changed: for the limit, or for its group's.
    on: bool,
    /// A group has had a limit of its bytes.
    groups: bool,
    total: usize,
    classes: [Vec<ClientId>; CLASSES],
}

impl ClientMemory {
    /// The most that clients may hold together; `None`: whatever they want.
    #[inline]
    pub fn limit(&self) -> Option<usize> {
        (self.limit > 0).then_some(self.limit)
    }

    /// Bytes by which clients hold too much: they will go, whatever else goes.
    #[inline]
    pub fn excess(&self) -> usize {
        match self.limit {
            0 => 0,
            limit => self.total.saturating_sub(limit),
        }
    }
}

fn class_of(bytes: usize) -> usize {
    ((bytes / SMALLEST).max(1).ilog2() as usize).min(CLASSES - 1)
}

impl Client {
    /// All it holds: the session, its buffers, and the request it waits with.
    pub fn weight(&self) -> usize {
        let waiting = self.parked.as_ref().map_or(0, |p| p.argv.heap_bytes());
        self.memory() + self.transport.buffers() + waiting
    }
}

impl State {
    /// Takes over what the configuration says of clients' memory.
    pub(super) fn settle_client_limit(&mut self) {
        let limit = match self.config.maxmemory_clients.bytes(self.config.maxmemory) {
            0 => 0,
            bytes => usize::try_from(bytes.max(LIMIT_MIN)).unwrap_or(usize::MAX),
        };
        let before = std::mem::replace(&mut self.client_memory.limit, limit);
        self.client_memory.on = limit > 0 || self.client_memory.groups;
        if (before == 0) == (limit == 0) {
            return;
        }
        // Nobody was weighed until now, or nobody is from now on.
        let all: Vec<ClientId> = self.clients.iter().map(|client| client.id).collect();
        for who in all {
            match limit {
                0 => {
                    self.unweigh(who);
                    self.note_held(who);
                }
                _ => self.weigh(who),
            }
        }
    }

    /// What a client holds may have changed.
    #[inline]
    pub fn weigh(&mut self, who: ClientId) {
        if self.client_memory.on {
            self.weigh_now(who);
        }
    }

    /// From now on what clients of groups hold is summed up for each.
    pub(super) fn weigh_groups(&mut self) {
        if self.client_memory.groups {
            return;
        }
        self.client_memory.groups = true;
        self.client_memory.on = true;
        let all: Vec<ClientId> = self.clients.iter().map(|client| client.id).collect();
        all.into_iter().for_each(|who| self.note_held(who));
    }

    /// What a client of a group queues, watches and subscribes to may have changed: the group's sum does.
    pub fn note_held(&mut self, who: ClientId) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        if client.group.is_default() {
            return;
        }
        let now = match client.has(client_flag::CLOSE_NOW) || !self.client_memory.groups {
            true => 0,
            false => (client.memory() - size_of::<Client>()) as u64,
        };
        let before = std::mem::replace(&mut client.held, now);
        if let Some(group) = self.groups.get_mut(client.group) {
            group.spent.held = (group.spent.held + now).saturating_sub(before);
        }
    }

    /// A client ends, or leaves its group.
    pub(super) fn forget_held(&mut self, who: ClientId) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        let before = std::mem::take(&mut client.held);
        if let Some(group) = self.groups.get_mut(client.group) {
            group.spent.held = group.spent.held.saturating_sub(before);
        }
    }

    fn weigh_now(&mut self, who: ClientId) {
        self.note_held(who);
        if self.client_memory.limit == 0 {
            return;
        }
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        let others = client_flag::REPLICA | client_flag::PRIMARY | client_flag::CLOSE_NOW;
        if client.flags & others != 0 {
            return self.unweigh(who);
        }
        let bytes = client.weight();
        let class = match client.has(client_flag::NO_EVICT) {
            true => EXEMPT,
            false => class_of(bytes) as u8,
        };
        let scales = &mut self.client_memory;
        scales.total = scales.total - client.weight.bytes + bytes;
        client.weight.bytes = bytes;
        if client.weight.class != class {
            self.leave_class(who);
            self.enter_class(who, class);
        }
    }

    /// A client counts no more.
    pub(super) fn unweigh(&mut self, who: ClientId) {
        self.forget_held(who);
        self.leave_class(who);
        if let Some(client) = self.clients.get_mut(who) {
            self.client_memory.total -= client.weight.bytes;
            client.weight = Weight::default();
        }
    }

    fn enter_class(&mut self, who: ClientId, class: u8) {
        let Some(members) = self.client_memory.classes.get_mut(usize::from(class)) else {
            return;
        };
        if let Some(client) = self.clients.get_mut(who) {
            client.weight.class = class;
            client.weight.place = members.len() as u32;
            members.push(who);
        }
    }

    fn leave_class(&mut self, who: ClientId) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        let (class, place) = (client.weight.class, client.weight.place as usize);
        client.weight.class = EXEMPT;
        let Some(members) = self.client_memory.classes.get_mut(usize::from(class)) else {
            return;
        };
        // The last one takes the place.
        members.swap_remove(place);
        if let Some(moved) = members.get(place)
            && let Some(client) = self.clients.get_mut(*moved)
        {
            client.weight.place = place as u32;
        }
    }

    /// The client to close next, while clients hold too much: one of those that hold most.
    pub fn heaviest_client(&self) -> Option<ClientId> {
        if self.client_memory.excess() == 0 {
            return None;
        }
        let classes = self.client_memory.classes.iter();
        classes.rev().find_map(|members| members.last().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::base::rng::Rng;
    use crate::state::client::Peer;
    use crate::state::config::{Config, MemoryLimit};

    fn state() -> State {
        let clock = Clock::manual(1_000_000);
        State::new(Config::default(), Rng::from_seed(1), clock, 1, 1.0)
    }

    fn limit(state: &mut State, limit: MemoryLimit) {
        state.config.maxmemory_clients = limit;
        state.apply_config();
    }

    fn hold(state: &mut State, who: ClientId, bytes: u32) {
        state.clients.me(who).transport.query_bytes = bytes;
        state.weigh(who);
    }

    #[test]
    fn the_largest_go_until_the_rest_fits() {
        let mut state = state();
        let clients: Vec<_> = (0..8).map(|_| state.open_session(Peer::None)).collect();
        limit(&mut state, MemoryLimit::Bytes(1_000_000));
        for (n, who) in clients.iter().enumerate() {
            hold(&mut state, *who, 100_000 << (n / 4));
        }
        let mut gone = Vec::new();
        while let Some(who) = state.heaviest_client() {
            gone.push(who);
            state.close_client(who);
        }
        assert_eq!(
            gone,
            [clients[7], clients[6]],
            "800,000 and a little are left"
        );
        state.end_session(clients[0]);
        hold(&mut state, clients[1], 0);
        hold(&mut state, clients[4], 900_000);
        assert_eq!(state.heaviest_client(), Some(clients[4]));
        state.clients.me(clients[4]).flags |= client_flag::NO_EVICT;
        hold(&mut state, clients[4], 900_000);
        assert_eq!(
            state.heaviest_client(),
            Some(clients[5]),
            "it counts and stays"
        );
    }

    #[test]
    fn a_limit_may_come_go_and_follow_another() {
        let mut state = state();
        let who = state.open_session(Peer::None);
        hold(&mut state, who, 1_000_000);
        assert_eq!(state.client_memory.total, 0);
        limit(&mut state, MemoryLimit::Percent(5));
        assert_eq!(state.client_memory.limit(), None, "of nothing");
        state.config.maxmemory = 10_000_000;
        state.apply_config();
        assert!(state.client_memory.excess() > 500_000);
        limit(&mut state, MemoryLimit::Bytes(1));
        assert_eq!(state.client_memory.limit(), Some(128 * 1024));
        limit(&mut state, MemoryLimit::Bytes(0));
        assert_eq!(
            (state.client_memory.total, state.heaviest_client()),
            (0, None)
        );
        let listed = state
            .client_memory
            .classes
            .iter()
            .map(Vec::len)
            .sum::<usize>();
        assert_eq!(listed, 0);
        state.end_session(who);
    }
}
