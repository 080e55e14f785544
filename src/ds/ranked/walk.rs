//! The way along the order: from leaf to leaf, each found anew from the root, which is cheap for a
//! hundred members at a time and leaves the leaves without links.

use std::ops::Range;

use super::leaf::{mark_of, score_of};
use super::tree::Tree;

/// Items between the prefetch and the visit.
const AHEAD: usize = 12;

/// Members with their scores, in order of rank or against it.
pub struct Iter<'a> {
    tree: &'a Tree,
    /// The ranks not visited yet.
    ranks: Range<usize>,
    /// The words of those in the present leaf.
    words: &'a [u64],
    reverse: bool,
}

impl<'a> Iter<'a> {
    pub(super) fn new(tree: &'a Tree, ranks: Range<usize>, reverse: bool) -> Iter<'a> {
        let end = ranks.end.min(tree.len());
        Iter {
            tree,
            ranks: ranks.start.min(end)..end,
            words: &[],
            reverse,
        }
    }

    /// Goes to the next leaf.
    #[cold]
    fn turn(&mut self) -> Option<()> {
        let left = self.ranks.len();
        let words = if self.reverse {
            let (leaf, at) = self.tree.leaf_at(self.ranks.end.checked_sub(1)?)?;
            &leaf.words()[(at + 1).saturating_sub(left)..=at]
        } else {
            let (leaf, at) = self.tree.leaf_at(self.ranks.start)?;
            let words = &leaf.words()[at..];
            &words[..words.len().min(left)]
        };
        self.words = words;
        (0..AHEAD).for_each(|ahead| self.prefetch(ahead));
        Some(())
    }

    #[inline]
    fn prefetch(&self, ahead: usize) {
        let word = if self.reverse {
            self.words.iter().nth_back(ahead)
        } else {
            self.words.get(ahead)
        };
        if let Some(word) = word {
            mark_of(*word).prefetch();
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.ranks.is_empty() {
            return None;
        }
        if self.words.is_empty() {
            self.turn()?;
        }
        self.prefetch(AHEAD);
        let word = if self.reverse {
            self.ranks.end -= 1;
            self.words.split_off_last()
        } else {
            self.ranks.start += 1;
            self.words.split_off_first()
        }?;
        // SAFETY: what an index holds is in the table; both are borrowed during 'a.
        let item = unsafe { mark_of(*word).item() };
        Some((item.key(), score_of(item)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ranks.len(), Some(self.ranks.len()))
    }
}

impl ExactSizeIterator for Iter<'_> {}
