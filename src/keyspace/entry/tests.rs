//! Entries against a model, and their layout at every size class. Run under Miri too.

use super::*;
use crate::base::rng::Rng;
use crate::ds::listpack;
use crate::keyspace::layout::{BOUND, LONG_KEY_ROOM};
use crate::types::hash::Hash;

/// A packed hash whose bytes are near `len` long.
fn pack(len: usize) -> Vec<u8> {
    let mut pack = listpack::new();
    listpack::push_back(&mut pack, b"f");
    listpack::push_back(&mut pack, &vec![b'v'; len.saturating_sub(12)]);
    pack
}

fn entry(klen: usize, value: NewValue<'_>, expire_at: Option<i64>) -> Entry {
    Entry::new(&vec![b'k'; klen], value, expire_at, 0)
}

fn bytes_of(entry: &Entry) -> Vec<u8> {
    entry.view().string().expect("a string").to_vec()
}

fn hash_bytes(entry: &Entry) -> Vec<u8> {
    // Through a write that changes nothing: the only way to the bytes that does not depend on the type.
    let mut copy = entry.view().to_value();
    let NewValue::Owned(value) = &mut copy else {
        panic!("not a collection")
    };
    value.as_pack().expect("packed").1.to_vec()
}

/// As a database does: in place where it can be.
fn set(entry: &mut Entry, value: NewValue<'_>, ttl: Ttl) {
    if entry.as_in_table().set_in_place(&value, ttl).is_none() {
        entry.set(value, ttl);
    }
}

fn set_int(entry: &mut Entry, n: i64) {
    if !entry.as_in_table().set_int_in_place(n) {
        set(entry, NewValue::Int(n), Ttl::Keep);
    }
}

/// Sizes of the allocator's classes up to a few KiB.
fn classes() -> Vec<usize> {
    let mut classes: Vec<usize> = (1..3000).map(size_class).collect();
    classes.dedup();
    classes
}

#[test]
fn an_entry_takes_the_bytes_promised() {
    let text = [b'x'; 100];
    assert_eq!(
        entry(16, NewValue::Bytes(&text[..8]), None)
            .view()
            .mem_bytes(),
        32
    );
    assert_eq!(
        entry(16, NewValue::Bytes(&text[..8]), Some(9))
            .view()
            .mem_bytes(),
        40
    );
    assert_eq!(
        entry(16, NewValue::Bytes(&text), None).view().mem_bytes(),
        128
    );
    assert_eq!(
        entry(16, NewValue::Int(i64::MIN), None).view().mem_bytes(),
        32
    );
    assert_eq!(entry(12, NewValue::Int(-100), None).view().mem_bytes(), 24);
    let largest = vec![b'x'; INLINE_MAX];
    assert_eq!(
        entry(16, NewValue::Bytes(&largest), Some(1))
            .view()
            .mem_bytes(),
        1280
    );
}

#[test]
fn every_size_class_is_filled_to_its_last_byte() {
    // Under Miri a few classes of each step width are enough.
    for class in classes()
        .into_iter()
        .filter(|&n| !cfg!(miri) || n < 130 || n == 1280)
    {
        for (klen, at) in [(0, None), (7, Some(5)), (16, None), (16, Some(i64::MIN))] {
            let around = [class.saturating_sub(1), class, class + 1];
            for total in around {
                let head = HEAD + if at.is_some() { BOUND } else { 0 } + klen;
                let Some(vlen) = total.checked_sub(head).filter(|&n| n <= INLINE_MAX) else {
                    continue;
                };
                let value = vec![b'v'; vlen];
                let entry = entry(klen, NewValue::Bytes(&value), at);
                let view = entry.view();
                assert_eq!(view.mem_bytes(), size_class(total));
                assert_eq!((view.key().len(), view.expire_at()), (klen, at));
                assert_eq!(bytes_of(&entry), value);
            }
        }
    }
}

#[test]
fn keys_of_every_length_are_kept() {
    for klen in [
        0,
        1,
        8,
        255,
        65_533,
        65_534,
        65_535,
        65_536,
        if cfg!(miri) { 70_000 } else { 1 << 20 },
    ] {
        let key: Vec<u8> = (0..klen).map(|n| n as u8).collect();
        let mut entry = Entry::new(&key, NewValue::Bytes(b"v"), None, 7);
        assert_eq!(entry.view().key(), key);
        let inside = if klen >= LONG_KEY {
            LONG_KEY_ROOM
        } else {
            klen
        };
        assert_eq!(entry.0.as_ptr().addr() % ALIGN, 0);
        assert_eq!(entry.head().size(), size_class(HEAD + inside + 1));
        entry.set(NewValue::Bytes(&[b'x'; 500]), Ttl::At(3));
        assert_eq!(
            (entry.view().key(), entry.view().expire_at()),
            (&key[..], Some(3))
        );
        let entry = entry.renamed(b"short").renamed(&key);
        assert_eq!(
            (entry.view().key(), entry.view().expire_at()),
            (&key[..], Some(3))
        );
        assert_eq!(
            (bytes_of(&entry), entry.view().clock()),
            (vec![b'x'; 500], 7)
        );
    }
}

#[test]
fn an_overwrite_of_the_same_size_class_allocates_nothing() {
    let mut entry = entry(16, NewValue::Bytes(b"12345678"), Some(100));
    let place = entry.0;
    for value in [&b"abcdefgh"[..], b"x", b"1234567", b"xy"] {
        set(&mut entry, NewValue::Bytes(value), Ttl::At(5));
        assert_eq!((bytes_of(&entry), entry.0), (value.to_vec(), place));
    }
    set(&mut entry, NewValue::Bytes(b""), Ttl::Keep);
    assert_eq!((bytes_of(&entry), entry.view().mem_bytes()), (vec![], 32));

    let mut counter = Entry::new(&[b'k'; 16], NewValue::Int(1), None, 0);
    let place = counter.0;
    for n in [2, 127, 128, -32_768, 32_768, i64::MAX, 5, i64::MIN] {
        set_int(&mut counter, n);
        assert_eq!(counter.view().string().map(|s| s.as_int()), Ok(Some(n)));
        assert_eq!(counter.0, place, "8 + 16 + 1 to 8 bytes are one class");
    }
}

#[test]
fn integers_take_the_fewest_bytes() {
    for (n, width) in [
        (0, 1),
        (127, 1),
        (128, 2),
        (-128, 1),
        (-129, 2),
        (32_767, 2),
        (32_768, 4),
        (-32_769, 4),
        (i64::from(i32::MAX), 4),
        (i64::from(i32::MAX) + 1, 8),
        (i64::MAX, 8),
        (i64::MIN, 8),
    ] {
        assert_eq!(int_width(n), width, "{n}");
        let entry = entry(3, NewValue::Int(n), None);
        assert_eq!(entry.view().string().map(|s| s.as_int()), Ok(Some(n)));
        assert_eq!(entry.view().encoding(), "int");
    }
}

#[test]
fn encodings_are_those_of_redis() {
    let text = [b'x'; INLINE_MAX + 1];
    let shown = |len: usize| {
        entry(3, NewValue::Bytes(&text[..len]), None)
            .view()
            .encoding()
    };
    assert_eq!(
        (shown(0), shown(44), shown(45), shown(INLINE_MAX)),
        ("embstr", "embstr", "raw", "raw")
    );
    assert_eq!(shown(INLINE_MAX + 1), "raw");

    let mut entry = entry(3, NewValue::Int(12), None);
    assert_eq!(entry.append(b"3"), Ok(3));
    assert_eq!(
        (bytes_of(&entry), entry.view().encoding()),
        (b"123".to_vec(), "raw")
    );
    entry.set(NewValue::string(b"123"), Ttl::Clear);
    assert_eq!(entry.view().encoding(), "int");
    entry.set(NewValue::string(b"0123"), Ttl::Clear);
    assert_eq!(entry.view().encoding(), "embstr");
    entry.string_bytes_mut().expect("bytes")[0] = b'9';
    assert_eq!(
        (bytes_of(&entry), entry.view().encoding()),
        (b"9123".to_vec(), "raw")
    );
    assert_eq!(entry.renamed(b"other").view().encoding(), "raw");
}

#[test]
fn appends_move_from_the_entry_to_a_buffer_of_their_own() {
    let mut entry = entry(5, NewValue::Bytes(b""), Some(77));
    let mut model = Vec::new();
    for n in 0..400usize {
        let tail = vec![n as u8; n % 23];
        model.extend_from_slice(&tail);
        assert_eq!(entry.append(&tail), Ok(model.len()));
        assert_eq!(bytes_of(&entry), model);
    }
    assert!(model.len() > INLINE_MAX);
    assert_eq!(entry.view().expire_at(), Some(77));

    let lent = entry.share().expect("a buffer of its own");
    assert_eq!(entry.append(b"!"), Ok(model.len() + 1));
    assert_eq!(lent, model, "what was lent does not change");
    entry.set(NewValue::Bytes(b"small"), Ttl::Keep);
    assert!(entry.share().is_none());
    assert_eq!(lent, model);
}

#[test]
fn a_lost_deadline_leaves_what_the_index_knows() {
    let mut entry = entry(16, NewValue::Bytes(b"12345678"), Some(1000));
    entry.set(NewValue::Bytes(b"x"), Ttl::Clear);
    assert_eq!(
        (entry.view().expire_at(), entry.view().bound()),
        (None, Some(1000))
    );
    assert!(!entry.view().is_expired(i64::MAX));
    assert!(!entry.set_expire(1000), "registered at 1000 already");
    assert!(!entry.set_expire(5000), "an earlier registration will do");
    entry.clear_expire();
    assert!(
        entry.set(NewValue::Int(1), Ttl::At(4999)),
        "it must be sooner now"
    );
    assert_eq!(entry.view().expire_at(), Some(4999));
    assert!(entry.view().is_expired(5000) && !entry.view().is_expired(4999));

    entry.forget_bound();
    assert_eq!(
        entry.view().bound(),
        Some(4999),
        "not while it is the deadline"
    );
    entry.clear_expire();
    entry.forget_bound();
    assert_eq!((entry.view().bound(), entry.view().mem_bytes()), (None, 32));
    assert!(entry.set_expire(9999));
    let entry = entry.renamed(b"other");
    assert_eq!(entry.view().expire_at(), Some(9999));
}

#[test]
fn the_access_clock_has_29_bits_beside_everything_else() {
    let mut entry = Entry::new(b"key", NewValue::Int(1), Some(2), u32::MAX);
    assert_eq!(entry.view().clock(), CLOCK_MASK);
    entry.set_clock(0x1012_3456);
    entry.set(NewValue::Bytes(&[0; 90]), Ttl::Clear);
    assert_eq!(
        (entry.view().clock(), entry.view().key()),
        (0x1012_3456, &b"key"[..])
    );
}

#[test]
fn small_collections_lie_inside_and_large_ones_do_not() {
    let mut room = Vec::new();
    for len in [
        20,
        100,
        REINLINE_MAX,
        REINLINE_MAX + 1,
        INLINE_MAX,
        INLINE_MAX + 1,
        3000,
    ] {
        let bytes = pack(len);
        let mut entry = entry(
            9,
            NewValue::Owned(Hash::from_pack(0, bytes.clone()).into()),
            Some(4),
        );
        assert_eq!(entry.head().form() == form::BOXED, bytes.len() > INLINE_MAX);
        assert_eq!(
            (entry.view().kind(), entry.view().encoding()),
            (Kind::Hash, "listpack")
        );
        assert_eq!(hash_bytes(&entry), bytes);
        assert!(entry.view().get::<Hash>().is_ok());
        assert_eq!(entry.view().string().err(), Some(WrongType));
        assert_eq!(entry.append(b"x"), Err(WrongType));
        assert!(entry.string_bytes_mut().is_none() && entry.share().is_none());
        assert!(entry.edit_string(&mut room, |_| ()).is_err());

        // Grown and shrunk again, it moves out and back in.
        let (small, large) = (pack(50), pack(2000));
        for (to, inside) in [(&large, false), (&small, true)] {
            let left = entry.update(&mut room, |hash: &mut Hash| {
                *hash = Hash::from_pack(0, to.clone())
            });
            assert_eq!(left, Ok((Left::Members, ())));
            assert_eq!(
                (hash_bytes(&entry), entry.head().form() != form::BOXED),
                (to.clone(), inside)
            );
        }
        let left = entry.update(&mut room, |hash: &mut Hash| *hash = Hash::new());
        assert_eq!(left, Ok((Left::Nothing, ())));
        assert_eq!(entry.view().expire_at(), Some(4));
    }
    let mut string = entry(1, NewValue::Int(1), None);
    assert!(string.update(&mut room, |_: &mut Hash| ()).is_err());
    assert!(string.view().get::<Hash>().is_err());
}

#[test]
fn a_collection_is_created_in_a_borrowed_buffer() {
    let bytes = pack(60);
    let (entry, room) = Entry::from_collection(b"k", Hash::from_pack(0, bytes.clone()), 3);
    assert_eq!(
        (
            hash_bytes(&entry),
            entry.view().kind(),
            entry.view().clock()
        ),
        (bytes, Kind::Hash, 3)
    );
    assert!(room.capacity() > 0, "the buffer comes back");
    let bytes = pack(5000);
    let (entry, room) = Entry::from_collection(b"k", Hash::from_pack(0, bytes.clone()), 3);
    assert_eq!((hash_bytes(&entry), room.capacity()), (bytes, 0));
}

/// A value as the model keeps it.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Str(Vec<u8>),
    Hash(Vec<u8>),
}

#[test]
fn random_changes_leave_what_the_model_says() {
    let steps = if cfg!(miri) { 300 } else { 60_000 };
    let mut rng = Rng::from_seed(11);
    let lens = [
        0, 1, 3, 8, 15, 16, 44, 100, 127, 600, 1231, 1232, 1248, 1249, 2000, 70_000,
    ];
    let klens = [0usize, 5, 16, 17, 300, 65_534, 65_535, 70_000];
    let mut room = Vec::new();
    let mut key = vec![b'k'; 16];
    let mut entry = Entry::new(&key, NewValue::Int(0), None, 0);
    let (mut model, mut at, mut clock) = (Model::Str(b"0".to_vec()), None::<i64>, 0);
    for step in 0..steps {
        let len =
            lens[rng.below(lens.len() as u64) as usize].min(if cfg!(miri) { 2000 } else { 70_000 });
        let fill = rng.next_u64() as u8;
        let text = vec![fill; len];
        let ttl = match rng.below(4) {
            0 => Ttl::Clear,
            1 => Ttl::At(rng.next_u64() as i64),
            _ => Ttl::Keep,
        };
        let mut moved = Ttl::Keep;
        match rng.below(12) {
            0..3 => {
                set(&mut entry, NewValue::string(&text), ttl);
                (model, moved) = (Model::Str(text), ttl);
            }
            3 => {
                let n = (rng.next_u64() as i64) >> rng.below(64);
                set_int(&mut entry, n);
                model = Model::Str(n.to_string().into_bytes());
            }
            4 => {
                entry.set(NewValue::Owned(Value::Str(BigStr::from(text.clone()))), ttl);
                (model, moved) = (Model::Str(text), ttl);
            }
            5 => {
                let bytes = pack(len);
                entry.set(
                    NewValue::Owned(Hash::from_pack(0, bytes.clone()).into()),
                    ttl,
                );
                (model, moved) = (Model::Hash(bytes), ttl);
            }
            6 => match &mut model {
                Model::Str(s) => {
                    s.extend_from_slice(&text);
                    assert_eq!(entry.append(&text), Ok(s.len()));
                }
                Model::Hash(_) => assert!(entry.append(&text).is_err()),
            },
            7 => {
                let cut = len / 2;
                let edit = |v: &mut Vec<u8>| v.resize(cut, fill);
                match &mut model {
                    Model::Str(s) => {
                        edit(s);
                        assert!(entry.edit_string(&mut room, edit).is_ok());
                    }
                    Model::Hash(_) => assert!(entry.edit_string(&mut room, edit).is_err()),
                }
            }
            8 => {
                let bytes = pack(len);
                let done = entry.update(&mut room, |h: &mut Hash| {
                    *h = Hash::from_pack(0, bytes.clone())
                });
                match &mut model {
                    Model::Hash(b) => *b = bytes,
                    Model::Str(_) => assert!(done.is_err()),
                }
            }
            9 => match ttl {
                Ttl::At(to) => {
                    entry.set_expire(to);
                    moved = ttl;
                }
                _ => {
                    entry.clear_expire();
                    entry.forget_bound();
                    moved = Ttl::Clear;
                }
            },
            10 => {
                let klen = klens[rng.below(klens.len() as u64) as usize];
                key = vec![fill; klen];
                entry = entry.renamed(&key);
            }
            _ => {
                clock = rng.next_u64() as u32 & CLOCK_MASK;
                entry.set_clock(clock);
            }
        }
        match moved {
            Ttl::Keep => {}
            Ttl::Clear => at = None,
            Ttl::At(to) => at = Some(to),
        }
        let view = entry.view();
        assert_eq!(
            (view.key(), view.expire_at(), view.clock()),
            (&key[..], at, clock),
            "step {step}"
        );
        let found = match view.kind() {
            Kind::String => Model::Str(bytes_of(&entry)),
            _ => Model::Hash(hash_bytes(&entry)),
        };
        assert_eq!(found, model, "step {step}");
        if let Model::Str(s) = &model
            && s.len() > 1 << 20
        {
            entry.set(NewValue::Int(1), Ttl::Keep);
            model = Model::Str(b"1".to_vec());
        }
        if rng.below(50) == 0 {
            let copy = entry.view().to_value();
            entry = Entry::new(&key, copy, at, clock);
        }
    }
}
