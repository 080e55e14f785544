//! The table against a HashMap, seeded: `SEED=n cargo test ds::table` replays one case.

use super::*;
use crate::base::rng::Rng;
use std::collections::HashMap;

/// A key and a number, boxed; counts its drops.
struct Boxed {
    key: Vec<u8>,
    value: u64,
    live: std::rc::Rc<std::cell::Cell<isize>>,
}

struct Handle(Box<Boxed>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.live.set(self.0.live.get() - 1);
    }
}

// SAFETY: the pointer is that of a Box, which is given up and taken back whole.
unsafe impl Item for Handle {
    type Ref<'a> = (&'a [u8], u64);
    type Mut<'a> = &'a mut u64;

    fn into_raw(self) -> NonNull<u8> {
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is not used or dropped afterwards, so the Box is moved out once.
        let boxed = unsafe { std::ptr::read(&this.0) };
        NonNull::new(Box::into_raw(boxed).cast()).expect("a Box is not null")
    }

    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        // SAFETY: from `Box::into_raw` above, by the contract.
        Handle(unsafe { Box::from_raw(raw.as_ptr().cast()) })
    }

    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        // SAFETY: a live Boxed by the contract.
        unsafe { &raw.cast::<Boxed>().as_ref().key }
    }

    unsafe fn as_ref<'a>(raw: NonNull<u8>) -> Self::Ref<'a> {
        // SAFETY: a live Boxed by the contract.
        let boxed = unsafe { raw.cast::<Boxed>().as_ref() };
        (&boxed.key, boxed.value)
    }

    unsafe fn as_mut<'a>(raw: NonNull<u8>) -> Self::Mut<'a> {
        // SAFETY: a live Boxed that nothing else uses, by the contract.
        unsafe { &mut raw.cast::<Boxed>().as_mut().value }
    }
}

/// splitmix64: hashes and random words for the tests.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn good(key: &[u8]) -> u64 {
    key.iter()
        .fold(key.len() as u64, |h, &b| mix(h ^ u64::from(b)))
}

/// Few tags, few buckets: long chains and false matches of the kept bits.
fn poor(key: &[u8]) -> u64 {
    good(key) & 0x0100_0000_0003_0007
}

type Live = std::rc::Rc<std::cell::Cell<isize>>;
type Tested = Table<Handle, fn(&[u8]) -> u64>;

fn item(live: &Live, key: &[u8], value: u64) -> Handle {
    live.set(live.get() + 1);
    Handle(Box::new(Boxed {
        key: key.to_vec(),
        value,
        live: live.clone(),
    }))
}

fn seeds(default: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..default).collect(),
    }
}

/// What `store.rs` promises, and that every item is where its hash leads.
fn check(table: &Tested) {
    let mut seen = 0;
    for index in 0..table.store.buckets() {
        let mut depth = 0;
        while let Some(bucket) = table.store.at(index, depth) {
            let used = bucket.used().count();
            seen += used;
            assert!(!bucket.is_chained() || used == 6, "a hole inside a chain");
            assert!(depth == 0 || used > 0, "an empty overflow bucket");
            depth += 1;
        }
    }
    assert_eq!(seen, table.len());
    for (key, value) in table.iter() {
        let slot = table.find(table.hash(key), key).expect("found by its hash");
        assert_eq!(table.get(slot), (key, value));
    }
}

fn model_case(seed: u64, hash: fn(&[u8]) -> u64) {
    let mut random = Random(mix(seed));
    let live = Live::default();
    let mut table = Tested::new(hash);
    let mut model: HashMap<Vec<u8>, u64> = HashMap::new();
    let steps = if cfg!(miri) { 400 } else { 4000 };
    let keys = 1 + random.below(steps);
    let mut taking = 3;
    for step in 0..steps as u64 {
        if random.below(200) == 0 {
            taking = 1 + random.below(8);
            table.pause_resize(random.below(4) == 0);
        }
        let key = format!("key:{}", random.below(keys)).into_bytes();
        let hash = table.hash(&key);
        table.prefetch_bucket(hash);
        if table.prefetch_item(hash) {
            table.prefetch_chain(hash);
        }
        let slot = table.find(hash, &key);
        assert_eq!(
            slot.map(|s| table.get(s)),
            model.get(&key).map(|&v| (&key[..], v))
        );
        match slot {
            None if random.below(9) >= taking => {
                let slot = table.insert_new(hash, item(&live, &key, step));
                assert_eq!(table.get(slot), (&key[..], step));
                model.insert(key, step);
            }
            None => {}
            Some(slot) if random.below(9) < taking => {
                let taken = table.take(slot);
                assert_eq!(model.remove(&key), Some(taken.0.value));
            }
            Some(slot) => {
                match random.below(3) {
                    0 => *table.get_mut(slot) = step,
                    1 => table.update(slot, |old| {
                        assert_eq!(old.0.key, key);
                        item(&live, &key, step)
                    }),
                    _ => drop(table.replace(slot, item(&live, &key, step))),
                }
                assert_eq!(table.get(slot).1, step);
                model.insert(key, step);
            }
        }
        match random.below(300) {
            0 => check(&table),
            1 => drop(table.step_resize(random.below(30))),
            2 => table.reserve(random.below(500)),
            3 => {
                let left = table.drain_step(random.below(40));
                assert!(left || table.is_empty());
                let kept: HashMap<_, _> = table.iter().map(|(k, v)| (k.to_vec(), v)).collect();
                assert!(kept.iter().all(|(k, v)| model.get(k) == Some(v)));
                model = kept;
            }
            _ => {}
        }
        assert_eq!(
            (table.len(), live.get()),
            (model.len(), model.len() as isize)
        );
    }
    check(&table);
    let all: HashMap<Vec<u8>, u64> = table.iter().map(|(k, v)| (k.to_vec(), v)).collect();
    let ahead: HashMap<Vec<u8>, u64> = table
        .iter_prefetched()
        .map(|(k, v)| (k.to_vec(), v))
        .collect();
    assert!(all == model && ahead == model);
    drop(table);
    assert_eq!(live.get(), 0);
}

#[test]
fn behaves_as_a_hash_map() {
    for seed in seeds(if cfg!(miri) { 2 } else { 60 }) {
        model_case(seed, good);
    }
}

#[test]
fn behaves_as_a_hash_map_with_colliding_hashes() {
    for seed in seeds(if cfg!(miri) { 2 } else { 20 }) {
        model_case(seed, poor);
    }
}

fn numbered(table: &mut Tested, live: &Live, from: u64, to: u64) {
    for n in from..to {
        let key = format!("key:{n}").into_bytes();
        table.insert_new(table.hash(&key), item(live, &key, n));
    }
}

fn remove_number(table: &mut Tested, n: u64) -> bool {
    let key = format!("key:{n}").into_bytes();
    table.remove(table.hash(&key), &key).is_some()
}

/// Items that stay from the beginning to the end of a scan are seen, whatever happens meanwhile:
/// growing and shrinking over any number of sizes, at any load, between any two steps.
fn scan_case(seed: u64) {
    let mut random = Random(mix(seed));
    let live = Live::default();
    let mut table = Tested::new(good);
    let stay = 1 + random.below(if cfg!(miri) { 40 } else { 600 }) as u64;
    numbered(&mut table, &live, 0, stay);
    let mut extra = stay..stay;
    let most = 1 + random.below(if cfg!(miri) { 200 } else { 6000 }) as u64;
    let (mut cursor, mut calls) = (0, 0);
    let mut seen = vec![false; stay as usize];
    loop {
        match random.below(4) {
            0 => {
                let to = extra.end + random.next() % most;
                numbered(&mut table, &live, extra.end, to);
                extra.end = to;
            }
            1 => {
                let to = extra.start + random.next() % (extra.end - extra.start + 1);
                assert!((extra.start..to).all(|n| remove_number(&mut table, n)));
                extra.start = to;
            }
            2 => table.pause_resize(random.below(2) == 0),
            _ => drop(table.step_resize(random.below(400))),
        }
        for _ in 0..1 + random.below(40) {
            cursor = table.scan(cursor, |(_, n)| {
                if n < stay {
                    seen[n as usize] = true;
                }
            });
            calls += 1;
            if cursor == 0 {
                assert!(seen.iter().all(|&s| s), "seed {seed}: missed an item");
                return;
            }
        }
        assert!(calls < 1_000_000, "seed {seed}: the scan does not end");
    }
}

#[test]
fn scan_sees_whatever_stays_while_the_table_grows_and_shrinks() {
    seeds(if cfg!(miri) { 3 } else { 300 })
        .into_iter()
        .for_each(scan_case);
}

#[test]
fn scan_of_a_table_at_rest_sees_each_item_once() {
    let live = Live::default();
    let mut table = Tested::new(good);
    for len in [0, 1, 7, 8, 100, 1000] {
        let from = table.len() as u64;
        numbered(&mut table, &live, from, len);
        let (mut cursor, mut seen) = (0, Vec::new());
        loop {
            cursor = table.scan(cursor, |(_, n)| seen.push(n));
            if cursor == 0 {
                break;
            }
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..len));
        // A cursor that no scan gave is no trouble.
        table.scan(u64::MAX, |_| {});
    }
}

#[test]
fn random_items_are_drawn_evenly() {
    let live = Live::default();
    let mut rng = Rng::from_seed(7);
    for len in [1u64, 5, 60, 300] {
        let mut table = Tested::new(good);
        numbered(&mut table, &live, 0, 2000);
        // Few items in many buckets: the removals do not shrink a table that is paused.
        table.pause_resize(len == 60);
        assert!((len..2000).all(|n| remove_number(&mut table, n)));
        let draws = if cfg!(miri) { 2 * len } else { 2000 * len };
        let mut counts = vec![0u64; len as usize];
        for _ in 0..draws {
            let slot = table.random(&mut rng).expect("not empty");
            counts[table.get(slot).1 as usize] += 1;
        }
        if cfg!(miri) {
            continue;
        }
        // 2000 draws each, standard deviation 45.
        let even = counts.iter().all(|count| (1750..2250).contains(count));
        assert!(even, "{len} items: {counts:?}");
    }
    assert!(Tested::new(good).random(&mut rng).is_none());
    let mut one_chain = Tested::new(|_| 5);
    numbered(&mut one_chain, &live, 0, 200);
    assert!((0..20).all(|_| one_chain.random(&mut rng).is_some()));
}

#[test]
fn sample_shows_different_items() {
    let live = Live::default();
    let mut rng = Rng::from_seed(1);
    let mut table = Tested::new(good);
    numbered(&mut table, &live, 0, 500);
    for want in [0, 1, 16, 500, 900] {
        let mut seen = Vec::new();
        table.sample(want, &mut rng, |slot, (key, n)| {
            assert_eq!(table.get(slot), (key, n));
            seen.push(n);
        });
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), want.min(500));
    }
}

#[test]
fn a_patrol_comes_by_every_item() {
    let live = Live::default();
    let mut table = Tested::new(good);
    assert_eq!(table.patrol(7, |_| panic!("there is none")), 0);
    numbered(&mut table, &live, 0, 500);
    let (mut seen, mut at) = (Vec::new(), 3);
    for step in 0.. {
        at = table.patrol(at, |(_, n)| seen.push(n));
        if step > 3 && at == 3 {
            break;
        }
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..500));
    assert_eq!(
        table.patrol(1 << 40, |_| {}),
        1,
        "the table has shrunk since"
    );
}

#[test]
fn find_where_meets_every_item_under_a_hash() {
    let live = Live::default();
    let mut table = Tested::new(|_| 99);
    numbered(&mut table, &live, 0, 30);
    let mut met = Vec::new();
    let none = table.find_where(99, |(_, n)| {
        met.push(n);
        false
    });
    met.sort_unstable();
    assert!(none.is_none() && met.into_iter().eq(0..30));
    let slot = table.find_where(99, |(_, n)| n == 17).expect("it is there");
    assert_eq!(table.get(slot).1, 17);
    assert!(table.find_where(98, |_| true).is_none());
}

#[test]
fn memory_follows_the_number_of_items() {
    let live = Live::default();
    let mut table = Tested::new(good);
    assert_eq!(table.mem_bytes(), 0);
    numbered(&mut table, &live, 0, 7);
    assert_eq!(table.mem_bytes(), 64, "seven items are one cache line");
    numbered(&mut table, &live, 7, 8);
    assert_eq!(table.mem_bytes(), 128);
    let many = if cfg!(miri) { 500 } else { 60_000 };
    numbered(&mut table, &live, 8, many);
    let per_item = table.mem_bytes() as f64 / many as f64;
    assert!(per_item < 18.5, "{per_item} bytes an item");
    assert!((10..many).all(|n| remove_number(&mut table, n)));
    assert!(
        table.mem_bytes() <= 4 * 64,
        "{} bytes for ten",
        table.mem_bytes()
    );
    assert!((0..10).all(|n| remove_number(&mut table, n)));
    assert!(table.mem_bytes() <= 2 * 64);
}

#[test]
fn a_paused_table_moves_nothing_until_it_is_far_too_full() {
    let live = Live::default();
    let mut table = Tested::new(good);
    numbered(&mut table, &live, 0, 100);
    let buckets = table.stats().buckets;
    table.pause_resize(true);
    numbered(&mut table, &live, 100, 300);
    assert_eq!(table.stats().buckets, buckets);
    numbered(&mut table, &live, 300, 3000);
    let forced = table.stats();
    assert!(forced.buckets > buckets && forced.buckets < 3000 / 18);
    table.pause_resize(false);
    while table.step_resize(10) {}
    check(&table);
    let settled = table.stats();
    assert!(settled.buckets > 450 && settled.longest < 24, "{settled:?}");
    assert_eq!(settled.chains.iter().sum::<usize>(), settled.buckets);
}

#[test]
fn reserve_of_an_empty_table_needs_no_split_later() {
    let live = Live::default();
    let mut table = Tested::new(good);
    table.reserve(1000);
    let buckets = table.stats().buckets;
    numbered(&mut table, &live, 0, 1000);
    assert_eq!(table.stats().buckets, buckets);
    table.reserve(2000);
    check(&table);
    assert!(table.stats().buckets > buckets);
}

#[test]
fn draining_takes_bounded_steps_and_leaves_a_valid_table() {
    let live = Live::default();
    let mut table = Tested::new(good);
    numbered(&mut table, &live, 0, 1000);
    let mut left = 1000;
    while table.drain_step(50) {
        assert!(table.len() >= left - 50);
        left = table.len();
        check(&table);
    }
    assert_eq!((table.len(), live.get(), table.mem_bytes()), (0, 0, 0));
    numbered(&mut table, &live, 0, 10);
    assert_eq!(table.len(), 10);
}

/// A slot kept too long names another item or none; the accessors panic on none.
#[test]
fn a_stale_slot_is_no_undefined_behaviour() {
    let live = Live::default();
    let mut table = Tested::new(good);
    let many = if cfg!(miri) { 30 } else { 300 };
    numbered(&mut table, &live, 0, many);
    let keys: Vec<Vec<u8>> = table.iter().map(|(key, _)| key.to_vec()).collect();
    let slots: Vec<Slot> = keys
        .iter()
        .map(|key| table.find(table.hash(key), key).expect("there"))
        .collect();
    assert!((20..many).all(|n| remove_number(&mut table, n)));
    let mut named = 0;
    for &slot in &slots {
        let place = slot.place();
        let held = table
            .store
            .at(place.index, place.depth)
            .is_some_and(|b| b.holds(place.pos));
        let got = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| table.get(slot).1));
        assert_eq!(got.is_ok(), held);
        named += usize::from(held);
    }
    assert!(named <= 20 && table.len() == 20);
}

/// From 2^16 buckets up the bits kept in the slots decide, and no key is hashed again.
#[test]
fn large_tables_split_and_merge_by_the_bits_kept() {
    if cfg!(miri) {
        return;
    }
    let live = Live::default();
    let mut table = Tested::new(good);
    table.reserve((1 << 16) * 6);
    let before = table.stats().buckets;
    numbered(&mut table, &live, 0, 20_000);
    table.hasher = |_| unreachable!("a key is hashed");
    table.reserve((1 << 17) * 6 + 5000);
    assert!(before <= 1 << 16 && table.stats().buckets > 1 << 17);
    table.hasher = good;
    check(&table);
    table.hasher = |_| unreachable!("a key is hashed");
    while table.step_resize(1000) {}
    table.hasher = good;
    check(&table);
    assert!(table.stats().buckets < 6000);
}
