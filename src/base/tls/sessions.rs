//! Sessions of clients that may come again, as `tls-session-cache-size` and `tls-session-cache-timeout` say.
//!
//! rustls' own store knows no time: a client whose certificate has expired, or whose rights are gone, could
//! come back with a session of last week.
use crate::base::clock::mono_us;
use rustls::server::StoresServerSessions;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The store. The lock is never waited for: only the loop's thread makes handshakes.
#[derive(Debug)]
pub struct Sessions {
    kept: Mutex<Kept>,
    most: usize,
    timeout_us: u64,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<Vec<u8>, (u64, Vec<u8>)>,
    /// Keys in the order of their deadlines; some of them are gone already.
    order: VecDeque<(u64, Vec<u8>)>,
}

/// A session with a longer chain of certificates than this is not kept.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// As OpenSSL has it where the size is 0, which there means "no limit".
const MOST: usize = 1 << 20;

impl Sessions {
    /// At most so many (0: a great many), each for so many seconds.
    pub fn new(most: usize, timeout_s: u32) -> Self {
        Self {
            kept: Mutex::default(),
            most: if most == 0 { MOST } else { most },
            timeout_us: u64::from(timeout_s) * 1_000_000,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_at(&self, now_us: u64, key: Vec<u8>, value: Vec<u8>) -> bool {
        if value.len() > VALUE_BYTES_MAX {
            return false;
        }
        let mut kept = self.lock();
        // A few for each that comes: none stays much longer than it should, and nothing is done at once.
        for _ in 0..4 {
            let full = kept.by_key.len() >= self.most || kept.order.len() >= 2 * self.most;
            match kept.order.front() {
                Some((deadline, _)) if *deadline <= now_us || full => {}
                _ => break,
            }
            if let Some((deadline, old)) = kept.order.pop_front()
                && kept
                    .by_key
                    .get(&old)
                    .is_some_and(|(held, _)| *held == deadline)
            {
                kept.by_key.remove(&old);
            }
        }
        let deadline = now_us + self.timeout_us;
        kept.order.push_back((deadline, key.clone()));
        kept.by_key.insert(key, (deadline, value));
        true
    }

    fn find_at(&self, now_us: u64, key: &[u8], keep: bool) -> Option<Vec<u8>> {
        let mut kept = self.lock();
        let (deadline, value) = match keep {
            true => kept.by_key.get(key).cloned(),
            false => kept.by_key.remove(key),
        }?;
        (deadline > now_us).then_some(value)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.put_at(mono_us(), key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.find_at(mono_us(), key, true)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.find_at(mono_us(), key, false)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_by_time_and_by_number() {
        let store = Sessions::new(3, 10);
        let find = |now, key: u8| store.find_at(now, &[key], true).is_some();
        for key in 0..5u8 {
            assert!(store.put_at(u64::from(key), vec![key], vec![1]));
        }
        assert!(!find(9, 0) && !find(9, 1) && find(9, 2) && find(9, 4));
        assert!(!find(10_000_004, 4) && find(10_000_003, 4));
        assert_eq!(store.find_at(9, &[3], false), Some(vec![1]));
        assert!(!find(9, 3), "taken");
        for key in 0..100u8 {
            store.put_at(10, vec![key], vec![2]);
            let kept = store.lock();
            assert!(kept.by_key.len() <= 3 && kept.order.len() <= 7, "{key}");
        }
    }
}
