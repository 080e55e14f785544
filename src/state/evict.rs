//! Making room: what happens when more memory is in use than `maxmemory` allows.
//!
//! Keys go until the limit holds again, a few with each command and the rest in later turns, each for
//! a bounded time (`maxmemory-eviction-tenacity`). Which key goes is `keyspace::evict`'s; here is what its
//! end has for consequences. While the rest is still going commands run: a client waits for no clean-up
//! that is under way, and is refused only when there is nothing to remove.
use super::State;
use super::config::MaxmemoryPolicy as Policy;
use super::gate;
use super::notify::Event;
use crate::base::alloc;
use crate::base::sys::ticks;
use crate::keyspace::EntryRef;
use crate::keyspace::evict::{Choice, Evictor, Pick};

/// Keys that go before the time is looked at.
const BETWEEN_LOOKS: u32 = 16;
/// A time that never ends.
const FOREVER: u64 = u64::MAX;

/// Eviction between two commands.
#[derive(Default)]
pub struct Eviction {
    evictor: Evictor,
    /// There is more to remove than a command was given the time for: the turns go on with it.
    pub running: bool,
    /// As of the last command that asked for room: there was none to be had. What needs memory is refused,
    /// in a script as well, which began then.
    pub out_of_memory: bool,
    /// Memory in use up to which nobody needs to look closer; 0 means a closer look in any case.
    at_ease: usize,
    /// Ticks a turn may spend, and what this one has spent.
    allowed: u64,
    spent: u64,
    /// Microseconds since when memory has been over the limit; 0: it is not.
    exceeded_us: u64,
}

/// Is there room?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    Enough,
    /// Not yet: it is being made.
    Soon,
    /// Not yet: what was removed before is being freed in the background, and nothing else can go.
    Waiting,
    None,
}

/// Microseconds that a turn may spend on evicting keys: up to 500 in steps of 50, then 15 % more for each
/// step, without end at 100.
fn turn_us(tenacity: u32) -> Option<u64> {
    match tenacity {
        0..=10 => Some(50 * u64::from(tenacity)),
        11..=99 => Some((500.0 * 1.15f64.powi(tenacity as i32 - 10)) as u64),
        _ => None,
    }
}

impl State {
    /// Takes over what the configuration says of the memory.
    pub(super) fn settle_memory_limit(&mut self) {
        let eviction = &mut self.eviction;
        let limit = usize::try_from(self.config.maxmemory).unwrap_or(usize::MAX);
        eviction.at_ease = limit;
        eviction.allowed = match turn_us(self.config.maxmemory_eviction_tenacity) {
            Some(us) => self.stats.us_to_ticks(us),
            None => FOREVER,
        };
        eviction.evictor.forget();
        if limit == 0 {
            (eviction.out_of_memory, eviction.running) = (false, false);
            self.note_excess(false);
        }
        self.restrict(gate::MAXMEMORY, limit > 0);
        // A lower limit holds without anybody asking for room.
        self.eviction.running |=
            self.config.maxmemory_policy != Policy::Noeviction && self.over_memory_limit();
    }

    /// A turn begins: it has time for eviction again.
    #[inline]
    pub fn begin_eviction_turn(&mut self) {
        self.eviction.spent = 0;
    }

    /// Is there surely room, so that nothing is to be done or said?
    #[inline]
    pub fn is_at_ease(&self) -> bool {
        alloc::used() <= self.eviction.at_ease && !self.eviction.out_of_memory
    }

    /// Is more memory in use than `maxmemory` allows?
    pub fn over_memory_limit(&self) -> bool {
        self.excess_bytes() > 0
    }

    /// Memory in use that `maxmemory` does not limit: removing keys would make it more.
    pub fn uncounted_bytes(&self) -> usize {
        // What announces the removals is the same in small: it would cost more of them.
        let messages = self.prop.log.bytes.capacity() + self.outbox.capacity();
        // What replicas have not read yet, beyond what the backlog may hold.
        let backlog = usize::try_from(self.config.repl_backlog_size).unwrap_or(usize::MAX);
        let unread = self.repl.heap_bytes().saturating_sub(backlog);
        // Scripts have a limit of their own, and no key that goes makes their garbage less.
        self.aof.waiting.capacity() + messages + unread + self.scripts.vm_bytes()
    }

    /// Bytes too many.
    fn excess_bytes(&self) -> usize {
        let (used, limit) = (alloc::used(), self.config.maxmemory);
        if limit == 0 || used as u64 <= limit || self.ignores_maxmemory() {
            return 0;
        }
        // Clients that hold too much go first, and what is on its way to be freed is as good as free.
        let leaving = self.garbage.bytes() + self.client_memory.excess();
        let counted = used.saturating_sub(self.uncounted_bytes() + leaving);
        usize::try_from((counted as u64).saturating_sub(limit)).unwrap_or(usize::MAX)
    }

    /// Is memory as short as it may be, so that what is only kept at hand had better be free?
    #[inline]
    pub fn is_short_of_memory(&self) -> bool {
        self.gate & gate::MAXMEMORY != 0 && alloc::used() > self.eviction.at_ease
    }

    /// May keys be removed now, of whomever?
    pub(super) fn may_evict(&self) -> bool {
        self.gate & (gate::PAUSED_ALL | gate::PAUSED_WRITES | gate::LOADING | gate::BUSY_SCRIPT)
            == 0
    }

    /// Makes room if there is too little, for a bounded time. What went is logged; the unit is the
    /// caller's to end, before it begins another.
    pub fn make_room(&mut self) -> Room {
        let excess = match self.may_evict() {
            true => self.excess_bytes(),
            false => 0,
        };
        let room = if excess == 0 {
            Room::Enough
        } else {
            self.evict(excess)
        };
        self.eviction.out_of_memory = room == Room::None;
        self.eviction.running = room == Room::Soon;
        self.note_excess(room != Room::Enough);
        room
    }

    /// Statistics of the time during which there was too little memory.
    fn note_excess(&mut self, over: bool) {
        let (now_us, since_us) = (self.clock.mono_us, self.eviction.exceeded_us);
        if over && since_us == 0 {
            self.eviction.exceeded_us = now_us.max(1);
        } else if !over && since_us > 0 {
            self.stats.eviction_exceeded_us += now_us.saturating_sub(since_us);
            self.eviction.exceeded_us = 0;
        }
    }

    /// Microseconds for which memory has been over the limit by now; 0: it is not.
    pub fn exceeded_now_us(&self) -> u64 {
        match self.eviction.exceeded_us {
            0 => 0,
            since_us => self.clock.mono_us.saturating_sub(since_us),
        }
    }

    /// Evicts keys until that many bytes are free.
    fn evict(&mut self, excess: usize) -> Room {
        if self.config.maxmemory_policy == Policy::Noeviction {
            return self.nothing_to_evict();
        }
        let started = ticks();
        let end = match self.eviction.allowed {
            FOREVER => FOREVER,
            allowed => started.saturating_add(allowed.saturating_sub(self.eviction.spent)),
        };
        let (mut freed, mut count) = (0, 0);
        let room = loop {
            if freed >= excess {
                break Room::Enough;
            }
            match self.pick() {
                Pick::Key(db, slot) => freed += self.evict_key(db, slot),
                Pick::Nothing => break self.nothing_to_evict(),
                // That took as long as many keys.
                Pick::NotYet => count |= BETWEEN_LOOKS - 1,
            }
            count += 1;
            if count % BETWEEN_LOOKS == 0 {
                if self.excess_bytes() == 0 {
                    break Room::Enough;
                }
                if ticks() >= end {
                    break Room::Soon;
                }
            }
        };
        self.prop.apart |= self.prop.has_unit();
        // A few keys are part of what their command costs; more are the turn's.
        if count >= BETWEEN_LOOKS || self.latency.threshold_ms > 0 {
            let took = ticks() - started;
            self.eviction.spent += took;
            self.note_latency("eviction-cycle", took);
        }
        room
    }

    fn note_latency(&mut self, event: &'static str, ticks: u64) {
        let (now_s, ms) = (
            self.clock.unix_ms / 1000,
            self.stats.ticks_to_us(ticks) / 1000,
        );
        self.latency.add(event, now_s, ms);
    }

    /// No key may go. What was removed before is perhaps not freed yet.
    fn nothing_to_evict(&self) -> Room {
        match self.garbage.is_empty() {
            true => Room::None,
            false => Room::Waiting,
        }
    }

    /// The key that goes next.
    fn pick(&mut self) -> Pick {
        let mut evictor = std::mem::take(&mut self.eviction.evictor);
        let pick = self.pick_with(&mut evictor, self.config.maxmemory_policy);
        self.eviction.evictor = evictor;
        pick
    }

    /// The key that goes next of those this evictor goes round.
    pub(super) fn pick_with(&mut self, evictor: &mut Evictor, policy: Policy) -> Pick {
        let clock = self.access_clock();
        let (dbs, rng) = (&self.dbs, &mut self.rng);
        let volatile = matches!(
            policy,
            Policy::VolatileLru
                | Policy::VolatileLfu
                | Policy::VolatileRandom
                | Policy::VolatileTtl
        );
        let samples = match policy {
            Policy::VolatileRandom => 1,
            _ => self.config.maxmemory_samples,
        };
        let may_go = |entry: EntryRef<'_>| !volatile || entry.expire_at().is_some();
        macro_rules! by {
            ($rank:expr) => {{
                let rank = $rank;
                let choice = Choice {
                    samples,
                    volatile,
                    rank: |entry: EntryRef<'_>| may_go(entry).then(|| rank(entry)),
                };
                evictor.pick(dbs, rng, &choice)
            }};
        }
        match policy {
            Policy::Noeviction => Pick::Nothing,
            Policy::AllkeysRandom => evictor.draw(dbs, rng),
            Policy::AllkeysLru | Policy::VolatileLru => {
                by!(|entry: EntryRef<'_>| clock.last_use(entry))
            }
            Policy::AllkeysLfu | Policy::VolatileLfu => {
                by!(|entry: EntryRef<'_>| clock.usefulness(entry))
            }
            // All alike: whichever the patrol comes by.
            Policy::VolatileRandom => by!(|_: EntryRef<'_>| 0),
            Policy::VolatileTtl => {
                by!(|entry: EntryRef<'_>| entry.expire_at().map_or(u64::MAX, |at| at.max(0) as u64))
            }
        }
    }

    /// Removes a key for its memory; the bytes that are free then.
    pub(super) fn evict_key(&mut self, db: usize, slot: crate::ds::table::Slot) -> usize {
        let lazy = self.config.lazyfree_lazy_eviction;
        let watched = self.latency.threshold_ms > 0;
        let started = if watched { ticks() } else { 0 };
        let in_use = |state: &State| alloc::used().wrapping_sub(state.garbage.bytes()) as isize;
        // Only what the removal itself frees counts: what its announcements take is there for a moment, and
        // would cost more keys, which are announced in their turn.
        let before = in_use(self);
        let gone = self.dbs[db].remove(slot);
        let between = in_use(self);
        self.stats.evicted += 1;
        if let Some(own) = self.figures.get_mut(self.group_of(db)) {
            own.evicted += 1;
        }
        let key = gone.view().key();
        let name: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
        self.prop.push_own(db, &[name, key]);
        self.key_ended(db, key);
        self.notify(db, key, Event::EVICTED);
        let then = in_use(self);
        self.discard(gone, lazy);
        let after = in_use(self);
        if watched {
            self.note_latency("eviction-del", ticks() - started);
        }
        usize::try_from((before - between) + (then - after)).unwrap_or(0)
    }
}
