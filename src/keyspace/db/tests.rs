//! A database against a map: whatever is written, moved, expired or flushed, both hold the same.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::ds::listpack;
use crate::keyspace::expire::Expired;
use crate::types::hash::Hash;
use crate::types::{Collection, Kind, Value};

#[derive(Clone, Debug, PartialEq)]
enum Model {
    Str(Vec<u8>),
    Hash(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq)]
struct Held {
    value: Model,
    expire_at: Option<i64>,
    clock: u32,
}

type Map = BTreeMap<Vec<u8>, Held>;

fn db(seed: u64) -> Db {
    Db::new(KeyHasher(HashKey::random(&mut Rng::from_seed(seed))))
}

fn pack(len: usize) -> Vec<u8> {
    let mut pack = listpack::new();
    listpack::push_back(&mut pack, b"f");
    listpack::push_back(&mut pack, &vec![b'v'; len]);
    pack
}

fn held(entry: EntryRef<'_>) -> Held {
    let value = match (entry.kind(), entry.to_value()) {
        (Kind::String, _) => Model::Str(entry.string().expect("a string").to_vec()),
        (_, NewValue::Owned(value)) => Model::Hash(value.as_pack().expect("packed").1.to_vec()),
        _ => panic!("a collection is an owned value"),
    };
    Held {
        value,
        expire_at: entry.expire_at(),
        clock: entry.clock(),
    }
}

fn contents(db: &Db) -> Map {
    let all: Map = db
        .iter()
        .map(|entry| (entry.key().to_vec(), held(entry)))
        .collect();
    assert_eq!(all.len(), db.len(), "no key twice");
    all
}

/// The counts that are kept must be those of a walk.
fn check_counts(db: &Db, model: &Map) {
    let deadlines: Vec<i64> = model.values().filter_map(|held| held.expire_at).collect();
    assert_eq!((db.len(), db.expires()), (model.len(), deadlines.len()));
    let sum: i128 = deadlines.iter().map(|&at| i128::from(at)).sum();
    if !deadlines.is_empty() {
        let average = sum / deadlines.len() as i128;
        assert_eq!(i128::from(db.avg_ttl_ms(-1_000_000)), average + 1_000_000);
    }
}

struct Run {
    db: Db,
    model: Map,
    rng: Rng,
    now_ms: i64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let model = Map::new();
        Run {
            db: db(seed),
            model,
            rng: Rng::from_seed(seed),
            now_ms: 0,
        }
    }

    fn key(&mut self) -> Vec<u8> {
        let n = self.rng.below(400);
        let long = if n.is_multiple_of(97) { 70_000 } else { 0 };
        let mut key = format!("key:{n}").into_bytes();
        key.resize(key.len() + long, b'.');
        key
    }

    fn text(&mut self) -> Vec<u8> {
        let lens = [0, 1, 5, 20, 44, 45, 200, 1248, 1249, 3000];
        let len = lens[self.rng.below(lens.len() as u64) as usize];
        match self.rng.below(3) {
            0 => ((self.rng.next_u64() as i64) >> self.rng.below(64))
                .to_string()
                .into_bytes(),
            _ => vec![self.rng.next_u64() as u8; len],
        }
    }

    fn deadline(&mut self) -> Option<i64> {
        (self.rng.below(2) == 0).then(|| self.now_ms + self.rng.below(100_000) as i64)
    }

    fn put(&mut self, key: Vec<u8>, value: Model, ttl: Ttl) {
        let new = match &value {
            Model::Str(text) => NewValue::string(text),
            Model::Hash(pack) => NewValue::Owned(Value::from(Hash::from_pack(0, pack.clone()))),
        };
        let hash = self.db.hash(&key);
        let clock = self.rng.below(1 << 24) as u32;
        let old = match self.db.find(&key) {
            Some(slot) => {
                self.db.set(slot, new, ttl);
                self.db.set_clock(slot, clock);
                self.model.get(&key).and_then(|held| held.expire_at)
            }
            None => {
                let at = if let Ttl::At(at) = ttl {
                    Some(at)
                } else {
                    None
                };
                self.db.insert_hashed(hash, &key, new, at, clock);
                None
            }
        };
        let expire_at = match ttl {
            Ttl::Keep => old,
            Ttl::Clear => None,
            Ttl::At(at) => Some(at),
        };
        self.model.insert(
            key,
            Held {
                value,
                expire_at,
                clock,
            },
        );
    }

    fn step(&mut self) {
        let key = self.key();
        let slot = self.db.find(&key);
        assert_eq!(slot.is_some(), self.model.contains_key(&key));
        match self.rng.below(12) {
            0..3 => {
                let ttl = match (self.rng.below(3), self.deadline()) {
                    (0, _) => Ttl::Keep,
                    (1, Some(at)) => Ttl::At(at),
                    _ => Ttl::Clear,
                };
                let value = if self.rng.below(4) == 0 {
                    let lens = [1, 50, 1000, 2000];
                    Model::Hash(pack(lens[self.rng.below(4) as usize]))
                } else {
                    Model::Str(self.text())
                };
                self.put(key, value, ttl);
            }
            3 => {
                let tail = self.text();
                if let (Some(slot), Some(held)) = (slot, self.model.get_mut(&key)) {
                    match &mut held.value {
                        Model::Str(text) => {
                            text.extend_from_slice(&tail);
                            assert_eq!(self.db.append(slot, &tail), Ok(text.len()));
                        }
                        Model::Hash(_) => assert_eq!(self.db.append(slot, &tail), Err(WrongType)),
                    }
                }
            }
            4 => {
                if let (Some(slot), Some(held)) = (slot, self.model.get_mut(&key))
                    && let Model::Str(text) = &mut held.value
                {
                    let n = self
                        .db
                        .entry(slot)
                        .string()
                        .ok()
                        .and_then(|s| s.as_int())
                        .unwrap_or(0);
                    self.db.set_int(slot, n.wrapping_add(1));
                    *text = n.wrapping_add(1).to_string().into_bytes();
                }
            }
            5 => {
                let deadline = self.deadline();
                if let (Some(slot), Some(held)) = (slot, self.model.get_mut(&key)) {
                    self.db.set_expire(slot, deadline);
                    held.expire_at = deadline;
                }
            }
            6 => {
                if let Some(slot) = slot {
                    let entry = self.db.remove(slot);
                    assert_eq!(Some(held(entry.view())), self.model.remove(&key));
                }
            }
            7 => {
                let to = self.key();
                if let (Some(slot), None) = (slot, self.db.find(&to)) {
                    let slot = self.db.rename(slot, self.db.hash(&to), &to);
                    assert_eq!(self.db.entry(slot).key(), to);
                    let held = self.model.remove(&key).expect("found in both");
                    self.model.insert(to, held);
                }
            }
            8 => {
                let bytes = pack(self.rng.below(2000) as usize);
                let clock = self.rng.below(1 << 24) as u32;
                let empty = self.rng.below(3) == 0;
                let edit = |hash: &mut Hash| {
                    *hash = if empty {
                        Hash::new()
                    } else {
                        Hash::from_pack(0, bytes.clone())
                    };
                };
                match (slot, self.model.get_mut(&key)) {
                    (Some(slot), Some(held)) => match &mut held.value {
                        Model::Str(_) => assert!(self.db.update(slot, edit).is_err()),
                        Model::Hash(_) if empty => {
                            assert_eq!(self.db.update(slot, edit), Ok((None, ())));
                            self.model.remove(&key);
                        }
                        Model::Hash(old) => {
                            assert_eq!(self.db.update(slot, edit), Ok((Some(slot), ())));
                            *old = bytes;
                        }
                    },
                    _ => {
                        let hash = self.db.hash(&key);
                        let (slot, ()) = self.db.create_hashed(hash, &key, clock, edit);
                        assert_eq!(slot.is_none(), empty);
                        if !empty {
                            let held = Held {
                                value: Model::Hash(bytes),
                                expire_at: None,
                                clock,
                            };
                            self.model.insert(key, held);
                        }
                    }
                }
            }
            9 => {
                let fill = self.rng.next_u64() as u8;
                if let (
                    Some(slot),
                    Some(Held {
                        value: Model::Str(text),
                        ..
                    }),
                ) = (slot, self.model.get_mut(&key))
                {
                    if let Some(bytes) = self.db.string_bytes_mut(slot) {
                        bytes.fill(fill);
                        text.fill(fill);
                    } else {
                        let done = self.db.edit_string(slot, |v| {
                            v.push(fill);
                            v.len()
                        });
                        text.push(fill);
                        assert_eq!(done, Ok(text.len()));
                    }
                }
            }
            10 => self.expire(),
            _ => {
                if let Some(slot) = self.db.random(&mut self.rng) {
                    let entry = self.db.entry(slot);
                    assert_eq!(self.model.get(entry.key()), Some(&held(entry)));
                }
            }
        }
    }

    /// Time goes on; with budget enough every dead key must go, and no other.
    fn expire(&mut self) {
        self.now_ms += self.rng.below(3000) as i64;
        let mut gone = BTreeSet::new();
        while self
            .db
            .expire_cycle(self.now_ms, 7, |entry| {
                _ = gone.insert(entry.view().key().to_vec())
            })
            .more
        {}
        for key in &gone {
            let held = self.model.remove(key).expect("a key of the model");
            assert!(held.expire_at.is_some_and(|at| at < self.now_ms));
        }
        // A bucket of the index is a little coarse: what is left may only just have died.
        let late = self
            .model
            .values()
            .filter(|h| h.expire_at.is_some_and(|at| at + 100 < self.now_ms));
        assert_eq!(late.count(), 0, "every key that is dead for long was found");
    }
}

#[test]
fn random_commands_leave_what_the_model_says() {
    let steps = if cfg!(miri) { 200 } else { 40_000 };
    for seed in 1..4 {
        let mut run = Run::new(seed);
        for step in 0..steps {
            run.step();
            if step % 1000 == 0 {
                check_counts(&run.db, &run.model);
                assert_eq!(contents(&run.db), run.model);
            }
            if step == steps / 2 {
                let detached = run.db.detach();
                assert_eq!(detached.len(), run.model.len());
                run.model.clear();
            }
        }
        assert_eq!(contents(&run.db), run.model);
        let mut scanned = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = run
                .db
                .scan(cursor, 3, |entry| _ = scanned.insert(entry.key().to_vec()));
            if cursor == 0 {
                break;
            }
        }
        assert!(scanned.iter().eq(run.model.keys()));
    }
}

#[test]
fn a_key_dies_in_the_millisecond_after_its_deadline() {
    let mut db = db(9);
    let slot = db.insert_hashed(db.hash(b"k"), b"k", NewValue::Int(1), Some(1000), 0);
    assert!(!db.entry(slot).is_expired(1000) && db.entry(slot).is_expired(1001));
    assert_eq!(db.expire_cycle(1000, 10, |_| ()).removed, 0);
    assert_eq!(db.len(), 1);
    assert_eq!(db.expire_cycle(1100, 10, |_| ()).removed, 1);
    assert_eq!((db.len(), db.expires(), db.avg_ttl_ms(0)), (0, 0, 0));
}

#[test]
fn a_moved_deadline_is_found_at_its_new_time() {
    let mut db = db(10);
    let keys = [&b"later"[..], b"sooner", b"gone", b"gone and back"];
    for key in keys {
        db.insert_hashed(db.hash(key), key, NewValue::Int(1), Some(5_000), 0);
    }
    let slot = |db: &Db, n: usize| db.find(keys[n]).expect("inserted");
    db.set_expire(slot(&db, 0), Some(60_000));
    db.set_expire(slot(&db, 1), Some(1_000));
    db.set_expire(slot(&db, 2), None);
    db.set(slot(&db, 3), NewValue::Int(2), Ttl::Clear);
    db.set_expire(slot(&db, 3), Some(2_000));

    let gone_by = |db: &mut Db, now_ms| {
        let mut gone = Vec::new();
        db.expire_cycle(now_ms, 100, |entry| gone.push(entry.view().key().to_vec()));
        gone
    };
    assert_eq!(gone_by(&mut db, 1_500), [&b"sooner"[..]]);
    assert_eq!(gone_by(&mut db, 2_500), [&b"gone and back"[..]]);
    assert!(gone_by(&mut db, 30_000).is_empty());
    assert_eq!(gone_by(&mut db, 61_000), [&b"later"[..]]);
    assert!(gone_by(&mut db, i64::MAX).is_empty());
    assert_eq!((db.len(), db.expires(), db.registrations()), (1, 0, 0));
    assert_eq!(
        db.entry(slot(&db, 2)).mem_bytes(),
        16,
        "the field of the lost deadline went too"
    );
}

#[test]
fn an_entry_from_another_database_is_registered_in_this_one() {
    let (mut from, mut to) = (db(20), db(20));
    let hash = from.hash(b"k");
    let slot = from.insert_hashed(hash, b"k", NewValue::Int(1), Some(1_000), 0);
    from.set_expire(slot, None);
    let slot = to.insert_entry(hash, from.remove(slot));
    to.set_expire(slot, Some(5_000));
    assert_eq!(to.expire_cycle(6_000, 10, |_| ()).removed, 1);
    while from.expire_cycle(6_000, 10, |_| ()).more {}
    assert_eq!((from.len(), from.registrations()), (0, 0));
}

#[test]
fn the_budget_bounds_a_cycle() {
    let mut db = db(12);
    for n in 0..1000u32 {
        let key = n.to_le_bytes();
        db.insert_hashed(db.hash(&key), &key, NewValue::Int(1), Some(i64::from(n)), 0);
    }
    let done = db.expire_cycle(1_000_000, 100, |_| ());
    assert!(done.more && (100..164).contains(&done.removed));
    assert_eq!(db.len(), 1000 - done.removed);
    let idle = Expired {
        more: true,
        ..Expired::default()
    };
    assert_eq!(db.expire_cycle(1_000_000, 0, |_| ()), idle);
    while db.expire_cycle(1_000_000, 10_000, |_| ()).more {}
    assert_eq!(db.len(), 0);
}

#[test]
fn names_set_and_deleted_again_and_again_do_not_fill_the_index() {
    let mut db = db(13);
    let day = 86_400_000;
    for n in 0..300_000i64 {
        let key = (n % 50).to_le_bytes();
        let hash = db.hash(&key);
        if let Some(slot) = db.find(&key) {
            drop(db.remove(slot));
        }
        db.insert_hashed(hash, &key, NewValue::Int(n), Some(n + day), 0);
        if n % 100 == 0 {
            db.expire_cycle(n, 200, |_| ());
        }
    }
    assert!(
        db.registrations() < 60_000,
        "{} registrations for 50 keys",
        db.registrations()
    );
    let mut gone = 0;
    while db.expire_cycle(3 * day, 1000, |_| gone += 1).more {}
    assert_eq!((gone, db.len()), (50, 0));
}

#[test]
fn the_index_stays_small_where_expired_keys_are_left_alone() {
    let mut db = db(15);
    for n in 0..200_000i64 {
        let key = (n % 50).to_le_bytes();
        if let Some(slot) = db.find(&key) {
            drop(db.remove(slot));
        }
        db.insert_hashed(db.hash(&key), &key, NewValue::Int(n), Some(1_000 + n), 0);
        if n % 100 == 0 {
            db.sweep_index(200);
        }
    }
    assert!(
        db.registrations() < 60_000,
        "{} registrations for 50 keys",
        db.registrations()
    );
    assert_eq!(db.len(), 50);
    let mut gone = 0;
    while db.expire_cycle(1_000_000, 1000, |_| gone += 1).more {}
    assert_eq!((gone, db.len()), (50, 0));
}

#[test]
fn big_strings_are_lent_without_a_copy() {
    let mut db = db(14);
    let text = vec![b'x'; 20_000];
    let value = Value::Str(bytes::Bytes::from(text.clone()).into());
    let slot = db.insert_hashed(db.hash(b"k"), b"k", NewValue::Owned(value), None, 0);
    let first = db.share_string(slot).expect("large");
    let second = db.share_string(slot).expect("large");
    assert_eq!((first.as_ptr(), &second[..]), (second.as_ptr(), &text[..]));
    drop(db.remove(slot));
    assert_eq!(first, text);
}
