//! The keys that clients have read, each with its readers.
//!
//! One allocation for each key: its name and the sorted list of its readers, eight bytes each. The table
//! grows by one bucket at a time, as the key space does.
use crate::base::hash::HashKey;
use crate::base::rng::Rng;
use crate::ds::pair::Pair;
use crate::state::client::ClientId;

/// Bytes of a reader: its slot and the low half of its serial number. Another client under the same eight
/// bytes would have to be four billion connections younger, and would be told of a key too many.
const READER: usize = 8;

fn packed(who: ClientId) -> u64 {
    u64::from(who.slot) << 32 | u64::from(who.serial as u32)
}

/// Readers in the order of their packed numbers.
fn unpacked(bytes: &[u8]) -> impl ExactSizeIterator<Item = u64> {
    let (readers, _) = bytes.as_chunks::<READER>();
    readers.iter().map(|reader| u64::from_le_bytes(*reader))
}

/// See the head of this file.
pub(super) struct Table {
    keys: crate::ds::table::Table<Pair, HashKey>,
    items: usize,
    /// Readers of the key at hand, used again.
    scratch: Vec<u8>,
}

/// A key that was taken out, with its readers.
pub(super) struct Gone(Pair);

impl Gone {
    pub(super) fn key(&self) -> &[u8] {
        self.0.view().key()
    }

    /// Slot and low half of the serial number of each.
    pub(super) fn readers(&self) -> impl Iterator<Item = (usize, u32)> {
        unpacked(self.0.view().value()).map(|reader| ((reader >> 32) as usize, reader as u32))
    }
}

impl Table {
    pub(super) fn new(key: HashKey) -> Self {
        Self {
            keys: crate::ds::table::Table::new(key),
            items: 0,
            scratch: Vec::new(),
        }
    }

    /// Keys.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Pairs of a key and a reader.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// A client has read a key.
    pub(super) fn add(&mut self, hash: u64, key: &[u8], who: ClientId) {
        let reader = packed(who).to_le_bytes();
        let Some(slot) = self.keys.find(hash, key) else {
            let new = Pair::new(key, &reader, None);
            self.keys.insert_new(hash, new);
            self.items += 1;
            return;
        };
        let known = self.keys.get(slot).value();
        let (readers, _) = known.as_chunks::<READER>();
        let number = |at: &[u8; READER]| u64::from_le_bytes(*at);
        let Err(place) = readers.binary_search_by_key(&packed(who), number) else {
            return;
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(&known[..place * READER]);
        self.scratch.extend_from_slice(&reader);
        self.scratch.extend_from_slice(&known[place * READER..]);
        let new = Pair::new(key, &self.scratch, None);
        self.keys.replace(slot, new);
        self.items += 1;
        if self.scratch.capacity() > 1 << 16 {
            self.scratch = Vec::new();
        }
    }

    /// Takes a key out.
    #[inline]
    pub(super) fn take(&mut self, hash: u64, key: &[u8]) -> Option<Gone> {
        let pair = self.keys.remove(hash, key)?;
        self.items -= pair.view().value().len() / READER;
        Some(Gone(pair))
    }

    /// Takes any key out.
    pub(super) fn take_random(&mut self, rng: &mut Rng) -> Option<Gone> {
        let slot = self.keys.random(rng)?;
        let pair = self.keys.take(slot);
        self.items -= pair.view().value().len() / READER;
        Some(Gone(pair))
    }

    /// Strikes out readers that do not live, from about `max` keys on from a cursor (0: the beginning).
    /// Where to go on; 0 at the end.
    pub(super) fn sweep(
        &mut self,
        cursor: u64,
        max: usize,
        mut lives: impl FnMut((usize, u32)) -> bool,
    ) -> u64 {
        let (mut cursor, mut seen) = (cursor, 0);
        let mut stale: Vec<(Box<[u8]>, Vec<u8>)> = Vec::new();
        loop {
            cursor = self.keys.scan(cursor, |pair| {
                seen += 1;
                let is_live = |reader: &u64| lives(((*reader >> 32) as usize, *reader as u32));
                let all = unpacked(pair.value()).len();
                let left: Vec<u64> = unpacked(pair.value()).filter(is_live).collect();
                // Many readers of one key take as long as many keys.
                seen += all / READER;
                if left.len() < all {
                    let left = left
                        .iter()
                        .flat_map(|reader| reader.to_le_bytes())
                        .collect();
                    stale.push((pair.key().into(), left));
                }
            });
            // An empty bucket is a look, too.
            seen += 1;
            if cursor == 0 || seen >= max {
                break;
            }
        }
        for (key, left) in stale {
            let hash = self.keys.hash(&key);
            let Some(slot) = self.keys.find(hash, &key) else {
                continue;
            };
            self.items -= (self.keys.get(slot).value().len() - left.len()) / READER;
            if left.is_empty() {
                drop(self.keys.take(slot));
            } else {
                self.keys.replace(slot, Pair::new(&key, &left, None));
            }
        }
        cursor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(slot: u32, serial: u64) -> ClientId {
        ClientId { slot, serial }
    }

    fn table() -> Table {
        Table::new(HashKey::default())
    }

    fn add(table: &mut Table, key: &str, who: ClientId) {
        let hash = table.keys.hash(key.as_bytes());
        table.add(hash, key.as_bytes(), who);
    }

    fn take(table: &mut Table, key: &str) -> Option<Vec<(usize, u32)>> {
        let hash = table.keys.hash(key.as_bytes());
        let gone = table.take(hash, key.as_bytes())?;
        assert_eq!(gone.key(), key.as_bytes());
        Some(gone.readers().collect())
    }

    #[test]
    fn each_reader_is_kept_once() {
        let mut table = table();
        for n in [5, 3, 9, 3, 5, 1] {
            add(&mut table, "k", client(n, u64::from(n) + (1 << 40)));
        }
        add(&mut table, "", client(7, 7));
        assert_eq!((table.len(), table.items()), (2, 5));
        assert_eq!(
            take(&mut table, "k"),
            Some(vec![(1, 1), (3, 3), (5, 5), (9, 9)])
        );
        assert_eq!((take(&mut table, "k"), table.items()), (None, 1));
        assert_eq!(take(&mut table, ""), Some(vec![(7, 7)]));
    }

    #[test]
    fn a_sweep_leaves_those_who_live() {
        let mut table = table();
        let keys = if cfg!(miri) { 50 } else { 5000 };
        for n in 0..keys {
            for reader in 0..4 {
                if reader == 0 || n % 3 != 0 {
                    add(
                        &mut table,
                        &n.to_string(),
                        client(reader, u64::from(reader)),
                    );
                }
            }
        }
        let (mut cursor, mut steps) = (0, 0);
        loop {
            cursor = table.sweep(cursor, 100, |(slot, _)| slot % 2 == 1);
            steps += 1;
            if cursor == 0 {
                break;
            }
        }
        let left = (0..keys).filter(|n| n % 3 != 0).count();
        assert_eq!((table.len(), table.items()), (left, 2 * left));
        assert!(steps >= keys / 200, "in steps");
        assert_eq!(take(&mut table, "1"), Some(vec![(1, 1), (3, 3)]));
        let mut rng = Rng::from_seed(1);
        while let Some(gone) = table.take_random(&mut rng) {
            assert_eq!(gone.readers().count(), 2);
        }
        assert_eq!((table.len(), table.items()), (0, 0));
    }
}
