//! The value types, and the one list that names them.
//!
//! Floors above never match on a type: they ask `Value`, `ValueRef` or the `Collection` trait, all of
//! which are generated from the list in [`value_types!`] below. A new type is a file in this folder and
//! one word in that list.
//!
//! A value lives in one of two places. Small ones (strings, packed collections) are bytes inside the
//! keyspace entry, so a key costs one allocation; [`ValueRef`] is how such bytes are read without building
//! anything. All others are a boxed [`Value`].

pub mod dump;
pub mod hash;
pub mod list;
pub mod saved;
pub mod set;
pub mod stream;
pub mod string;
pub mod zset;

pub use crate::ds::table::{Fetch, TableStats};

use self::saved::{Loaded, Loading};
use self::string::{BigStr, StrRef};
use crate::codec::{Commands, Fault, Sink, Source, rdb};

/// The types a client can see, in the order of the bits that the entry stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A string, integer or bitmap.
    String = 0,
    /// A list.
    List = 1,
    /// A set.
    Set = 2,
    /// A sorted set.
    Zset = 3,
    /// A hash.
    Hash = 4,
    /// A stream.
    Stream = 5,
}

impl Kind {
    /// Every kind, by its number.
    pub const ALL: [Kind; 6] = [
        Kind::String,
        Kind::List,
        Kind::Set,
        Kind::Zset,
        Kind::Hash,
        Kind::Stream,
    ];

    /// The name TYPE replies and SCAN's TYPE option takes.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::Zset => "zset",
            Kind::Hash => "hash",
            Kind::Stream => "stream",
        }
    }

    /// The kind of that name, letters of either case.
    pub fn from_name(name: &[u8]) -> Option<Kind> {
        Kind::ALL
            .into_iter()
            .find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()))
    }
}

/// The key holds a value of another type than the command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// Which of a type's packed layouts some bytes are in: 0 or 1, the type says what they mean
/// (a set: 0 listpack, 1 intset).
pub type PackTag = u8;

/// What every type but the string offers to the keyspace.
///
/// A collection whose packed form is small is kept as those bytes inside the entry: it is loaded with
/// [`from_pack`](Collection::from_pack) around a write and stored back with
/// [`into_pack`](Collection::into_pack), reusing one buffer, so a type must not convert bytes it did not
/// change. Reads go through [`Ref`](Collection::Ref) and copy nothing.
pub trait Collection: Clone + Send + 'static {
    /// The kind the entry's header carries.
    const KIND: Kind;

    /// A reader over the packed bytes or over the boxed value.
    type Ref<'a>: Copy;

    /// An empty collection in its smallest encoding; allocates nothing.
    fn new() -> Self {
        Self::new_in(Vec::new())
    }

    /// The same, and its packed form is built in this buffer (its bytes are meaningless, its capacity is
    /// what counts): a small collection that is created for a new key then allocates nothing but the entry.
    fn new_in(buffer: Vec<u8>) -> Self;

    /// Takes packed bytes as they were given by [`into_pack`](Collection::into_pack); no validation.
    fn from_pack(tag: PackTag, pack: Vec<u8>) -> Self;

    /// The packed bytes, while the collection is in a packed encoding.
    fn as_pack(&self) -> Option<(PackTag, &[u8])>;

    /// Gives the packed bytes away, or the collection back when it is not packed.
    fn into_pack(self) -> Result<(PackTag, Vec<u8>), Self>;

    /// Reads a boxed value.
    fn view(&self) -> Self::Ref<'_>;

    /// Reads packed bytes where they lie.
    fn view_pack(tag: PackTag, pack: &[u8]) -> Self::Ref<'_>;

    /// True when the key must go.
    fn is_empty(&self) -> bool;

    /// Bytes of the allocations behind the value, not counting `Self`.
    fn heap_bytes(&self) -> usize;

    /// The same in a few steps: where there are many pieces only some of them are looked at, the same ones
    /// whenever it is asked, so that two answers differ by what has changed.
    fn metered_bytes(&self) -> usize {
        self.heap_bytes()
    }

    /// About how many allocations a drop frees: above a threshold it goes to the background thread.
    fn free_effort(&self) -> usize;

    /// The name OBJECT ENCODING replies.
    fn encoding(&self) -> &'static str;

    /// The same for packed bytes.
    fn pack_encoding(tag: PackTag) -> &'static str;

    /// Shows every element, for digests and sizes that do not depend on the encoding. False from a
    /// type that does not know how yet: then nothing was shown.
    fn parts(_view: Self::Ref<'_>, _show: &mut dyn FnMut(Part<'_>)) -> bool {
        false
    }

    /// The shape of the table behind it, if there is one.
    fn table_stats(_view: Self::Ref<'_>) -> Option<TableStats> {
        None
    }

    /// May members have deadlines of their own?
    const MEMBERS_EXPIRE: bool = false;

    /// A time (unix ms) before which `expire_members` has nothing to do; `None` while no member has a
    /// deadline.
    #[inline]
    fn next_deadline(&self) -> Option<i64> {
        None
    }

    /// Removes up to about `max` members whose deadline has passed, in a time bounded by `max`, and shows
    /// their names. Returns whether there may be more.
    fn expire_members(&mut self, _now_ms: i64, _max: usize, _gone: &mut dyn FnMut(&[u8])) -> bool {
        false
    }

    /// Asks the memory for what a look at the member of this hash will need, so that the members of a
    /// batch cost one overlapped cache miss instead of three in a row for each. One step is taken for the
    /// whole batch before the next one; false when the next is of no use. The hash is that of the
    /// keyspace's key, which is also the key of every type's tables. Only called on large collections.
    #[inline]
    fn prefetch(_view: Self::Ref<'_>, _hash: u64, _step: Fetch) -> bool {
        false
    }

    /// The numbers ([`rdb`]) of all layouts of files and payloads that load as this type. [`saved`] says what the following functions are to hold to.
    const RDB_TYPES: &'static [u8];

    /// The layout that [`save`](Collection::save) writes: the lowest that holds the value.
    fn rdb_type(view: Self::Ref<'_>) -> u8;

    /// Writes the value in that layout.
    fn save(view: Self::Ref<'_>, sink: &mut Sink<'_>);

    /// Reads a value in one of the layouts of [`RDB_TYPES`](Collection::RDB_TYPES). It may be empty.
    fn load(rdb_type: u8, source: &mut Source<'_>, how: &Loading) -> Result<Self, Fault>;

    /// Writes the commands that make the value under a key that is not there.
    fn rewrite(view: Self::Ref<'_>, key: &[u8], out: &mut Commands<'_, '_>);
}

/// What a value consists of.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// The next of several in their order: a list's element; a stream entry's id, field or value.
    Item(&'a [u8]),
    /// One of several without an order.
    Member(&'a [u8]),
    /// A field with its value, without an order.
    Pair(&'a [u8], &'a [u8]),
    /// A member with its score, without an order.
    Scored(&'a [u8], f64),
}

/// A [`Collection`] that is in the list: how to find it inside a [`Value`].
pub trait Stored: Collection + Into<Value> {
    /// The value seen as this type.
    fn of(value: &Value) -> Option<&Self>;
    /// The value seen as this type.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// The value as this type, or the value back.
    fn out_of(value: Value) -> Result<Self, Value>;
}

/// Generates [`Value`], [`ValueRef`] and every dispatch over the collections listed.
macro_rules! value_types {
    ($($name:ident => $module:ident),* $(,)?) => {
        /// An owned value: what an entry boxes when it is too large to sit inside.
        #[derive(Clone)]
        pub enum Value {
            /// A string too large for the entry.
            Str(BigStr),
            $(#[doc = concat!("See [`", stringify!($module), "`].")] $name($module::$name),)*
        }

        /// A value as it lies in the keyspace, for reading.
        #[derive(Clone, Copy)]
        pub enum ValueRef<'a> {
            /// A string, wherever it lies.
            Str(StrRef<'a>),
            $(#[doc = concat!("See [`", stringify!($module), "`].")]
              $name(<$module::$name as Collection>::Ref<'a>),)*
        }

        impl Value {
            /// The type.
            pub fn kind(&self) -> Kind {
                match self {
                    Value::Str(_) => Kind::String,
                    $(Value::$name(_) => <$module::$name as Collection>::KIND,)*
                }
            }

            /// Reads the value.
            pub fn view(&self) -> ValueRef<'_> {
                match self {
                    Value::Str(s) => ValueRef::Str(StrRef::Big(s)),
                    $(Value::$name(v) => ValueRef::$name(v.view()),)*
                }
            }

            /// Rebuilds a value from the packed bytes an entry held; `None` for the string and for kinds
            /// that are not in the list.
            pub fn from_pack(kind: Kind, tag: PackTag, pack: Vec<u8>) -> Option<Value> {
                $(if kind == <$module::$name as Collection>::KIND {
                    return Some(Value::$name(Collection::from_pack(tag, pack)));
                })*
                None
            }

            /// Reads a value in the layout of that number. A small string that does not lie in the
            /// source as it is gets unpacked into `room`.
            #[inline]
            pub fn load<'a: 'r, 'r>(
                rdb_type: u8,
                source: &mut Source<'a>,
                how: &Loading,
                room: &'r mut Vec<u8>,
            ) -> Result<Loaded<'r>, Fault> {
                if rdb_type == rdb::STRING {
                    return saved::load_string(source, room);
                }
                Self::load_collection(rdb_type, source, how)
            }

            fn load_collection<'r>(
                rdb_type: u8,
                source: &mut Source<'_>,
                how: &Loading,
            ) -> Result<Loaded<'r>, Fault> {
                $(if <$module::$name as Collection>::RDB_TYPES.contains(&rdb_type) {
                    let value = <$module::$name as Collection>::load(rdb_type, source, how)?;
                    return Ok(Loaded::Value(Value::$name(value)));
                })*
                Err(source.bad(saved::UNKNOWN))
            }

            /// The packed bytes, for collections in a packed encoding.
            pub fn as_pack(&self) -> Option<(PackTag, &[u8])> {
                match self {
                    Value::Str(_) => None,
                    $(Value::$name(v) => v.as_pack(),)*
                }
            }

            /// See [`Collection::next_deadline`].
            #[inline]
            pub fn next_deadline(&self) -> Option<i64> {
                match self {
                    Value::Str(_) => None,
                    $(Value::$name(v) => v.next_deadline(),)*
                }
            }

            /// See [`Collection::expire_members`].
            pub fn expire_members(
                &mut self,
                now_ms: i64,
                max: usize,
                gone: &mut dyn FnMut(&[u8]),
            ) -> bool {
                match self {
                    Value::Str(_) => false,
                    $(Value::$name(v) => v.expire_members(now_ms, max, gone),)*
                }
            }

            /// True for a collection that has no members left.
            pub fn is_empty(&self) -> bool {
                match self {
                    Value::Str(_) => false,
                    $(Value::$name(v) => v.is_empty(),)*
                }
            }

            /// Bytes of the allocations behind the value, not counting `Self`.
            pub fn heap_bytes(&self) -> usize {
                match self {
                    Value::Str(s) => s.heap_bytes(),
                    $(Value::$name(v) => v.heap_bytes(),)*
                }
            }

            /// See [`Stored::metered_bytes`].
            pub fn metered_bytes(&self) -> usize {
                match self {
                    Value::Str(s) => s.heap_bytes(),
                    $(Value::$name(v) => v.metered_bytes(),)*
                }
            }

            /// About how many allocations a drop frees.
            pub fn free_effort(&self) -> usize {
                match self {
                    Value::Str(_) => 1,
                    $(Value::$name(v) => v.free_effort(),)*
                }
            }

            /// The name OBJECT ENCODING replies.
            pub fn encoding(&self) -> &'static str {
                match self {
                    Value::Str(s) => s.encoding(),
                    $(Value::$name(v) => v.encoding(),)*
                }
            }
        }

        impl<'a> ValueRef<'a> {
            /// Bytes of a string, elements of anything else.
            pub fn size(self) -> u64 {
                match self {
                    ValueRef::Str(s) => s.len() as u64,
                    $(ValueRef::$name(value) => value.len() as u64,)*
                }
            }

            /// Shows every element; a string is one item. False when its type cannot.
            pub fn parts(self, show: &mut dyn FnMut(Part<'_>)) -> bool {
                match self {
                    ValueRef::Str(s) => {
                        show(Part::Item(s.bytes(&mut Default::default())));
                        true
                    }
                    $(ValueRef::$name(v) => <$module::$name as Collection>::parts(v, show),)*
                }
            }

            /// See [`Collection::prefetch`].
            #[inline]
            pub fn prefetch(self, hash: u64, step: Fetch) -> bool {
                match self {
                    ValueRef::Str(_) => false,
                    $(ValueRef::$name(v) => {
                        <$module::$name as Collection>::prefetch(v, hash, step)
                    })*
                }
            }

            /// The number of the layout that [`save`](ValueRef::save) writes.
            pub fn rdb_type(self) -> u8 {
                match self {
                    ValueRef::Str(_) => rdb::STRING,
                    $(ValueRef::$name(v) => <$module::$name as Collection>::rdb_type(v),)*
                }
            }

            /// Writes the value in that layout.
            pub fn save(self, sink: &mut Sink<'_>) {
                match self {
                    ValueRef::Str(s) => saved::save_string(s, sink),
                    $(ValueRef::$name(v) => <$module::$name as Collection>::save(v, sink),)*
                }
            }

            /// Writes the commands that make the value under a key that is not there, and give that
            /// its deadline.
            pub fn rewrite(self, key: &[u8], expire_at: Option<i64>, out: &mut Commands<'_, '_>) {
                match self {
                    ValueRef::Str(s) => return saved::rewrite_string(s, key, expire_at, out),
                    $(ValueRef::$name(v) => <$module::$name as Collection>::rewrite(v, key, out),)*
                }
                if let Some(at_ms) = expire_at {
                    saved::rewrite_deadline(key, at_ms, out);
                }
            }

            /// The shape of the table behind the value, if there is one.
            pub fn table_stats(self) -> Option<TableStats> {
                match self {
                    ValueRef::Str(_) => None,
                    $(ValueRef::$name(v) => <$module::$name as Collection>::table_stats(v),)*
                }
            }

            /// Reads packed bytes where they lie; `None` for the string and for kinds not in the list.
            pub fn from_pack(kind: Kind, tag: PackTag, pack: &'a [u8]) -> Option<ValueRef<'a>> {
                $(if kind == <$module::$name as Collection>::KIND {
                    return Some(ValueRef::$name(<$module::$name as Collection>::view_pack(tag, pack)));
                })*
                None
            }
        }

        /// The name OBJECT ENCODING replies for packed bytes inside an entry.
        pub fn pack_encoding(kind: Kind, tag: PackTag) -> &'static str {
            $(if kind == <$module::$name as Collection>::KIND {
                return <$module::$name as Collection>::pack_encoding(tag);
            })*
            "unknown"
        }

        $(
            impl From<$module::$name> for Value {
                fn from(value: $module::$name) -> Value {
                    Value::$name(value)
                }
            }

            impl Stored for $module::$name {
                fn of(value: &Value) -> Option<&Self> {
                    if let Value::$name(v) = value { Some(v) } else { None }
                }

                fn of_mut(value: &mut Value) -> Option<&mut Self> {
                    if let Value::$name(v) = value { Some(v) } else { None }
                }

                fn out_of(value: Value) -> Result<Self, Value> {
                    if let Value::$name(v) = value { Ok(v) } else { Err(value) }
                }
            }
        )*
    };
}

value_types! {
    List => list,
    Hash => hash,
    Set => set,
    Zset => zset,
    Stream => stream,
}

// Every boxed value is this large whatever its type, so a type with a larger head boxes its inside.
const _: () = assert!(size_of::<Value>() <= 48);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_of_kinds_agree() {
        for (n, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, n);
            assert_eq!(
                Kind::from_name(kind.name().to_uppercase().as_bytes()),
                Some(kind)
            );
        }
        assert_eq!(Kind::from_name(b"module"), None);
    }

    #[test]
    fn a_value_knows_its_own_type() {
        let mut value = Value::from(hash::Hash::new());
        assert_eq!(value.kind(), Kind::Hash);
        assert!(value.is_empty());
        assert!(hash::Hash::of(&value).is_some() && hash::Hash::of_mut(&mut value).is_some());
        assert!(hash::Hash::out_of(value).is_ok());

        let value = Value::Str(BigStr::from(b"x".to_vec()));
        assert_eq!(value.kind(), Kind::String);
        assert!(!value.is_empty() && value.as_pack().is_none());
        assert!(hash::Hash::of(&value).is_none() && hash::Hash::out_of(value).is_err());
        assert!(Value::from_pack(Kind::String, 0, Vec::new()).is_none());
    }
}
