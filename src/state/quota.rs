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
    /// Bytes of what its clients queue, watch and subscribe to.
    pub held: u64,
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

/// What a request would add to what its group has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    pub keys: u64,
    pub bytes: u64,
}

impl Wanted {
    fn of(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Keys => self.keys,
            Limit::Bytes => self.bytes,
            _ => 0,
        }
    }
}

/// What keys can be evicted for. A key that is there may be overwritten where the number of keys is used up.
const OF_KEYS: [Limit; 2] = [Limit::Keys, Limit::Bytes];

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
        if quotas.bytes > 0 {
            self.weigh_groups();
        }
        for who in members {
            self.settle_quota(who);
            self.note_held(who);
        }
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
            Limit::Bytes => self.bytes_of_keys(group.id) + self.bytes_besides_keys(group),
            Limit::Keys if group.id.is_default() => self.dbs.keys_in(self.dbs_of(group.id)) as u64,
            Limit::Keys => self.dbs.load_of(group.id.0 as usize).keys as u64,
            Limit::Clients => group.clients,
            Limit::Output => group.spent.output,
            Limit::Ops => 0,
        }
    }

    fn bytes_of_keys(&self, id: GroupId) -> u64 {
        match id.is_default() {
            // Its keys are not measured.
            true => self.dbs.bytes_in(self.dbs_of(id)) as u64,
            false => self.dbs.load_of(id.0 as usize).bytes as u64,
        }
    }

    /// What the group takes that no eviction gives back: the code of its functions and what that has made,
    /// its scripts, and what its clients queue, watch and subscribe to.
    fn bytes_besides_keys(&self, group: &Group) -> u64 {
        let libraries = self.libraries.of(group.id);
        let (eval, functions) = self.scripts.figures_of(group.id);
        let functions = match libraries.is_empty() {
            true => 0,
            false => libraries.heap_bytes() + functions.vm_bytes,
        };
        group.spent.held + (eval.known_bytes + functions) as u64
    }

    /// The limit of the group that its keys exceed, or would with so much more.
    fn exceeded(&self, group: &Group, wanted: Wanted) -> Option<Limit> {
        OF_KEYS.into_iter().find(|limit| {
            let most = limit.of(&group.quotas);
            let in_use = || self.in_use(group, *limit).saturating_add(wanted.of(*limit));
            most > 0 && in_use() > most
        })
    }

    /// The limit of the group that would be exceeded if all its keys were gone.
    fn out_of_reach(&self, group: &Group, wanted: Wanted) -> Option<Limit> {
        OF_KEYS.into_iter().find(|limit| {
            let most = limit.of(&group.quotas);
            let stays = || match limit {
                Limit::Bytes => self.bytes_besides_keys(group),
                _ => 0,
            };
            most > 0 && wanted.of(*limit).saturating_add(stays()) > most
        })
    }

    /// Makes room for a request that writes, by what the group's own policy lets go; nothing goes for one that
    /// can never fit. The limit that is exceeded where there is no room to be had; the refusal is counted.
    pub fn make_room_in(&mut self, id: GroupId, wanted: Wanted) -> Option<Limit> {
        self.dbs.sum_up();
        let group = self.groups.get(id)?;
        let mut exceeded = self.exceeded(group, wanted)?;
        let policy = group.quotas.policy;
        let never = self.out_of_reach(group, wanted);
        let evictor = match never {
            Some(limit) => {
                exceeded = limit;
                None
            }
            None => self.groups.get_mut(id)?.spent.evictor.take(),
        };
        if let Some(mut evictor) = evictor {
            let outcome = match self.may_evict() {
                true => self.evict_in(id, &mut evictor, policy, wanted),
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
        wanted: Wanted,
    ) -> Option<Limit> {
        let end = ticks().saturating_add(self.stats.us_to_ticks(ROOM_US));
        let mut count = 0;
        loop {
            let group = self.groups.get(id)?;
            let exceeded = self.exceeded(group, wanted)?;
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
