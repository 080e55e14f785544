//! One key with its value in one allocation: the unit the database's table owns.
//!
//! ```text
//! | head 8 | [bound 8] | key | value |     rounded up to the allocator's size class
//! head: kind 3, form 3, bounded 1, expires 1 | access clock 24 | key length 16 | value length 16
//! ```
//! The head alone tells the layout, so a free is sized, "fits in place" needs no stored capacity, and an
//! overwrite of about the same length writes a few bytes and allocates nothing. What does not fit a 16-bit
//! length is a pointer: a key over 65,534 bytes, a value over [`INLINE_MAX`](super::layout::INLINE_MAX).
//!
//! `bound` is the deadline (unix ms) while `expires` is set. When a key loses its deadline the field stays
//! behind as what it says about the expiry index: this key is registered there at `bound` or earlier. A
//! later EXPIRE that is not sooner than that need not register again; the index takes the field away when
//! that time comes.
//!
//! All unsafe code of the keyspace is here. It relies on three invariants: an entry's allocation has the
//! size class of the layout its head gives (so the head changes only together with the allocation, in
//! `Entry::new` and `reshape`); a `BOXED` entry owns the `Box<Value>` whose pointer its value bytes hold; a
//! key of length `LONG_KEY` owns the `Box<[u8]>` whose parts its key bytes hold.
#![allow(unsafe_code)]

use std::alloc::{self, Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use crate::base::alloc::size_class;
use crate::ds::table::Item;
use crate::types::string::{BigStr, StrRef};
use crate::types::{Collection, Kind, PackTag, Stored, Value, ValueRef, WrongType, pack_encoding};

use super::layout::{
    ALIGN, CLOCK_MASK, HEAD, Head, INLINE_MAX, LONG_KEY, LongKey, NewValue, Plan, REINLINE_MAX,
    Ttl, form, int_width,
};

/// What a write to a collection left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Members,
    Nothing,
}

/// A key and its value, owned.
pub struct Entry(NonNull<u8>);

// SAFETY: an entry owns all it points to, and the parts are Send (a Value by the assertion below).
unsafe impl Send for Entry {}
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Value>();
};

impl Entry {
    /// A new entry. The caller registers it when `expire_at` is given.
    pub fn new(key: &[u8], value: NewValue<'_>, expire_at: Option<i64>, clock: u32) -> Entry {
        let head = Head::new(Plan::of(&value), key.len(), expire_at.is_some(), clock);
        let layout = layout(head.size());
        // SAFETY: an entry's size is never zero.
        let at = unsafe { alloc::alloc(layout) };
        let Some(at) = NonNull::new(at) else {
            handle_alloc_error(layout)
        };

        let mut entry = Entry(at);
        entry.set_head(head);
        if let Some(at_ms) = expire_at {
            entry.set_bound(at_ms);
        }
        let key_at = entry.at(head.key_at());
        if head.klen() == LONG_KEY {
            let key = Box::into_raw(Box::<[u8]>::from(key));
            // SAFETY: the layout of `head` has LONG_KEY_ROOM bytes at key_at.
            unsafe {
                key_at
                    .cast::<LongKey>()
                    .write_unaligned((key.cast(), key.len()))
            };
        } else {
            // SAFETY: the layout of `head` has klen = key.len() bytes at key_at, in a new allocation.
            unsafe { ptr::copy_nonoverlapping(key.as_ptr(), key_at, key.len()) };
        }
        entry.fill(value);
        entry
    }

    /// Reads the entry.
    #[inline]
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef {
            at: self.0,
            owner: PhantomData,
        }
    }

    /// Overwrites the value and settles the deadline: in place, without allocating, while the size class
    /// stays. True when the caller must register the deadline in the expiry index.
    pub(super) fn set(&mut self, value: NewValue<'_>, ttl: Ttl) -> bool {
        let old = self.head();
        let new = old.with_ttl(ttl);
        let plan = Plan::of(&value);
        if let (form::BOXED, Kind::String, NewValue::Bytes(bytes)) = (plan.form, old.kind(), &value)
            && let Some(Value::Str(big)) = self.boxed_mut()
        {
            big.assign(bytes);
            self.reshape(new);
        } else {
            let replaced = self.take_box();
            self.reshape(new.with_plan(plan));
            self.fill(value);
            drop(replaced);
        }
        match ttl {
            Ttl::At(at_ms) => self.move_bound(old, at_ms),
            Ttl::Keep | Ttl::Clear => false,
        }
    }

    /// The same value under another name; what the index knows of the old name is forgotten, a deadline
    /// stays.
    pub(super) fn renamed(mut self, key: &[u8]) -> Entry {
        let head = self.head();
        let at = self.view().expire_at();
        match head.form() {
            form::BOXED => {
                let value = *self.take_box().expect("the form says so");
                Entry::new(key, NewValue::Owned(value), at, head.clock())
            }
            form::INT => Entry::new(key, NewValue::Int(self.view().int()), at, head.clock()),
            form => {
                let bytes = self.view().inline();
                let mut entry = Entry::new(key, NewValue::Bytes(bytes), at, head.clock());
                let plan = Plan {
                    kind: head.kind(),
                    form,
                    vlen: bytes.len(),
                };
                entry.set_head(entry.head().with_plan(plan));
                entry
            }
        }
    }

    /// Sets the deadline. True when the caller must register it in the expiry index.
    pub(super) fn set_expire(&mut self, at_ms: i64) -> bool {
        let old = self.head();
        self.reshape(old.with_bits(Head::BOUNDED | Head::EXPIRES, true));
        self.move_bound(old, at_ms)
    }

    /// Stores the deadline in an entry whose head was `old` before it had to have one. True when the index
    /// must be told.
    fn move_bound(&mut self, old: Head, at_ms: i64) -> bool {
        // Only where `old` had a field is there something to read.
        let known = if old.is_bounded() {
            self.view().bound()
        } else {
            None
        };
        self.set_bound(at_ms);
        known.is_none_or(|bound| bound > at_ms)
    }

    /// Takes the deadline away and remembers what the index holds.
    pub(super) fn clear_expire(&mut self) {
        self.set_head(self.head().with_bits(Head::EXPIRES, false));
    }

    /// Forgets what the index held about a key without a deadline, and gives the eight bytes back.
    pub(super) fn forget_bound(&mut self) {
        if !self.head().expires() {
            self.reshape(self.head().with_bits(Head::BOUNDED, false));
        }
    }

    /// Stores the access clock.
    #[inline]
    pub(super) fn set_clock(&mut self, clock: u32) {
        let head = self.head();
        // An equal clock is not written: the line stays clean, and shared with a snapshot child.
        if head.clock() != clock & CLOCK_MASK {
            self.set_head(head.with_clock(clock));
        }
    }

    /// Appends to a string; its new length.
    pub(super) fn append(&mut self, tail: &[u8]) -> Result<usize, WrongType> {
        let head = self.head();
        let old = head.vlen();
        if matches!(head.form(), form::STR | form::RAW) && old + tail.len() <= INLINE_MAX {
            let vlen = old + tail.len();
            self.reshape(head.with_plan(Plan {
                kind: Kind::String,
                form: form::RAW,
                vlen,
            }));
            self.write(old, tail);
            return Ok(vlen);
        }
        self.edit_string(&mut Vec::new(), |bytes| {
            grow_for(bytes, tail.len());
            bytes.extend_from_slice(tail);
            bytes.len()
        })
    }

    /// Edits a string as a growable buffer and marks it "raw". `room` is borrowed for its capacity.
    pub(super) fn edit_string<R>(
        &mut self,
        room: &mut Vec<u8>,
        edit: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> Result<R, WrongType> {
        if let Some(Value::Str(big)) = self.boxed_mut() {
            return Ok(edit(big.make_owned()));
        }
        room.clear();
        room.extend_from_slice(self.view().string()?.bytes(&mut [0; 20]));
        let result = edit(room);
        if room.len() <= INLINE_MAX {
            self.store(
                Plan {
                    kind: Kind::String,
                    form: form::RAW,
                    vlen: room.len(),
                },
                room,
            );
        } else {
            let big = BigStr::from(std::mem::take(room));
            self.set(NewValue::Owned(Value::Str(big)), Ttl::Keep);
        }
        Ok(result)
    }

    /// A string's bytes, to be edited without changing their number, marked "raw"; `None` for a number and
    /// for other types.
    pub(super) fn string_bytes_mut(&mut self) -> Option<&mut [u8]> {
        let head = self.head();
        match head.form() {
            form::STR | form::RAW => {
                self.set_head(head.with_form(form::RAW));
                // SAFETY: the layout has vlen bytes at value_at, all written; `self` is borrowed for as long.
                Some(unsafe {
                    std::slice::from_raw_parts_mut(self.at(head.value_at()), head.vlen())
                })
            }
            form::BOXED => match self.boxed_mut() {
                Some(Value::Str(big)) => Some(big.make_owned()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Lends the buffer of a large string; `None` when the bytes are inside the entry or of another type.
    pub(super) fn share(&mut self) -> Option<bytes::Bytes> {
        match self.boxed_mut() {
            Some(Value::Str(big)) => Some(big.share()),
            _ => None,
        }
    }

    /// Edits a collection, stores it back the smallest way, and says whether anything is left. `room` is borrowed for its capacity.
    pub(super) fn update<T: Stored, R>(
        &mut self,
        room: &mut Vec<u8>,
        edit: impl FnOnce(&mut T) -> R,
    ) -> Result<(Left, R), WrongType> {
        let head = self.head();
        if head.kind() != T::KIND {
            return Err(WrongType);
        }
        if let Some(value) = self.boxed_mut() {
            let value = T::of_mut(value).ok_or(WrongType)?;
            let result = edit(value);
            if value.is_empty() {
                return Ok((Left::Nothing, result));
            }
            if value
                .as_pack()
                .is_some_and(|(_, pack)| pack.len() <= REINLINE_MAX)
            {
                let value = self.take_box().expect("it was boxed a moment ago");
                self.set(NewValue::Owned(*value), Ttl::Keep);
            }
            return Ok((Left::Members, result));
        }

        room.clear();
        room.extend_from_slice(self.view().inline());
        let tag = head.pack_tag();
        let mut value = T::from_pack(tag, std::mem::take(room));
        let result = edit(&mut value);
        let left = if value.is_empty() {
            Left::Nothing
        } else {
            Left::Members
        };
        match value.into_pack() {
            Ok((tag, pack)) => {
                if left == Left::Members {
                    self.store_pack::<T>(tag, pack, room);
                } else {
                    *room = pack;
                }
            }
            Err(value) => _ = self.set(NewValue::Owned(value.into()), Ttl::Keep),
        }
        Ok((left, result))
    }

    /// A new entry of a collection that was built in a borrowed buffer, which is handed back where it is not
    /// kept.
    pub(super) fn from_collection<T: Stored>(key: &[u8], value: T, clock: u32) -> (Entry, Vec<u8>) {
        match value.into_pack() {
            Ok((tag, pack)) if pack.len() <= INLINE_MAX => {
                let mut entry = Entry::new(key, NewValue::Bytes(&pack), None, clock);
                entry.become_pack(T::KIND, tag);
                (entry, pack)
            }
            Ok((tag, mut pack)) => {
                trim_pack(&mut pack);
                let value = T::from_pack(tag, pack).into();
                (
                    Entry::new(key, NewValue::Owned(value), None, clock),
                    Vec::new(),
                )
            }
            Err(value) => (
                Entry::new(key, NewValue::Owned(value.into()), None, clock),
                Vec::new(),
            ),
        }
    }

    /// Declares the bytes of a new string to be a packed collection.
    fn become_pack(&mut self, kind: Kind, tag: PackTag) {
        let head = self.head();
        debug_assert!(head.form() == form::STR);
        self.set_head(head.with_plan(Plan::of_pack(kind, tag, head.vlen())));
    }

    /// Stores packed bytes and hands their buffer back as `room` where it is not kept.
    fn store_pack<T: Stored>(&mut self, tag: PackTag, mut pack: Vec<u8>, room: &mut Vec<u8>) {
        if pack.len() <= INLINE_MAX {
            self.store(Plan::of_pack(T::KIND, tag, pack.len()), &pack);
            *room = pack;
        } else {
            trim_pack(&mut pack);
            self.set(NewValue::Owned(T::from_pack(tag, pack).into()), Ttl::Keep);
        }
    }

    /// Overwrites the value with bytes that lie inside.
    fn store(&mut self, plan: Plan, bytes: &[u8]) {
        debug_assert!(plan.vlen == bytes.len() && plan.form != form::BOXED);
        let head = self.head();
        let new = head.with_plan(plan);
        if new == head && self.view().inline() == bytes {
            return; // Nothing changed: not worth a copied page when a snapshot child shares it.
        }
        let replaced = self.take_box();
        self.reshape(new);
        self.write(0, bytes);
        drop(replaced);
    }

    /// Writes the value into the room that the head, planned for it, already has.
    fn fill(&mut self, value: NewValue<'_>) {
        let inside = self.head().form() != form::BOXED;
        let value = match value {
            NewValue::Int(n) => return self.write_int(n),
            NewValue::Bytes(bytes) if inside => return self.write(0, bytes),
            NewValue::Bytes(bytes) => Value::Str(BigStr::from(bytes.to_vec())),
            NewValue::Owned(Value::Str(big)) if inside => {
                return self.write(0, big.as_slice());
            }
            NewValue::Owned(value) if inside => {
                let (_, pack) = value.as_pack().expect("planned as packed");
                return self.write(0, pack);
            }
            NewValue::Owned(value) => value,
        };
        let boxed = Box::into_raw(Box::new(value));
        let at = self.at(self.head().value_at());
        // SAFETY: the layout of a BOXED head has POINTER bytes at value_at.
        unsafe { at.cast::<*mut Value>().write_unaligned(boxed) };
    }

    /// Writes the number into the room of the width that the head gives.
    #[inline]
    fn write_int(&mut self, n: i64) {
        // A constant length is a store; a variable one a call.
        let bytes = n.to_le_bytes();
        match self.head().vlen() {
            1 => self.write(0, &bytes[..1]),
            2 => self.write(0, &bytes[..2]),
            4 => self.write(0, &bytes[..4]),
            _ => self.write(0, &bytes),
        }
    }

    /// Writes bytes of the value.
    #[inline]
    fn write(&mut self, from: usize, bytes: &[u8]) {
        let head = self.head();
        assert!(
            from + bytes.len() <= head.vlen(),
            "the head was planned for the value"
        );
        let at = self.at(head.value_at() + from);
        // SAFETY: the layout of `head` has vlen bytes at value_at, and the write stays within them.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
    }

    #[inline]
    fn boxed_mut(&mut self) -> Option<&mut Value> {
        let head = self.head();
        if head.form() != form::BOXED {
            return None;
        }
        // SAFETY: a BOXED entry holds the pointer of a box it owns, and `self` is borrowed for as long.
        unsafe {
            Some(
                &mut *self
                    .at(head.value_at())
                    .cast::<*mut Value>()
                    .read_unaligned(),
            )
        }
    }

    /// Takes the boxed value out and leaves a string of POINTER meaningless bytes, which the caller
    /// overwrites.
    fn take_box(&mut self) -> Option<Box<Value>> {
        let head = self.head();
        let value: *mut Value = self.boxed_mut()?;
        self.set_head(head.with_form(form::STR));
        // SAFETY: the pointer came from Box::into_raw in `fill`; from here on the head no longer claims it.
        Some(unsafe { Box::from_raw(value) })
    }

    /// Changes the head and with it the allocation. Key and deadline stay; of the value, as many bytes as
    /// both layouts have. The key's length and a box's ownership are the same in both heads or the caller's.
    #[inline]
    fn reshape(&mut self, new: Head) {
        let old = self.head();
        let (from, to) = (old.size(), new.size());
        if to > from {
            self.resize(from, to);
        }
        self.rearrange(old, new);
        if to < from {
            self.resize(from, to);
        }
    }

    /// Moves what stays to where the new head has it. The allocation has at least the size of both.
    #[inline]
    fn rearrange(&mut self, old: Head, new: Head) {
        if old.key_at() != new.key_at() {
            let kept = old.key_room() + old.vlen().min(new.vlen());
            // SAFETY: the allocation has at least both sizes; [key_at, key_at + kept) lies within the
            // layout of either head because their key room is the same.
            unsafe { ptr::copy(self.at(old.key_at()), self.at(new.key_at()), kept) };
        }
        self.set_head(new);
    }

    #[cold]
    #[inline(never)]
    fn resize(&mut self, from: usize, to: usize) {
        // SAFETY: the allocation has the layout of size `from`, and `to` is not zero nor near isize::MAX (an
        // entry is at most 16-bit lengths and a few words).
        let at = unsafe { alloc::realloc(self.0.as_ptr(), layout(from), to) };
        let Some(at) = NonNull::new(at) else {
            handle_alloc_error(layout(to))
        };
        self.0 = at;
    }

    #[inline]
    fn head(&self) -> Head {
        self.view().head()
    }

    /// Only `new`, `reshape` and `rearrange` may call it with another layout than the allocation has.
    #[inline]
    fn set_head(&mut self, head: Head) {
        // SAFETY: an entry starts with eight bytes, 8-aligned.
        unsafe { self.0.cast::<u64>().write(head.0) };
    }

    #[inline]
    fn set_bound(&mut self, at_ms: i64) {
        debug_assert!(self.head().is_bounded());
        // SAFETY: a bounded entry has eight bytes behind its head, 8-aligned as the head is.
        unsafe { self.at(HEAD).cast::<i64>().write(at_ms) };
    }

    #[inline]
    fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: callers stay within the layout of the head.
        unsafe { self.0.as_ptr().add(offset) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        drop(self.take_box());
        let head = self.head();
        if head.klen() == LONG_KEY {
            let (at, len) = self.view().long_key();
            // SAFETY: the parts came from Box::<[u8]>::into_raw in `new`; the entry ends here.
            drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(at, len)) });
        }
        // SAFETY: the allocation has the size class of its head's layout (module invariant).
        unsafe { alloc::dealloc(self.0.as_ptr(), layout(head.size())) };
    }
}

// SAFETY: the pointer is the entry's one allocation with the allocator's provenance, valid until it is
// dropped and wherever it is kept; user space addresses are below 2^48 (the table asserts it). An entry is
// Send and says so.
unsafe impl Item for Entry {
    type Ref<'a> = EntryRef<'a>;
    type Mut<'a> = EntryMut<'a>;

    #[inline]
    fn into_raw(self) -> NonNull<u8> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    unsafe fn from_raw(raw: NonNull<u8>) -> Entry {
        Entry(raw)
    }

    #[inline]
    unsafe fn key<'a>(raw: NonNull<u8>) -> &'a [u8] {
        EntryRef {
            at: raw,
            owner: PhantomData,
        }
        .key()
    }

    #[inline]
    unsafe fn as_ref<'a>(raw: NonNull<u8>) -> EntryRef<'a> {
        EntryRef {
            at: raw,
            owner: PhantomData,
        }
    }

    #[inline]
    unsafe fn as_mut<'a>(raw: NonNull<u8>) -> EntryMut<'a> {
        EntryMut {
            entry: ManuallyDrop::new(Entry(raw)),
            owner: PhantomData,
        }
    }
}

/// An entry in the table, for the changes that never move it.
pub struct EntryMut<'a> {
    /// Stays the table's: neither dropped nor reshaped here.
    entry: ManuallyDrop<Entry>,
    owner: PhantomData<&'a mut Entry>,
}

impl EntryMut<'_> {
    /// Overwrites a value where it stays inside the allocation: what nearly every SET is. Says whether the
    /// deadline must be registered, or `None` when nothing was done and the entry must move.
    #[inline]
    pub(super) fn set_in_place(&mut self, value: &NewValue<'_>, ttl: Ttl) -> Option<bool> {
        let old = self.entry.head();
        let plan = match value {
            NewValue::Int(n) => Plan::of_int(*n),
            NewValue::Bytes(bytes) => Plan::of_bytes(bytes.len()),
            NewValue::Owned(_) => return None,
        };
        let new = old.with_ttl(ttl).with_plan(plan);
        if old.form() == form::BOXED || plan.form == form::BOXED || !new.is_as_large_as(old) {
            return None;
        }
        self.entry.rearrange(old, new);
        match value {
            NewValue::Int(n) => self.entry.write_int(*n),
            NewValue::Bytes(bytes) => self.entry.write(0, bytes),
            NewValue::Owned(_) => {}
        }
        match ttl {
            Ttl::At(at_ms) => Some(self.entry.move_bound(old, at_ms)),
            Ttl::Keep | Ttl::Clear => Some(false),
        }
    }

    /// Removes members whose deadline has passed; whether there may be more, and whether any is left.
    pub(super) fn expire_members(
        &mut self,
        now_ms: i64,
        max: usize,
        gone: &mut dyn FnMut(&[u8]),
    ) -> (bool, bool) {
        match self.entry.boxed_mut() {
            Some(value) => {
                let more = value.expire_members(now_ms, max, gone);
                (more, !value.is_empty())
            }
            None => (false, true),
        }
    }

    /// Overwrites a number by one that fits its room; false when nothing was done.
    #[inline]
    pub(super) fn set_int_in_place(&mut self, n: i64) -> bool {
        let head = self.entry.head();
        let fits = head.form() == form::INT && int_width(n) <= head.vlen();
        if fits {
            self.entry.write_int(n);
        }
        fits
    }

    /// Reads the entry.
    #[inline]
    pub(super) fn view(&self) -> EntryRef<'_> {
        self.entry.view()
    }

    /// See [`Entry::set_clock`].
    #[inline]
    pub(super) fn set_clock(&mut self, clock: u32) {
        self.entry.set_clock(clock);
    }

    /// See [`Entry::clear_expire`].
    pub(super) fn clear_expire(&mut self) {
        self.entry.clear_expire();
    }

    /// See [`Entry::share`].
    pub(super) fn share(&mut self) -> Option<bytes::Bytes> {
        self.entry.share()
    }
}

impl<'a> EntryMut<'a> {
    /// See [`Entry::string_bytes_mut`].
    pub(super) fn into_string_bytes(mut self) -> Option<&'a mut [u8]> {
        let bytes = self.entry.string_bytes_mut()?;
        let (at, len) = (bytes.as_mut_ptr(), bytes.len());
        // SAFETY: the bytes belong to the entry or to its buffer, not to this handle, and the entry is
        // exclusively borrowed for 'a.
        Some(unsafe { std::slice::from_raw_parts_mut(at, len) })
    }
}

#[cfg(test)]
impl Entry {
    /// The handle a table gives, for tests without one.
    fn as_in_table(&mut self) -> EntryMut<'_> {
        // SAFETY: the pointer is the entry's, which stays borrowed as long as the handle is used.
        unsafe { Entry::as_mut(self.0) }
    }
}

/// An entry in the table, for reading.
#[derive(Clone, Copy)]
pub struct EntryRef<'a> {
    at: NonNull<u8>,
    owner: PhantomData<&'a Entry>,
}

impl<'a> EntryRef<'a> {
    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        let head = self.head();
        let (at, len) = if head.klen() == LONG_KEY {
            self.long_key()
        } else {
            (self.part(head.key_at()), head.klen())
        };
        // SAFETY: these are the key's bytes, inside the entry or its own box; the entry is borrowed for 'a.
        unsafe { std::slice::from_raw_parts(at, len) }
    }

    /// Where the entry lies: the same as long as it is not moved (DEBUG OBJECT).
    pub fn address(self) -> usize {
        self.at.addr().get()
    }

    /// The value's type.
    #[inline]
    pub fn kind(self) -> Kind {
        self.head().kind()
    }

    /// The value.
    pub fn value(self) -> ValueRef<'a> {
        if let Ok(string) = self.string() {
            return ValueRef::Str(string);
        }
        let head = self.head();
        match self.boxed() {
            Some(value) => value.view(),
            None => {
                let value = ValueRef::from_pack(head.kind(), head.pack_tag(), self.inline());
                value.expect("only types in the list are packed")
            }
        }
    }

    /// The value as a string.
    #[inline]
    pub fn string(self) -> Result<StrRef<'a>, WrongType> {
        match self.head().form() {
            form::INT => Ok(StrRef::Int(self.int())),
            form::STR => Ok(StrRef::Inline {
                bytes: self.inline(),
                raw: false,
            }),
            form::RAW => Ok(StrRef::Inline {
                bytes: self.inline(),
                raw: true,
            }),
            _ => match self.boxed() {
                Some(Value::Str(big)) => Ok(StrRef::Big(big)),
                _ => Err(WrongType),
            },
        }
    }

    /// The value as that collection.
    #[inline]
    pub fn get<T: Stored>(self) -> Result<T::Ref<'a>, WrongType> {
        let head = self.head();
        if head.kind() != T::KIND {
            return Err(WrongType);
        }
        match self.boxed() {
            Some(value) => T::of(value).map(Collection::view).ok_or(WrongType),
            None => Ok(T::view_pack(head.pack_tag(), self.inline())),
        }
    }

    /// The value if it is a collection too large to be packed: what has tables of its own.
    #[inline]
    pub(super) fn large(self) -> Option<ValueRef<'a>> {
        let value = self.boxed()?;
        value.as_pack().is_none().then(|| value.view())
    }

    /// A time before which no member is due; `None` while no member has a deadline.
    #[inline]
    pub(super) fn next_member_deadline(self) -> Option<i64> {
        self.boxed()?.next_deadline()
    }

    /// A deep copy of the value, as COPY stores it.
    pub fn to_value(self) -> NewValue<'a> {
        let head = self.head();
        match head.form() {
            form::INT => NewValue::Int(self.int()),
            form::PACK | form::PACK_1 => {
                let tag = head.pack_tag();
                let value = Value::from_pack(head.kind(), tag, self.inline().to_vec());
                NewValue::Owned(value.expect("only types in the list are packed"))
            }
            form::BOXED => NewValue::Owned(self.boxed().expect("the form says so").clone()),
            _ => NewValue::Bytes(self.inline()),
        }
    }

    /// The unix time in milliseconds after which the key is dead.
    #[inline]
    pub fn expire_at(self) -> Option<i64> {
        if self.head().expires() {
            self.bound()
        } else {
            None
        }
    }

    /// True once the deadline has passed; the key is then dead to clients whether or not it was removed.
    #[inline]
    pub fn is_expired(self, now_ms: i64) -> bool {
        self.expire_at().is_some_and(|at| at < now_ms)
    }

    /// The access clock, 29 bits.
    #[inline]
    pub fn clock(self) -> u32 {
        self.head().clock()
    }

    /// The name OBJECT ENCODING replies.
    pub fn encoding(self) -> &'static str {
        match (self.string(), self.boxed()) {
            (Ok(string), _) => string.encoding(),
            (Err(_), Some(value)) => value.encoding(),
            (Err(_), None) => {
                let head = self.head();
                pack_encoding(head.kind(), head.pack_tag())
            }
        }
    }

    /// Bytes of the entry and all that belongs to it, in size classes where they are known.
    pub fn mem_bytes(self) -> usize {
        self.mem_bytes_with(self.boxed().map_or(0, Value::heap_bytes))
    }

    fn mem_bytes_with(self, behind_value: usize) -> usize {
        let head = self.head();
        let key = if head.klen() == LONG_KEY {
            size_class(self.key().len())
        } else {
            0
        };
        let boxed = self.boxed().map_or(0, |_| size_class(size_of::<Value>()));
        head.size() + key + boxed + behind_value
    }

    /// The same, told in a few steps whatever the value is: of many pieces only some are looked at. It says
    /// only what the entry is, never how it came to be.
    pub fn metered_bytes(self) -> usize {
        match self.boxed() {
            Some(value) => self.mem_bytes_with(value.metered_bytes()),
            None => self.mem_bytes_with(0),
        }
    }

    /// About how many allocations a removal frees.
    pub fn free_effort(self) -> usize {
        self.boxed().map_or(1, Value::free_effort)
    }

    /// The time at or before which the expiry index holds the key.
    #[inline]
    pub(super) fn bound(self) -> Option<i64> {
        if !self.head().is_bounded() {
            return None;
        }
        // SAFETY: a bounded entry has eight bytes behind its head, 8-aligned as the head is.
        Some(unsafe { self.part(HEAD).cast::<i64>().read() })
    }

    #[inline]
    fn boxed(self) -> Option<&'a Value> {
        let head = self.head();
        if head.form() != form::BOXED {
            return None;
        }
        // SAFETY: a BOXED entry holds the pointer of a box it owns; the entry is borrowed for 'a.
        unsafe {
            Some(
                &*self
                    .part(head.value_at())
                    .cast::<*const Value>()
                    .read_unaligned(),
            )
        }
    }

    /// The value's bytes, when they lie inside.
    #[inline]
    fn inline(self) -> &'a [u8] {
        let head = self.head();
        debug_assert!(head.form() != form::BOXED);
        // SAFETY: the layout of `head` has vlen bytes at value_at; the entry is borrowed for 'a.
        unsafe { std::slice::from_raw_parts(self.part(head.value_at()), head.vlen()) }
    }

    /// The value's bytes as a number, of the widths that `int_width` gives.
    #[inline]
    fn int(self) -> i64 {
        match *self.inline() {
            [a] => i64::from(a as i8),
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => i64::from_le_bytes([a, b, c, d, e, f, g, h]),
            _ => 0,
        }
    }

    fn long_key(self) -> LongKey {
        debug_assert!(self.head().klen() == LONG_KEY);
        // SAFETY: the layout has LONG_KEY_ROOM bytes at key_at, written by `new`.
        unsafe {
            self.part(self.head().key_at())
                .cast::<LongKey>()
                .read_unaligned()
        }
    }

    #[inline]
    fn head(self) -> Head {
        // SAFETY: an entry starts with eight bytes, 8-aligned.
        Head(unsafe { self.at.cast::<u64>().read() })
    }

    #[inline]
    fn part(self, offset: usize) -> *mut u8 {
        // SAFETY: callers stay within the layout of the head.
        unsafe { self.at.as_ptr().add(offset) }
    }
}

#[inline]
fn layout(size: usize) -> Layout {
    debug_assert!(size != 0);
    // SAFETY: the alignment is a power of two, and an entry's size (16-bit lengths and a few words) is far
    // below isize::MAX.
    unsafe { Layout::from_size_align_unchecked(size, ALIGN) }
}

/// A pack that moves to the heap is likely to grow on, but not to what the borrowed buffer could hold.
fn trim_pack(pack: &mut Vec<u8>) {
    pack.shrink_to(pack.len() + pack.len() / 4);
}

/// Makes room for an append: by doubling while the string is small, by an eighth once doubling would waste
/// megabytes.
fn grow_for(bytes: &mut Vec<u8>, extra: usize) {
    const DOUBLING_MAX: usize = 1 << 20;
    let len = bytes.len();
    if len + extra > bytes.capacity() && len > DOUBLING_MAX {
        bytes.reserve_exact(extra + len / 8);
    }
}

#[cfg(test)]
mod tests;
