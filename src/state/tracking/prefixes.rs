//! Prefixes that clients broadcast, and the keys under them that changed in this turn.
use crate::state::client::ClientId;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Keys that changed, in order, each with the client that changed it last, if one did.
pub(super) type Changed = BTreeMap<Box<[u8]>, Option<ClientId>>;

#[derive(Default)]
struct Prefix {
    clients: HashSet<ClientId>,
    changed: Changed,
}

/// See the head of this file. A prefix without clients is not kept.
#[derive(Default)]
pub(super) struct Prefixes {
    by_name: HashMap<Box<[u8]>, Prefix>,
    /// How many prefixes have each length: a key is looked up once for each of the few lengths, however
    /// many prefixes there are.
    lengths: BTreeMap<usize, usize>,
    /// Prefixes under which keys have changed, each once while it is kept.
    pending: Vec<Box<[u8]>>,
}

impl Prefixes {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// A client wants to be told of keys under a prefix.
    pub(super) fn add(&mut self, name: &[u8], who: ClientId) {
        let lengths = &mut self.lengths;
        let prefix = self.by_name.entry(name.into()).or_insert_with(|| {
            *lengths.entry(name.len()).or_default() += 1;
            Prefix::default()
        });
        prefix.clients.insert(who);
    }

    /// A client no longer wants to be told.
    pub(super) fn remove(&mut self, name: &[u8], who: ClientId) {
        let Some(prefix) = self.by_name.get_mut(name) else {
            return;
        };
        prefix.clients.remove(&who);
        if !prefix.clients.is_empty() {
            return;
        }
        self.by_name.remove(name);
        if let Some(count) = self.lengths.get_mut(&name.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&name.len());
            }
        }
    }

    /// A key changed; true when nothing had since it was last told what has.
    pub(super) fn note(&mut self, key: &[u8], by: Option<ClientId>) -> bool {
        let before = self.pending.len();
        for (len, _) in self.lengths.range(..=key.len()) {
            let Some(prefix) = self.by_name.get_mut(&key[..*len]) else {
                continue;
            };
            if prefix.changed.is_empty() {
                self.pending.push(key[..*len].into());
            }
            match prefix.changed.get_mut(key) {
                Some(last) => *last = by,
                None => _ = prefix.changed.insert(key.into(), by),
            }
        }
        before == 0 && !self.pending.is_empty()
    }

    /// Hands out what changed under each prefix, with the clients that are to be told, and forgets it.
    pub(super) fn take_pending(&mut self, mut tell: impl FnMut(&HashSet<ClientId>, &Changed)) {
        for name in std::mem::take(&mut self.pending) {
            if let Some(prefix) = self.by_name.get_mut(&name) {
                let changed = std::mem::take(&mut prefix.changed);
                // A prefix that went and came back within the turn is named twice.
                if !changed.is_empty() {
                    tell(&prefix.clients, &changed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(slot: u32) -> ClientId {
        ClientId {
            slot,
            serial: u64::from(slot),
        }
    }

    #[test]
    fn a_key_is_told_once_under_each_prefix_it_begins_with() {
        let mut prefixes = Prefixes::default();
        for (name, who) in [("", 1), ("user:", 2), ("user:", 3), ("user:1", 4), ("x", 5)] {
            prefixes.add(name.as_bytes(), client(who));
        }
        assert_eq!((prefixes.len(), prefixes.lengths.len()), (4, 4));
        for key in ["user:1", "user:2", "user:1", "us", ""] {
            prefixes.note(key.as_bytes(), Some(client(9)));
        }
        prefixes.note(b"user:2", None);
        let mut told = Vec::new();
        prefixes.take_pending(|clients, keys| {
            let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
            let keys: Vec<_> = keys.iter().map(|(k, by)| (text(k), by.is_some())).collect();
            told.push((clients.len(), keys));
        });
        told.sort();
        let owned = |keys: &[(&str, bool)]| -> Vec<(String, bool)> {
            keys.iter().map(|(k, by)| (k.to_string(), *by)).collect()
        };
        let all = [
            ("", true),
            ("us", true),
            ("user:1", true),
            ("user:2", false),
        ];
        assert_eq!(
            told,
            [
                (1, owned(&all)),
                (1, owned(&[("user:1", true)])),
                (2, owned(&[("user:1", true), ("user:2", false)])),
            ]
        );
        assert!(prefixes.pending.is_empty());
        prefixes.note(b"user:1", None);
        for (name, who) in [("", 1), ("user:", 2), ("user:", 3), ("user:1", 4), ("x", 5)] {
            prefixes.remove(name.as_bytes(), client(who));
        }
        assert!(prefixes.lengths.is_empty() && prefixes.len() == 0);
        prefixes.take_pending(|_, _| panic!("nobody is left to be told"));
    }
}
