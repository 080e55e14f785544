//! One allocation for a key with a value, named by one pointer: the field of a large hash, and
//! whatever else a table is to hold two byte strings for.
//!
//! The bytes, which are aligned to 8 and take the size rounded up to 8:
//!
//! ```text
//! header | expiry: i64 (if there is one) | key | value
//! narrow header, 4 bytes: flags u8 | key length u8   | value length u16
//! wide header, 16 bytes:  flags u8 | 3 bytes unused  | key length u32 | value length u64
//! ```
//!
//! So a key of 15 bytes and a value of 8 take 32 bytes. Invariants on which all `unsafe` here
//! rests: a pair's pointer comes from [`Pair::new`] and is owned by one `Pair` or by the table
//! that took it; the header tells the sizes of what follows; the size that the
//! header tells, rounded up, is the size of the allocation, also after an edit in place.
#![allow(unsafe_code)]

use super::table::Item;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

const HAS_EXPIRY: u8 = 1;
const WIDE: u8 = 2;
const NARROW_HEADER: usize = 4;
const WIDE_HEADER: usize = 16;
const EXPIRY: usize = 8;
const ALIGN: usize = 8;
/// Keys have a length of 32 bits. Requests are bounded far below it.
const KEY_LEN_MAX: usize = u32::MAX as usize;

/// An owned pair.
pub struct Pair {
    at: NonNull<u8>,
}

/// A pair being read.
#[derive(Clone, Copy)]
pub struct PairRef<'a> {
    at: NonNull<u8>,
    life: PhantomData<&'a [u8]>,
}

// SAFETY: a pair owns plain bytes that nothing else refers to.
unsafe impl Send for Pair {}
// SAFETY: as above, and a shared pair is only read.
unsafe impl Sync for Pair {}
// SAFETY: a reader is a shared reference to plain bytes.
unsafe impl Send for PairRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for PairRef<'_> {}

/// A pair whose value may be changed in place.
pub struct PairMut<'a> {
    at: NonNull<u8>,
    life: PhantomData<&'a mut [u8]>,
}

/// What a header says.
#[derive(Clone, Copy)]
struct Shape {
    flags: u8,
    key_len: usize,
    value_len: usize,
}

impl Shape {
    fn of(key_len: usize, value_len: usize, expiry: bool) -> Shape {
        assert!(
            key_len <= KEY_LEN_MAX,
            "keys are bounded by the size of a request"
        );
        let narrow = key_len <= usize::from(u8::MAX) && value_len <= usize::from(u16::MAX);
        let wide = if narrow { 0 } else { WIDE };
        let expiry = if expiry { HAS_EXPIRY } else { 0 };
        Shape {
            flags: wide | expiry,
            key_len,
            value_len,
        }
    }

    #[inline]
    fn header_len(self) -> usize {
        if self.flags & WIDE == 0 {
            NARROW_HEADER
        } else {
            WIDE_HEADER
        }
    }

    #[inline]
    fn key_at(self) -> usize {
        self.header_len()
            + if self.flags & HAS_EXPIRY == 0 {
                0
            } else {
                EXPIRY
            }
    }

    #[inline]
    fn value_at(self) -> usize {
        self.key_at() + self.key_len
    }

    /// Bytes of the allocation.
    #[inline]
    fn size(self) -> usize {
        (self.value_at() + self.value_len).next_multiple_of(ALIGN)
    }

    fn layout(self) -> Layout {
        Layout::from_size_align(self.size(), ALIGN).expect("both strings fit in memory together")
    }

    /// # Safety
    /// `at` is a live pair.
    #[inline]
    unsafe fn read(at: NonNull<u8>) -> Shape {
        // SAFETY: every header is at least 4 bytes, aligned to 8.
        let word = u32::from_le(unsafe { at.cast::<u32>().read() });
        let flags = word as u8;
        if flags & WIDE == 0 {
            let key_len = (word >> 8) as u8;
            return Shape {
                flags,
                key_len: key_len.into(),
                value_len: (word >> 16) as usize,
            };
        }
        // SAFETY: a wide header is 16 bytes.
        let (key_len, value_len) = unsafe {
            (
                at.add(4).cast::<u32>().read(),
                at.add(8).cast::<u64>().read(),
            )
        };
        Shape {
            flags,
            key_len: u32::from_le(key_len) as usize,
            value_len: u64::from_le(value_len) as usize,
        }
    }

    /// # Safety
    /// `at` is an allocation of `self.size()` bytes that nothing else refers to.
    unsafe fn write(self, at: NonNull<u8>) {
        if self.flags & WIDE == 0 {
            let lens = (self.key_len as u32) << 8 | (self.value_len as u32) << 16;
            // SAFETY: every allocation is at least 8 bytes, aligned to 8.
            unsafe {
                at.cast::<u32>()
                    .write((u32::from(self.flags) | lens).to_le())
            };
        } else {
            // SAFETY: an allocation with a wide header is at least 16 bytes.
            unsafe {
                at.cast::<u32>().write(u32::from(self.flags).to_le());
                at.add(4).cast::<u32>().write((self.key_len as u32).to_le());
                at.add(8)
                    .cast::<u64>()
                    .write((self.value_len as u64).to_le());
            }
        }
    }
}

impl Pair {
    /// A pair of copies, with the time in ms at which it is due, if it is ever.
    pub fn new(key: &[u8], value: &[u8], expire_at: Option<i64>) -> Pair {
        let shape = Shape::of(key.len(), value.len(), expire_at.is_some());
        let layout = shape.layout();
        // SAFETY: the layout has at least the header's bytes.
        let at =
            NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the allocation is fresh and of the shape's size; the copies end inside it.
        unsafe {
            shape.write(at);
            if let Some(ms) = expire_at {
                at.add(shape.header_len()).cast::<i64>().write_unaligned(ms);
            }
            let key_at = at.add(shape.key_at());
            key_at.copy_from_nonoverlapping(NonNull::from(key).cast(), key.len());
            let value_at = at.add(shape.value_at());
            value_at.copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
        }
        Pair { at }
    }

    /// Reads the pair.
    #[inline]
    pub fn view(&self) -> PairRef<'_> {
        PairRef {
            at: self.at,
            life: PhantomData,
        }
    }

    /// Writes another value over the present one if it takes the same number of bytes of memory;
    /// whether it did. The time at which the pair is due stays.
    pub fn set_in_place(&mut self, value: &[u8]) -> bool {
        PairMut {
            at: self.at,
            life: PhantomData,
        }
        .set_in_place(value)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: the pair is live and owned; its header tells the layout it was allocated with.
        unsafe {
            let layout = Shape::read(self.at).layout();
            dealloc(self.at.as_ptr(), layout);
        }
    }
}

impl<'a> PairRef<'a> {
    #[inline]
    fn shape(self) -> Shape {
        // SAFETY: the pair outlives the reader.
        unsafe { Shape::read(self.at) }
    }

    #[inline]
    fn slice(self, from: usize, len: usize) -> &'a [u8] {
        // SAFETY: callers name parts of the shape, which are written and lie in the allocation;
        // the pair is not written to while a reader lives.
        unsafe { std::slice::from_raw_parts(self.at.add(from).as_ptr(), len) }
    }

    /// The allocation: what `Item::into_raw` gave, for an index beside the table.
    #[inline]
    pub fn raw(self) -> NonNull<u8> {
        self.at
    }

    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        let shape = self.shape();
        self.slice(shape.key_at(), shape.key_len)
    }

    /// The value.
    #[inline]
    pub fn value(self) -> &'a [u8] {
        let shape = self.shape();
        self.slice(shape.value_at(), shape.value_len)
    }

    /// The time in ms at which the pair is due.
    pub fn expire_at(self) -> Option<i64> {
        let shape = self.shape();
        if shape.flags & HAS_EXPIRY == 0 {
            return None;
        }
        // SAFETY: the flag says that there are 8 bytes behind the header.
        Some(unsafe {
            self.at
                .add(shape.header_len())
                .cast::<i64>()
                .read_unaligned()
        })
    }

    /// Bytes of the allocation.
    pub fn mem_bytes(self) -> usize {
        self.shape().size()
    }
}

impl PairMut<'_> {
    /// Moves the time in ms at which the pair is due, which it must have.
    pub fn set_expire_at(&mut self, ms: i64) {
        // SAFETY: the pair is live and this is the only use of it.
        let shape = unsafe { Shape::read(self.at) };
        assert!(shape.flags & HAS_EXPIRY != 0, "there is room for a time");
        // SAFETY: the flag says that there are 8 bytes behind the header.
        unsafe {
            self.at
                .add(shape.header_len())
                .cast::<i64>()
                .write_unaligned(ms);
        }
    }

    /// See [`Pair::set_in_place`].
    pub fn set_in_place(&mut self, value: &[u8]) -> bool {
        // SAFETY: the pair is live and this is the only use of it.
        let old = unsafe { Shape::read(self.at) };
        let new = Shape::of(old.key_len, value.len(), old.flags & HAS_EXPIRY != 0);
        // The same flags keep the key where it is, the same size keeps the allocation as it is.
        if new.flags != old.flags || new.size() != old.size() {
            return false;
        }
        // SAFETY: as above; the value ends inside the allocation.
        unsafe {
            new.write(self.at);
            let value_at = self.at.add(new.value_at());
            value_at.copy_from_nonoverlapping(NonNull::from(value).cast(), value.len());
        }
        true
    }
}

// SAFETY: the pointer is the allocation's own, which stays where it is until `from_raw` and drop;
// user-space addresses are below 2^48, which the table asserts. The views touch the pair alone.
unsafe impl Item for Pair {
    // 6.5 items a bucket: a big hash's field takes 0.7 bytes less than at 6, the CPU is the same.
    const LOAD_HALVES: usize = 13;

    type Ref<'a> = PairRef<'a>;
    type Mut<'a> = PairMut<'a>;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        let at = self.at;
        std::mem::forget(self);
        at
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Self {
        Pair { at: raw }
    }

    #[inline]
    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        PairRef {
            at: raw,
            life: PhantomData,
        }
        .key()
    }

    #[inline]
    unsafe fn as_ref<'a>(raw: NonNull<u8>) -> PairRef<'a> {
        PairRef {
            at: raw,
            life: PhantomData,
        }
    }

    #[inline]
    unsafe fn as_mut<'a>(raw: NonNull<u8>) -> PairMut<'a> {
        PairMut {
            at: raw,
            life: PhantomData,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pairs_are_small() {
        assert_eq!(
            Pair::new(&[b'f'; 15], b"12345678", None).view().mem_bytes(),
            32
        );
        assert_eq!(Pair::new(b"member", b"", None).view().mem_bytes(), 16);
        assert_eq!(
            Pair::new(b"field", b"value", Some(1)).view().mem_bytes(),
            24
        );
    }

    #[test]
    fn what_goes_in_comes_out() {
        let keys = [0, 1, 3, 4, 5, 254, 255, 256, 300];
        let values = [0, 1, 7, 8, 9, 65_535, 65_536];
        for (key_len, value_len) in keys.iter().flat_map(|k| values.map(|v| (*k, v))) {
            for expire_at in [None, Some(0), Some(i64::MIN), Some(1_700_000_000_000)] {
                let (key, value) = (vec![b'k'; key_len], vec![b'v'; value_len]);
                let pair = Pair::new(&key, &value, expire_at);
                assert_eq!(pair.view().key(), key);
                assert_eq!(pair.view().value(), value);
                assert_eq!(pair.view().expire_at(), expire_at);
                // SAFETY: taken back once, at once.
                let pair = unsafe { Pair::from_raw(pair.into_raw()) };
                assert_eq!(pair.view().key(), key);
            }
        }
    }

    #[test]
    fn a_value_is_replaced_in_place_where_it_fits() {
        let mut pair = Pair::new(b"field", b"1234", Some(77));
        assert!(pair.set_in_place(b"1234567"));
        assert!(!pair.set_in_place(b"12345678"));
        assert!(!pair.set_in_place(&[b'x'; 70_000]));
        let view = pair.view();
        assert_eq!((view.key(), view.value()), (&b"field"[..], &b"1234567"[..]));
        assert_eq!(view.expire_at(), Some(77));
        PairMut {
            at: pair.at,
            life: PhantomData,
        }
        .set_expire_at(-5);
        let view = pair.view();
        assert_eq!(
            (view.expire_at(), view.value()),
            (Some(-5), &b"1234567"[..])
        );
        assert!(pair.set_in_place(b"") || pair.set_in_place(b"1"));

        let mut wide = Pair::new(&[b'k'; 300], b"1", None);
        assert!(wide.set_in_place(b"22"));
        assert_eq!(
            (wide.view().key().len(), wide.view().value()),
            (300, &b"22"[..])
        );
    }
}
