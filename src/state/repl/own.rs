//! Keys of a writable replica that got a deadline from its own clients: no primary knows of them, so that
//! nobody but the replica itself can end them.
//!
//! A key is registered once; its entry is looked at again when the first deadline that was seen has passed.
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

type Name = (u32, Box<[u8]>);

/// The keys, and when to look at each.
#[derive(Debug, Default)]
pub struct OwnDeadlines {
    /// With the earliest moment that lies in `due`, Unix milliseconds.
    known: HashMap<Name, i64>,
    due: BinaryHeap<Reverse<(i64, Name)>>,
}

impl OwnDeadlines {
    /// A key has this deadline now.
    pub fn note(&mut self, db: u32, key: &[u8], at_ms: i64) {
        let name = (db, Box::from(key));
        let earlier = self.known.get(&name).is_none_or(|known| at_ms < *known);
        if earlier {
            self.known.insert(name.clone(), at_ms);
            self.due.push(Reverse((at_ms, name)));
        }
    }

    /// The next key that is to be looked at by now; it is forgotten.
    pub fn next_due(&mut self, now_ms: i64) -> Option<Name> {
        while let Some(Reverse((at, _))) = self.due.peek()
            && *at <= now_ms
        {
            let Reverse((at, name)) = self.due.pop()?;
            // A later entry of a key that was looked at since means nothing.
            if self.known.get(&name) == Some(&at) {
                self.known.remove(&name);
                return Some(name);
            }
        }
        None
    }

    /// Keys that are registered.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        *self = OwnDeadlines::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_looked_at_when_its_earliest_deadline_has_passed() {
        let mut own = OwnDeadlines::default();
        own.note(0, b"a", 100);
        own.note(0, b"a", 50);
        own.note(0, b"a", 200);
        own.note(1, b"b", 70);
        assert_eq!((own.len(), own.due.len()), (2, 3));
        assert_eq!(own.next_due(49), None);
        assert_eq!(own.next_due(60), Some((0, Box::from(&b"a"[..]))));
        assert_eq!(own.next_due(150), Some((1, Box::from(&b"b"[..]))));
        assert_eq!(own.next_due(150), None, "it was looked at at 50");
        assert!(own.is_empty() && own.due.is_empty());
    }
}
