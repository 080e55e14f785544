//! Random draws from a collection: what SRANDMEMBER, HRANDFIELD and ZRANDMEMBER have in common.
//!
//! Both ways are fair for every element, whatever encoding it lies in. A draw is shown as it is
//! made, so that nothing is collected for a reply; whoever is shown it may end the draws (a reply
//! that nobody will get any more).

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::ControlFlow;

use crate::base::rng::Rng;

/// Of fewer than one in so many elements each is found by its own draw; more are met on one pass
/// over all, which costs less than a cache miss each.
const PASS_SHARE: usize = 8;

/// What elements are drawn from.
pub trait Pool: Copy {
    /// An element, or what a reply shows of it.
    type Item: Copy;
    /// What tells elements apart.
    type Id: Hash + Eq;

    /// How many elements.
    fn size(self) -> usize;

    /// All elements.
    fn elements(self) -> impl Iterator<Item = Self::Item>;

    /// An element by chance, each with the same probability; `None` of an empty pool.
    fn random(self, rng: &mut Rng) -> Option<Self::Item>;

    /// Whether `random` walks over others to reach an element (packed encodings, which are small).
    fn walks(self) -> bool;

    /// What tells an element apart.
    fn id(item: Self::Item) -> Self::Id;
}

/// Draws `count` times from all elements of a pool that is not empty.
pub fn repeatedly<P: Pool>(
    pool: P,
    count: usize,
    rng: &mut Rng,
    mut show: impl FnMut(P::Item) -> ControlFlow<()>,
) {
    if !pool.walks() || count == 1 {
        for _ in 0..count {
            match pool.random(rng) {
                Some(item) if show(item).is_continue() => {}
                _ => return,
            }
        }
        return;
    }
    let items: Vec<P::Item> = pool.elements().collect();
    for _ in 0..count {
        match items.get(rng.below(items.len() as u64) as usize) {
            Some(item) if show(*item).is_continue() => {}
            _ => return,
        }
    }
}

/// Draws up to `count` different elements; their order is not by chance.
pub fn different<P: Pool>(
    pool: P,
    count: usize,
    rng: &mut Rng,
    mut show: impl FnMut(P::Item) -> ControlFlow<()>,
) {
    let len = pool.size();
    if pool.walks() || count >= len / PASS_SHARE {
        // Each element is taken with the probability that leaves all choices of the rest equal.
        let mut wanted = count.min(len);
        for (at, item) in pool.elements().enumerate() {
            if wanted == 0 {
                return;
            }
            if rng.below((len - at) as u64) < wanted as u64 {
                wanted -= 1;
                if show(item).is_break() {
                    return;
                }
            }
        }
        return;
    }
    // Few of many: a draw is seldom one that was drawn before.
    let mut drawn = HashSet::with_capacity(count);
    while drawn.len() < count {
        let Some(item) = pool.random(rng) else { return };
        if drawn.insert(P::id(item)) && show(item).is_break() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    struct Numbers {
        len: usize,
        walks: bool,
    }

    impl Pool for Numbers {
        type Item = usize;
        type Id = usize;

        fn size(self) -> usize {
            self.len
        }

        fn elements(self) -> impl Iterator<Item = usize> {
            0..self.len
        }

        fn random(self, rng: &mut Rng) -> Option<usize> {
            (self.len > 0).then(|| rng.below(self.len as u64) as usize)
        }

        fn walks(self) -> bool {
            self.walks
        }

        fn id(item: usize) -> usize {
            item
        }
    }

    #[test]
    fn every_element_has_the_same_chance() {
        let mut rng = Rng::from_seed(1);
        for walks in [true, false] {
            let pool = Numbers { len: 20, walks };
            for count in [1, 2, 7, 19] {
                let (mut one, mut other) = ([0usize; 20], [0usize; 20]);
                for _ in 0..40_000 / count {
                    let mut seen = HashSet::new();
                    different(pool, count, &mut rng, |item| {
                        assert!(seen.insert(item));
                        one[item] += 1;
                        ControlFlow::Continue(())
                    });
                    assert_eq!(seen.len(), count);
                    repeatedly(pool, count, &mut rng, |item| {
                        other[item] += 1;
                        ControlFlow::Continue(())
                    });
                }
                for hits in one.iter().chain(&other) {
                    assert!((1_700..2_300).contains(hits), "{count}: {hits}");
                }
            }
        }
    }

    #[test]
    fn no_more_than_there_are_and_no_longer_than_wanted() {
        let mut rng = Rng::from_seed(2);
        for walks in [true, false] {
            for (len, count, shown) in [(0, 5, 0), (3, 0, 0), (3, 3, 3), (3, usize::MAX, 3)] {
                let mut drawn = 0;
                different(Numbers { len, walks }, count, &mut rng, |_| {
                    drawn += 1;
                    ControlFlow::Continue(())
                });
                assert_eq!(drawn, shown);
            }
            let pool = Numbers { len: 100, walks };
            let mut drawn = 0;
            let mut stop = |_| {
                drawn += 1;
                ControlFlow::Break(())
            };
            different(pool, 2, &mut rng, &mut stop);
            different(pool, 99, &mut rng, &mut stop);
            repeatedly(pool, usize::MAX, &mut rng, &mut stop);
            assert_eq!(drawn, 3);
        }
    }
}
