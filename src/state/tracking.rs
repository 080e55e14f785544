//! Client-side caching: which clients hold what they read, and how they learn that it changed.
//!
//! A client in the default mode is told of keys it has read since it was last told of them; one that
//! broadcasts is told of every key that begins with one of its prefixes, whatever it has read. Keys
//! count by name alone, whatever their database; each group has tables of its own (`Share`). A write
//! costs nothing of this while nobody tracks (`State::listeners`), and a look-up while somebody does.
//!
//! Messages are posted to the outbox: they come behind the reply of the command that caused them.
//! Those of broadcasting clients are gathered until the end of the turn, a message for each prefix.
mod prefixes;

use super::client::{Client, ClientId, Clients, client_flag};
use super::groups::GroupId;
use super::names::{Gone, Names, Sweep};
use super::outbox::Outbox;
use super::per_group::{Divided, PerGroup};
use super::stats::RowNumber;
use super::{State, gate, listener};
use crate::base::hash::HashKey;
use crate::base::sys::ticks;
use crate::resp::reply::Writer;
use prefixes::{Changed, Prefixes};
use std::collections::HashSet;
use std::ops::Range;

/// The channel in whose name a RESP2 client gets the messages that are sent to it for another one.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Keys looked at in one step of the search for clients that have gone, and in those of all groups.
const SWEEP_STEP: usize = 512;
const SWEEP_ALL: usize = 8 * SWEEP_STEP;
/// Time for it all, microseconds.
const SWEEP_US: u64 = 500;
/// Keys given up in one step after `tracking-table-max-keys` was made smaller.
const TRIM_STEP: usize = 100;

/// How one client tracks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mode {
    /// Who gets the messages in its place.
    pub redirect: Option<ClientId>,
    pub broadcast: bool,
    /// Only what is read behind CLIENT CACHING YES is tracked.
    pub opt_in: bool,
    /// All but what is read behind CLIENT CACHING NO is tracked.
    pub opt_out: bool,
    /// Not told of its own changes.
    pub no_loop: bool,
    /// Whoever gets the messages in its place is gone.
    pub broken: bool,
    /// CLIENT CACHING was given: it holds for the next request, not counting others of this row's
    /// container.
    pub caching: Option<RowNumber>,
    /// What it broadcasts, in their order; an empty one stands for all keys.
    pub prefixes: Vec<Box<[u8]>>,
}

impl Mode {
    /// What it holds; each prefix is in the table of all prefixes, too.
    pub fn bytes(&self) -> usize {
        let prefixes = self.prefixes.iter();
        size_of::<Mode>() + prefixes.map(|p| 2 * p.len() + PREFIX_BYTES).sum::<usize>()
    }
}

/// What a prefix takes besides its bytes.
const PREFIX_BYTES: usize = size_of::<Box<[u8]>>() + 64;

/// Who caches what, in all groups.
pub struct Tracking {
    shares: PerGroup<Share>,
    /// Groups in which somebody has to be told of a change.
    caring: usize,
    /// Groups with messages that wait for the end of the turn.
    pending: Vec<GroupId>,
    /// Groups whose tables may name clients that have gone; the first is next.
    sweeping: Vec<GroupId>,
    /// More keys may be tracked than may be: `tracking-table-max-keys` was made smaller.
    trims: bool,
    /// Keys remembered since the start.
    pub reads: u64,
}

/// Who caches what in one group.
struct Share {
    key: HashKey,
    table: Names,
    prefixes: Prefixes,
    /// Clients that track, and how many of them in the default mode.
    clients: usize,
    readers: usize,
    /// Counted in `Tracking::caring`.
    cares: bool,
    /// Clients that are named in the table may have gone: where the search for them is.
    sweep: Option<Sweep>,
    /// Others have gone since that search began.
    sweep_again: bool,
}

impl Divided for Share {
    fn fresh(&self) -> Share {
        Share::new(self.key)
    }
}

impl Share {
    fn new(key: HashKey) -> Share {
        Share {
            key,
            table: Names::new(key),
            prefixes: Prefixes::default(),
            clients: 0,
            readers: 0,
            cares: false,
            sweep: None,
            sweep_again: false,
        }
    }
}

impl Tracking {
    /// Nobody tracks. Keys are hashed under the key space's own key.
    pub fn new(key: HashKey) -> Self {
        Self {
            shares: PerGroup::new(Share::new(key)),
            caring: 0,
            pending: Vec::new(),
            sweeping: Vec::new(),
            trims: false,
            reads: 0,
        }
    }

    /// A group's keys that clients have read, pairs of key and client, and prefixes.
    pub fn counts(&self, group: GroupId) -> (usize, usize, usize) {
        let share = self.shares.of(group);
        (share.table.len(), share.table.items(), share.prefixes.len())
    }

    /// The same of all groups together.
    pub fn all_counts(&self) -> (usize, usize, usize) {
        let groups = self.shares.iter().map(|(group, _)| self.counts(group));
        groups.fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
    }

    /// Are there messages that wait for the end of the turn?
    #[inline]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Does anybody have to be told of a change of a key? Looks at this group, where that may differ now.
    fn settle(&mut self, group: GroupId) -> bool {
        if let Some(share) = self.shares.get_mut(group) {
            let cares = !share.table.is_empty() || share.prefixes.len() > 0;
            self.caring += usize::from(cares);
            self.caring -= usize::from(std::mem::replace(&mut share.cares, cares));
        }
        self.caring > 0
    }

    /// Is there a table of more keys than may be?
    fn is_over(&self, max: usize) -> bool {
        self.shares.iter().any(|(_, share)| share.table.len() > max)
    }
}

impl Client {
    /// Sets the bits that admission looks at, after a change of how this client tracks.
    fn settle_tracking(&mut self) {
        let tracks = self.tracking.as_ref().is_some_and(|mode| {
            let given = mode.caching.is_some();
            !(mode.broadcast || mode.opt_in && !given || mode.opt_out && given)
        });
        let given = self.tracking.as_ref().is_some_and(|m| m.caching.is_some());
        self.gate &= !(gate::TRACKS | gate::CACHING);
        self.gate |= if tracks { gate::TRACKS } else { 0 };
        self.gate |= if given { gate::CACHING } else { 0 };
    }

    /// CLIENT CACHING, as a row of this container: the next request differs.
    pub fn give_caching(&mut self, container: RowNumber) {
        if let Some(mode) = &mut self.tracking {
            mode.caching = Some(container);
        }
        self.settle_tracking();
    }

    /// A request of this container was answered: CLIENT CACHING holds no longer, unless it was for
    /// what follows.
    pub fn used_caching(&mut self, container: Option<RowNumber>) {
        if self.multi.is_some() {
            return;
        }
        if let Some(mode) = &mut self.tracking
            && (container.is_none() || mode.caching != container)
        {
            mode.caching = None;
            self.settle_tracking();
        }
    }
}

impl State {
    /// A client tracks from now on, or differently; prefixes are added to those it has.
    pub fn track(&mut self, who: ClientId, mut mode: Mode) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        let mut prefixes = std::mem::take(&mut mode.prefixes);
        if mode.broadcast && prefixes.is_empty() {
            prefixes.push(Box::default());
        }
        let group = client.group;
        let share = self.tracking.shares.of_mut(group);
        match &mut client.tracking {
            None => {
                share.clients += 1;
                share.readers += usize::from(!mode.broadcast);
            }
            // The caller has seen to it that only the prefixes differ then.
            Some(old) => mode.prefixes = std::mem::take(&mut old.prefixes),
        }
        for prefix in prefixes {
            if let Err(place) = mode.prefixes.binary_search(&prefix) {
                share.prefixes.add(&prefix, who);
                mode.prefixes.insert(place, prefix);
            }
        }
        client.tracking = Some(Box::new(mode));
        client.flags |= client_flag::TRACKING;
        client.settle_tracking();
        self.settle_tracking(group);
    }

    /// A client that ends, or tracks no more. What the table still says of it is found by and by.
    pub fn untrack(&mut self, who: ClientId) {
        let Some(client) = self.clients.get_mut(who) else {
            return;
        };
        let Some(mode) = client.tracking.take() else {
            return;
        };
        client.flags &= !client_flag::TRACKING;
        client.settle_tracking();
        let (group, tracking) = (client.group, &mut self.tracking);
        let share = tracking.shares.of_mut(group);
        for prefix in &mode.prefixes {
            share.prefixes.remove(prefix, who);
        }
        share.clients -= 1;
        if !mode.broadcast {
            share.readers -= 1;
            if share.sweep.is_none() {
                share.sweep = Some(Sweep::default());
                tracking.sweeping.push(group);
            } else {
                share.sweep_again = true;
            }
        }
        self.settle_tracking(group);
    }

    fn settle_tracking(&mut self, group: GroupId) {
        let cares = self.tracking.settle(group);
        self.listen(listener::TRACKED, cares);
    }

    /// Forgets what a group has read, off the loop's thread.
    fn drop_tracking_table(&mut self, group: GroupId) {
        let Some(share) = self.tracking.shares.get_mut(group) else {
            return;
        };
        if share.sweep.take().is_some() {
            share.sweep_again = false;
            self.tracking.sweeping.retain(|sweeping| *sweeping != group);
        }
        if !share.table.is_empty() {
            let old = std::mem::replace(&mut share.table, Names::new(share.key));
            let bytes = old.bytes();
            self.garbage.later_sized(Box::new(old), 0, bytes);
        }
    }

    /// A group goes; its clients have ended.
    pub(super) fn forget_tracking(&mut self, group: GroupId) {
        self.drop_tracking_table(group);
        self.settle_tracking(group);
        let tracking = &mut self.tracking;
        tracking.pending.retain(|pending| *pending != group);
        if let Some(share) = tracking.shares.take(group) {
            tracking.caring -= usize::from(share.cares);
        }
    }

    /// A client in the default mode has read a key. One too many, and another key is given up.
    pub fn remember_read(&mut self, who: ClientId, key: &[u8]) {
        let group = self.group_of_client(who);
        self.tracking.reads += 1;
        let share = self.tracking.shares.of_mut(group);
        share.table.add(key, who);
        let keys = share.table.len();
        if !share.cares {
            self.settle_tracking(group);
        }
        if keys > self.tracked_keys_max() {
            self.give_up_tracked_key(group);
        }
    }

    /// `tracking-table-max-keys`, which holds for each group by itself.
    fn tracked_keys_max(&self) -> usize {
        match self.config.tracking_table_max_keys {
            0 => usize::MAX,
            max => max,
        }
    }

    /// The directive may have changed.
    pub(super) fn settle_tracking_limit(&mut self) {
        self.tracking.trims = self.tracking.is_over(self.tracked_keys_max());
    }

    /// Are more keys tracked than may be?
    #[inline]
    pub fn tracks_too_much(&self) -> bool {
        self.tracking.trims
    }

    /// Gives up some keys, by chance, where there are more than may be; true when there still are.
    pub fn trim_tracking(&mut self) -> bool {
        let max = self.tracked_keys_max();
        for _ in 0..TRIM_STEP {
            let mut shares = self.tracking.shares.iter();
            let over = shares.find(|(_, share)| share.table.len() > max);
            let over = over.map(|(group, _)| group);
            drop(shares);
            match over {
                Some(group) => self.give_up_tracked_key(group),
                None => break,
            }
        }
        self.settle_tracking_limit();
        self.tracking.trims
    }

    /// Its readers are told as if it had changed, whoever they are: it is watched over no more.
    fn give_up_tracked_key(&mut self, group: GroupId) {
        let Some(share) = self.tracking.shares.get_mut(group) else {
            return;
        };
        if let Some(gone) = share.table.take_random(&mut self.rng) {
            self.tell_readers(group, gone, None);
        }
        self.settle_tracking(group);
    }

    /// A key changed, by this client's doing or nobody's (it expired): tells those who track it.
    #[cold]
    pub(super) fn key_changed_for_trackers(&mut self, db: usize, key: &[u8], by: Option<ClientId>) {
        let group = self.group_of(db);
        let Some(share) = self.tracking.shares.get_mut(group) else {
            return;
        };
        if share.prefixes.note(key, by) {
            self.tracking.pending.push(group);
        }
        if share.table.is_empty() {
            return;
        }
        if let Some(gone) = share.table.take(key) {
            self.tell_readers(group, gone, by);
        }
    }

    fn tell_readers(&mut self, group: GroupId, gone: Gone, by: Option<ClientId>) {
        let mut message = Message::default();
        for (slot, serial) in gone.clients() {
            let Some(client) = self.clients.at(slot) else {
                continue;
            };
            let Some(mode) = &client.tracking else {
                continue;
            };
            let own = mode.no_loop && by == Some(client.id);
            let other = client.id.serial as u32 != serial || client.group != group;
            if other || mode.broadcast || own {
                continue;
            }
            let who = client.id;
            message.post(&mut self.outbox, &mut self.clients, who, |out| {
                out.array(1);
                out.bulk(gone.name());
            });
        }
        if gone.is_large() {
            self.garbage.later(Box::new(gone), 0);
        }
    }

    /// Whole databases of a group changed: everybody in it who tracks may keep nothing.
    pub fn invalidate_all(&mut self, group: GroupId) {
        // What clients read that track no more is still there for a moment.
        self.drop_tracking_table(group);
        self.settle_tracking(group);
        if self.tracking.shares.of(group).clients == 0 {
            return;
        }
        let all = self.clients.iter();
        let trackers: Vec<ClientId> = all
            .filter(|client| client.group == group && client.tracking.is_some())
            .map(|client| client.id)
            .collect();
        let mut message = Message::default();
        for who in trackers {
            message.post(&mut self.outbox, &mut self.clients, who, Writer::null);
        }
    }

    /// Tells broadcasting clients what changed since this was last called.
    #[cold]
    pub fn broadcast_changes(&mut self) {
        for group in std::mem::take(&mut self.tracking.pending) {
            if let Some(share) = self.tracking.shares.get_mut(group) {
                let mut prefixes = std::mem::take(&mut share.prefixes);
                prefixes.take_pending(|clients, keys| self.tell_broadcasting(clients, keys));
                self.tracking.shares.of_mut(group).prefixes = prefixes;
            }
        }
    }

    fn tell_broadcasting(&mut self, clients: &HashSet<ClientId>, keys: &Changed) {
        // Few of those who listen have changed anything themselves.
        let authors: HashSet<ClientId> = keys.values().copied().flatten().collect();
        let mut message = Message::default();
        for who in clients {
            let mode = self.clients.get(*who).and_then(|c| c.tracking.as_ref());
            let own = |by: &Option<ClientId>| *by == Some(*who);
            if mode.is_some_and(|mode| mode.no_loop) && authors.contains(who) {
                let others: Vec<_> = keys.iter().filter(|(_, by)| !own(by)).collect();
                if !others.is_empty() {
                    let mut apart = Message::default();
                    apart.post(&mut self.outbox, &mut self.clients, *who, |out| {
                        out.array(others.len());
                        others.iter().for_each(|(key, _)| out.bulk(key));
                    });
                }
                continue;
            }
            message.post(&mut self.outbox, &mut self.clients, *who, |out| {
                out.array(keys.len());
                keys.keys().for_each(|key| out.bulk(key));
            });
        }
    }

    /// Looks at some keys of the tables for readers that have gone, and for longer where there are many.
    /// Groups do not wait for each other, as long as there are few in which somebody has gone.
    pub fn sweep_tracking(&mut self) {
        let mut left = self.tracking.sweeping.len().min(SWEEP_ALL / SWEEP_STEP);
        if left == 0 {
            return;
        }
        let end = ticks() + self.stats.us_to_ticks(SWEEP_US);
        while left > 0 && !self.tracking.sweeping.is_empty() {
            let group = self.tracking.sweeping.remove(0);
            let (more, many) = self.sweep_group(group);
            if more {
                self.tracking.sweeping.push(group);
            }
            self.settle_tracking(group);
            left -= usize::from(!many);
            if ticks() > end {
                return;
            }
        }
    }

    /// A step of that in one group's; whether there is more to look at, and whether many had gone.
    fn sweep_group(&mut self, group: GroupId) -> (bool, bool) {
        let Some(share) = self.tracking.shares.get_mut(group) else {
            return (false, false);
        };
        if share.readers == 0 {
            self.drop_tracking_table(group);
            return (false, false);
        }
        let Some(mut at) = share.sweep.take() else {
            return (false, false);
        };
        let clients = &mut self.clients;
        let lives = |(slot, serial): (usize, u32)| {
            clients.at(slot).is_some_and(|client| {
                let mode = client.tracking.as_ref();
                client.id.serial as u32 == serial
                    && client.group == group
                    && mode.is_some_and(|mode| !mode.broadcast)
            })
        };
        let swept = share.table.sweep(&mut at, SWEEP_STEP, lives);
        if !at.is_done() {
            share.sweep = Some(at);
        } else if std::mem::take(&mut share.sweep_again) {
            share.sweep = Some(Sweep::default());
        }
        (share.sweep.is_some(), swept.struck * 8 >= swept.looks)
    }
}

/// One message to any number of clients, encoded once for each form in which they get it.
#[derive(Default)]
struct Message {
    push: Option<Range<usize>>,
    /// As if it came over a channel.
    published: Option<Range<usize>>,
}

impl Message {
    /// Posts the message to a client that tracks, or to whom it named in its place. A RESP2 client gets
    /// one only in another's place, while it subscribes to anything.
    fn post(
        &mut self,
        outbox: &mut Outbox,
        clients: &mut Clients,
        who: ClientId,
        body: impl FnOnce(&mut Writer),
    ) {
        let Some(client) = clients.get_mut(who) else {
            return;
        };
        let (resp3, group) = (client.resp3, client.group);
        let Some(mode) = &mut client.tracking else {
            return;
        };
        let Some(redirect) = mode.redirect else {
            if resp3 {
                self.post_push(outbox, who, body);
            }
            return;
        };
        // One that has left the group is gone, too.
        let is_there = |c: &&Client| c.group == group && !c.has(client_flag::CLOSE_NOW);
        match clients.get(redirect).filter(is_there) {
            Some(target) if target.resp3 => self.post_push(outbox, redirect, body),
            Some(target) if target.has(client_flag::PUBSUB) => {
                let message = self.published.get_or_insert_with(|| {
                    outbox.write(false, |out| {
                        out.array(3);
                        out.bulk(b"message");
                        out.bulk(CHANNEL);
                        body(out);
                    })
                });
                outbox.post(redirect, message.clone());
            }
            Some(_) => {}
            None => {
                if let Some(mode) = clients.me(who).tracking.as_mut() {
                    mode.broken = true;
                }
                if resp3 {
                    let message = outbox.write(true, |out| {
                        out.push(2);
                        out.bulk(b"tracking-redir-broken");
                        out.int(redirect.serial as i64);
                    });
                    outbox.post(who, message);
                }
            }
        }
    }

    fn post_push(&mut self, outbox: &mut Outbox, to: ClientId, body: impl FnOnce(&mut Writer)) {
        let message = self.push.get_or_insert_with(|| {
            outbox.write(true, |out| {
                out.push(2);
                out.bulk(b"invalidate");
                body(out);
            })
        });
        outbox.post(to, message.clone());
    }
}
