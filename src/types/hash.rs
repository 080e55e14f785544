//! The hash. Placeholder: only what the keyspace needs to compile.

use super::{Collection, Kind, PackTag};

/// A hash.
#[derive(Clone)]
pub enum Hash {
    /// Packed bytes.
    Pack(Vec<u8>),
}

/// Reads a hash.
#[derive(Clone, Copy)]
pub enum HashRef<'a> {
    /// Packed bytes, in the entry or boxed.
    Pack(&'a [u8]),
}

impl Collection for Hash {
    const KIND: Kind = Kind::Hash;
    type Ref<'a> = HashRef<'a>;

    fn new_in(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Hash::Pack(buffer)
    }

    fn from_pack(_tag: PackTag, pack: Vec<u8>) -> Self {
        Hash::Pack(pack)
    }

    fn as_pack(&self) -> Option<(PackTag, &[u8])> {
        let Hash::Pack(pack) = self;
        Some((0, pack))
    }

    fn into_pack(self) -> Result<(PackTag, Vec<u8>), Self> {
        let Hash::Pack(pack) = self;
        Ok((0, pack))
    }

    fn view(&self) -> HashRef<'_> {
        let Hash::Pack(pack) = self;
        HashRef::Pack(pack)
    }

    fn view_pack(_tag: PackTag, pack: &[u8]) -> HashRef<'_> {
        HashRef::Pack(pack)
    }

    fn is_empty(&self) -> bool {
        let Hash::Pack(pack) = self;
        pack.is_empty()
    }

    fn heap_bytes(&self) -> usize {
        let Hash::Pack(pack) = self;
        pack.capacity()
    }

    fn free_effort(&self) -> usize {
        1
    }

    fn encoding(&self) -> &'static str {
        "listpack"
    }

    fn pack_encoding(_tag: PackTag) -> &'static str {
        "listpack"
    }
}
