//! How an entry lies in memory, as safe arithmetic: what the bits of its head mean and where a value goes.
//!
//! `entry.rs` trusts this file: `Head::size` must be at least `value_at() + vlen()`, and a head's form,
//! lengths and flags change only through the functions here.

use crate::base::alloc::size_class;
use crate::base::num::parse_i64;
use crate::types::saved::Loaded;
use crate::types::{Kind, PackTag, Value};

/// Longest string or packed collection inside an entry.
///
/// With a deadline and a 16-byte key such an entry fills the allocator's 1,280-byte class. Boxing costs 48
/// bytes and two dependent cache misses; embedding costs one copy when the class changes (and two for a
/// packed collection's write). At 1 KiB the copy is 20 ns, a fifth of the two misses; a few KiB on they
/// are even, and over 16 KiB replies want a shared buffer anyway.
pub const INLINE_MAX: usize = 1280 - HEAD - BOUND - 16;

/// What is left of a head for the value's length.
const _: () = assert!(INLINE_MAX < 1 << (u64::BITS - Head::VLEN_AT));

/// A boxed packed collection goes back inside below this; the gap keeps one that swings around the limit
/// from moving at every write.
pub(super) const REINLINE_MAX: usize = INLINE_MAX / 2;

/// The access clock's range: 29 bits, a time or a counter with a time; its meaning is not ours.
pub const CLOCK_MASK: u32 = 0x1fff_ffff;

pub(super) const HEAD: usize = 8;
pub(super) const BOUND: usize = 8;
pub(super) const ALIGN: usize = 8;
pub(super) const POINTER: usize = size_of::<*mut Value>();
/// Key length of a key that lies out of line.
pub(super) const LONG_KEY: usize = u16::MAX as usize;
pub(super) const LONG_KEY_ROOM: usize = size_of::<LongKey>();

pub(super) type LongKey = (*mut u8, usize);

/// Where and how the value lies.
pub(super) mod form {
    /// A string as a number of 1, 2, 4 or 8 bytes.
    pub(in crate::keyspace) const INT: u64 = 0;
    /// A string's bytes.
    pub(in crate::keyspace) const STR: u64 = 1;
    /// The same, edited in place.
    pub(in crate::keyspace) const RAW: u64 = 2;
    /// A packed collection, with tag 0; tag 1 is the next number.
    pub(in crate::keyspace) const PACK: u64 = 3;
    pub(in crate::keyspace) const PACK_1: u64 = 4;
    /// A pointer to a boxed `Value`.
    pub(in crate::keyspace) const BOXED: u64 = 5;
}

/// The entry's first word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Head(pub(super) u64);

impl Head {
    pub(super) const FORM_AT: u32 = 3;
    pub(super) const BOUNDED: u64 = 1 << 6;
    pub(super) const EXPIRES: u64 = 1 << 7;
    pub(super) const CLOCK_AT: u32 = 8;
    pub(super) const KLEN_AT: u32 = 37;
    pub(super) const VLEN_AT: u32 = 53;

    pub(super) fn new(plan: Plan, klen: usize, bounded: bool, clock: u32) -> Head {
        let klen = klen.min(LONG_KEY) as u64;
        Head(
            (u64::from(clock & CLOCK_MASK) << Self::CLOCK_AT)
                | (klen << Self::KLEN_AT)
                | if bounded {
                    Self::BOUNDED | Self::EXPIRES
                } else {
                    0
                },
        )
        .with_plan(plan)
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        // Only `with_plan` writes the bits; 6 and 7 never occur.
        Kind::ALL[(self.0 & 7) as usize]
    }

    #[inline]
    pub(super) fn form(self) -> u64 {
        self.0 >> Self::FORM_AT & 7
    }

    /// Which packed layout a `PACK` value is in.
    #[inline]
    pub(super) fn pack_tag(self) -> PackTag {
        debug_assert!(matches!(self.form(), form::PACK | form::PACK_1));
        (self.form() == form::PACK_1).into()
    }

    #[inline]
    pub(super) fn is_bounded(self) -> bool {
        self.0 & Self::BOUNDED != 0
    }

    #[inline]
    pub(super) fn expires(self) -> bool {
        self.0 & Self::EXPIRES != 0
    }

    #[inline]
    pub(super) fn clock(self) -> u32 {
        (self.0 >> Self::CLOCK_AT) as u32 & CLOCK_MASK
    }

    #[inline]
    pub(super) fn klen(self) -> usize {
        (self.0 >> Self::KLEN_AT) as usize & 0xffff
    }

    #[inline]
    pub(super) fn vlen(self) -> usize {
        (self.0 >> Self::VLEN_AT) as usize
    }

    #[inline]
    pub(super) fn key_room(self) -> usize {
        if self.klen() == LONG_KEY {
            LONG_KEY_ROOM
        } else {
            self.klen()
        }
    }

    #[inline]
    pub(super) fn key_at(self) -> usize {
        HEAD + if self.is_bounded() { BOUND } else { 0 }
    }

    #[inline]
    pub(super) fn value_at(self) -> usize {
        self.key_at() + self.key_room()
    }

    /// Bytes of the allocation.
    #[inline]
    pub(super) fn size(self) -> usize {
        size_class(self.value_at() + self.vlen())
    }

    #[inline]
    pub(super) fn with_plan(self, plan: Plan) -> Head {
        const KEPT: u64 = !(u64::MAX << Head::VLEN_AT | 0x3f);
        debug_assert!(plan.vlen <= INLINE_MAX);
        Head(
            self.0 & KEPT
                | plan.kind as u64
                | plan.form << Self::FORM_AT
                | (plan.vlen as u64) << Self::VLEN_AT,
        )
    }

    /// The head once a deadline is kept, set or lost; one that is lost leaves its field behind.
    #[inline]
    pub(super) fn with_ttl(self, ttl: Ttl) -> Head {
        match ttl {
            Ttl::Keep => self,
            Ttl::Clear => self.with_bits(Head::EXPIRES, false),
            Ttl::At(_) => self.with_bits(Head::BOUNDED | Head::EXPIRES, true),
        }
    }

    /// Whether the allocations of both heads, of the same key, have one size.
    #[inline]
    pub(super) fn is_as_large_as(self, other: Head) -> bool {
        let differs = self.0 ^ other.0;
        differs & (u64::MAX << Head::VLEN_AT | Head::BOUNDED) == 0 || self.size() == other.size()
    }

    #[inline]
    pub(super) fn with_form(self, form: u64) -> Head {
        Head(self.0 & !(7 << Self::FORM_AT) | form << Self::FORM_AT)
    }

    #[inline]
    pub(super) fn with_bits(self, bits: u64, on: bool) -> Head {
        Head(if on { self.0 | bits } else { self.0 & !bits })
    }

    #[inline]
    pub(super) fn with_clock(self, clock: u32) -> Head {
        let kept = self.0 & !(u64::from(CLOCK_MASK) << Self::CLOCK_AT);
        Head(kept | u64::from(clock & CLOCK_MASK) << Self::CLOCK_AT)
    }
}

/// How a value will lie in an entry.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) form: u64,
    pub(super) vlen: usize,
}

impl Plan {
    pub(super) fn of(value: &NewValue<'_>) -> Plan {
        match value {
            NewValue::Int(n) => Plan::of_int(*n),
            NewValue::Bytes(bytes) => Plan::of_bytes(bytes.len()),
            NewValue::Owned(Value::Str(big)) => Plan::of_bytes(big.as_slice().len()),
            NewValue::Owned(value) => match value.as_pack() {
                Some((tag, pack)) if pack.len() <= INLINE_MAX => {
                    Plan::of_pack(value.kind(), tag, pack.len())
                }
                _ => Plan::boxed(value.kind()),
            },
        }
    }

    #[inline]
    pub(super) fn of_int(n: i64) -> Plan {
        Plan {
            kind: Kind::String,
            form: form::INT,
            vlen: int_width(n),
        }
    }

    #[inline]
    pub(super) fn of_bytes(len: usize) -> Plan {
        if len > INLINE_MAX {
            return Plan::boxed(Kind::String);
        }
        Plan {
            kind: Kind::String,
            form: form::STR,
            vlen: len,
        }
    }

    #[inline]
    pub(super) fn of_pack(kind: Kind, tag: PackTag, len: usize) -> Plan {
        debug_assert!(tag <= 1, "a type has at most two packed layouts");
        Plan {
            kind,
            form: form::PACK + u64::from(tag & 1),
            vlen: len,
        }
    }

    pub(super) fn boxed(kind: Kind) -> Plan {
        Plan {
            kind,
            form: form::BOXED,
            vlen: POINTER,
        }
    }
}

/// Bytes that hold the number: 1, 2, 4 or 8.
#[inline]
pub(super) fn int_width(n: i64) -> usize {
    // The bits that differ from the sign, and the sign itself.
    let bits = 65 - (n ^ (n >> 63)).leading_zeros();
    bits.div_ceil(8).next_power_of_two() as usize
}

/// A value on its way into the keyspace.
pub enum NewValue<'a> {
    /// A string that is an integer.
    Int(i64),
    /// A string, to be copied.
    Bytes(&'a [u8]),
    /// A value that is built already. A string or packed collection that is small is copied inside.
    Owned(Value),
}

impl<'a> NewValue<'a> {
    /// A string as SET stores it: as a number where it is one.
    #[inline]
    pub fn string(bytes: &'a [u8]) -> NewValue<'a> {
        match parse_i64(bytes) {
            Some(n) => NewValue::Int(n),
            None => NewValue::Bytes(bytes),
        }
    }
}

impl<'a> From<Loaded<'a>> for NewValue<'a> {
    fn from(loaded: Loaded<'a>) -> Self {
        match loaded {
            Loaded::Int(n) => NewValue::Int(n),
            Loaded::Bytes(bytes) => NewValue::Bytes(bytes),
            Loaded::Value(value) => NewValue::Owned(value),
        }
    }
}

impl From<Value> for NewValue<'_> {
    fn from(value: Value) -> Self {
        NewValue::Owned(value)
    }
}

/// What becomes of the deadline when a value is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// It stays (KEEPTTL, INCR, APPEND).
    Keep,
    /// It goes (SET).
    Clear,
    /// It is this unix time in milliseconds.
    At(i64),
}
