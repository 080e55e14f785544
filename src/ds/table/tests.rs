//! The table against a HashMap, seeded: `SEED=n cargo test ds::table` replays one case.

use super::*;
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
