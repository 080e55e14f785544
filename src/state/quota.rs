//! Quotas: what a group may take, held against what it takes.
//!
//! Group 0 has none: `maxmemory` and the like limit the server. What the keys of a group take is measured
//! where they are kept (`keyspace`); requests go through a bucket of tokens that holds those of one second;
//! what replies and messages take is told by the transport.
use super::State;
use super::client::ClientId;
use super::config::MaxmemoryPolicy as Policy;
use super::gate;
use super::groups::{Group, GroupId, Quotas};
use crate::base::sys::ticks;
use crate::keyspace::evict::{Evictor, Pick};

/// Something that a group may have only so much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Bytes,
    Keys,
    Clients,
    Ops,
    Output,
}

impl Limit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Limit; 5] = [
        Limit::Bytes,
        Limit::Keys,
        Limit::Clients,
        Limit::Ops,
        Limit::Output,
    ];

    /// As GROUP INFO and errors call it.
    pub const fn name(self) -> &'static str {
        match self {
            Limit::Bytes => "bytes",
            Limit::Keys => "keys",
            Limit::Clients => "clients",
            Limit::Ops => "ops",
            Limit::Output => "output",
        }
    }

    /// How much of it there is; 0: no limit.
    pub const fn of(self, quotas: &Quotas) -> u64 {
        match self {
            Limit::Bytes => quotas.bytes,
            Limit::Keys => quotas.keys,
            Limit::Clients => quotas.clients,
            Limit::Ops => quotas.ops,
            Limit::Output => quotas.output,
        }
    }
}

/// What a group has used and was refused.
#[derive(Default)]
pub struct Spent {
    /// Requests, sessions and replies refused for each limit, by its number.
    pub refused: [u64; Limit::ALL.len()],
    /// Keys that went for the group's limits.
    pub evicted: u64,
    /// Bytes of output that the group's clients have not taken.
    pub output: u64,
    /// Requests left for now, in millionths, and when (monotonic microseconds) they were counted.
    tokens: u128,
    counted_us: u64,
    evictor: Option<Box<Evictor>>,
}

impl std::fmt::Debug for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spent")
            .field("refused", &self.refused)
            .field("evicted", &self.evicted)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl Spent {
    /// Takes one request out of the bucket, which fills at `rate` a second and holds as many.
    fn take_request(&mut self, rate: u64, now_us: u64) -> bool {
        const ONE: u128 = 1_000_000;
        let rate = u128::from(rate);
        let since = u128::from(now_us.saturating_sub(self.counted_us));
        self.counted_us = now_us;
        self.tokens = self.tokens.saturating_add(since * rate).min(rate * ONE);
        let left = self.tokens.checked_sub(ONE);
        self.tokens = left.unwrap_or(self.tokens);
        left.is_some()
    }
}

/// Microseconds for which a request makes room for itself among its group's keys.
const ROOM_US: u64 = 500;
/// Keys that go before the time is looked at.
const BETWEEN_LOOKS: u32 = 16;

impl State {
    /// A group's limits change.
    pub fn set_quotas(&mut self, id: GroupId, quotas: Quotas) {
        let (now_us, dbs) = (self.clock.mono_us, self.dbs_of(id));
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        let ops_before = std::mem::replace(&mut group.quotas, quotas).ops;
        let spent = &mut group.spent;
        if ops_before != quotas.ops {
            (spent.tokens, spent.counted_us) = (u128::from(quotas.ops) * 1_000_000, now_us);
        }
        let evicts = quotas.policy != Policy::Noeviction;
        spent.evictor = evicts.then(|| Box::new(Evictor::of(dbs)));
        let members = self.clients.iter().filter(|client| client.group == id);
        let members: Vec<ClientId> = members.map(|client| client.id).collect();
        members.into_iter().for_each(|who| self.settle_quota(who));
    }

    /// Whether the client's requests are held against its group's limits.
    pub(super) fn settle_quota(&mut self, who: ClientId) {
        let client = self.clients.me(who);
        let limited = self.groups.get(client.group).is_some_and(|group| {
            let quotas = &group.quotas;
            quotas.bytes | quotas.keys | quotas.ops != 0
        });
        client.gate &= !gate::QUOTA;
        if limited && !client.group.is_default() {
            client.gate |= gate::QUOTA;
        }
    }

    /// May one more client be in the group? The refusal is counted.
    pub fn has_room_for_client(&mut self, id: GroupId) -> bool {
        let Some(group) = self.groups.get_mut(id) else {
            return true;
        };
        let limit = group.quotas.clients;
        let room = limit == 0 || group.clients < limit;
        group.spent.refused[Limit::Clients as usize] += u64::from(!room);
        room
    }

    /// A request of the group: is there one left for now? The refusal is counted.
    pub fn take_request(&mut self, id: GroupId) -> bool {
        let now_us = self.clock.mono_us;
        let Some(group) = self.groups.get_mut(id) else {
            return true;
        };
        let rate = group.quotas.ops;
        let room = rate == 0 || group.spent.take_request(rate, now_us);
        group.spent.refused[Limit::Ops as usize] += u64::from(!room);
        room
    }

    /// What of this the group has in use.
    pub fn in_use(&self, group: &Group, limit: Limit) -> u64 {
        match limit {
            Limit::Bytes => self.dbs.bytes_in(self.dbs_of(group.id)) as u64,
            Limit::Keys => self.dbs.keys_in(self.dbs_of(group.id)) as u64,
            Limit::Clients => group.clients,
            Limit::Output => group.spent.output,
            Limit::Ops => 0,
        }
    }

    /// The limit of the group that its keys exceed, or would with so many more of them.
    fn exceeded(&self, group: &Group, more_keys: u64) -> Option<Limit> {
        let over = |limit: Limit, more: u64| {
            let most = limit.of(&group.quotas);
            most > 0 && self.in_use(group, limit).saturating_add(more) > most
        };
        // A key that is there may be overwritten where the number of keys is used up.
        let keys = over(Limit::Keys, more_keys).then_some(Limit::Keys);
        keys.or_else(|| over(Limit::Bytes, 0).then_some(Limit::Bytes))
    }

    /// Makes room for a request that writes, by what the group's own policy lets go. The limit that is
    /// exceeded where there is none to be had; the refusal is counted.
    pub fn make_room_in(&mut self, id: GroupId, more_keys: u64) -> Option<Limit> {
        let group = self.groups.get(id)?;
        let mut exceeded = self.exceeded(group, more_keys)?;
        let policy = group.quotas.policy;
        let evictor = self.groups.get_mut(id)?.spent.evictor.take();
        if let Some(mut evictor) = evictor {
            let outcome = match self.may_evict() {
                true => self.evict_in(id, &mut evictor, policy, more_keys),
                false => Some(exceeded),
            };
            let spent = &mut self.groups.get_mut(id)?.spent;
            spent.evictor = Some(evictor);
            exceeded = outcome?;
        }
        let spent = &mut self.groups.get_mut(id)?.spent;
        spent.refused[exceeded as usize] += 1;
        Some(exceeded)
    }

    /// Evicts keys of the group until there is room, or for a bounded time: then the next request goes on.
    fn evict_in(
        &mut self,
        id: GroupId,
        evictor: &mut Evictor,
        policy: Policy,
        more_keys: u64,
    ) -> Option<Limit> {
        let end = ticks().saturating_add(self.stats.us_to_ticks(ROOM_US));
        let mut count = 0;
        loop {
            let group = self.groups.get(id)?;
            let exceeded = self.exceeded(group, more_keys)?;
            match self.pick_with(evictor, policy) {
                Pick::Key(db, slot) => {
                    self.evict_key(db, slot);
                    self.groups.get_mut(id)?.spent.evicted += 1;
                }
                Pick::Nothing => return Some(exceeded),
                // That took as long as many keys.
                Pick::NotYet => count |= BETWEEN_LOOKS - 1,
            }
            count += 1;
            if count % BETWEEN_LOOKS == 0 && ticks() >= end {
                return None;
            }
        }
    }

    /// The transport holds so many bytes for a client of the group, and held so many before.
    pub fn count_output(&mut self, id: GroupId, before: u64, now: u64) {
        if let Some(group) = self.groups.get_mut(id) {
            let output = &mut group.spent.output;
            *output = (*output + now).saturating_sub(before);
        }
    }

    /// Bytes of output that this group may still hold; none without a limit.
    pub fn output_left(&self, id: GroupId) -> Option<u64> {
        let group = self.groups.get(id)?;
        let limit = group.quotas.output;
        (limit > 0).then(|| limit.saturating_sub(group.spent.output))
    }

    /// A client is closed for its output: where the group's is limited, that counts as a refusal.
    pub fn count_output_refusal(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(id)
            && group.quotas.output > 0
        {
            group.spent.refused[Limit::Output as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_holds_a_second_of_requests() {
        let mut spent = Spent {
            tokens: 10_000_000,
            ..Spent::default()
        };
        let burst = (0..20).filter(|_| spent.take_request(10, 0)).count();
        assert_eq!(burst, 10);
        assert!(!spent.take_request(10, 99_999) && spent.take_request(10, 100_000));
        assert!(!spent.take_request(10, 100_000));
        // However long nobody asks, and though the clock is not to go back.
        let later = (0..50).filter(|_| spent.take_request(10, 1 << 60)).count();
        assert_eq!(later, 10);
        assert!(!spent.take_request(10, 5));
        assert!(spent.take_request(u64::MAX, u64::MAX));
    }
}
