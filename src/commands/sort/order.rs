//! Putting elements in order by number or by text.
//!
//! What is compared first is 64 bits that stand beside the element's number, so that nearly all
//! comparisons touch nothing else: a double in an order of unsigned integers, or the first bytes of
//! a text. Only the part that is wanted is sorted.

use std::cmp::Ordering;
use std::ops::Range;

use crate::base::num::{is_c_space, parse_f64};

/// The double that C's `strtod` reads from a text up to its first NUL, as Redis reads scores to
/// sort by: white space may lead, nothing at all is 0. `None` for what is no number and for what a
/// double cannot hold.
pub(super) fn score_of(text: &[u8]) -> Option<f64> {
    let text = &text[..memchr::memchr(0, text).unwrap_or(text.len())];
    if text.is_empty() {
        return Some(0.0);
    }
    let start = text.iter().position(|b| !is_c_space(*b))?;
    let body = &text[start..];
    let score = parse_f64(body)?;
    // What is rounded below the normal numbers is out of range in C; hexadecimal is exact.
    let hexadecimal = body.iter().any(|b| matches!(b, b'x' | b'X'));
    (!score.is_subnormal() || hexadecimal).then_some(score)
}

/// An element under what is compared first.
#[derive(Clone, Copy)]
struct Item {
    head: u64,
    at: usize,
}

/// Elements by their numbers, to be put in order.
pub(super) struct Items {
    items: Vec<Item>,
}

impl Items {
    pub(super) fn with_capacity(count: usize) -> Items {
        Items {
            items: Vec::with_capacity(count),
        }
    }

    /// That many elements in the order in which they are.
    pub(super) fn in_order(count: usize) -> Items {
        let item = |at| Item { head: 0, at };
        Items {
            items: (0..count).map(item).collect(),
        }
    }

    /// The next element has this score, which is not NaN.
    pub(super) fn push_score(&mut self, score: f64) {
        // -0 and 0 are equal.
        let bits = (score + 0.0).to_bits();
        let head = if bits >> 63 == 1 {
            !bits
        } else {
            bits | 1 << 63
        };
        self.push(head);
    }

    /// The next element is sorted by this text.
    pub(super) fn push_text(&mut self, text: &[u8]) {
        let mut head = [0; 8];
        let len = text.len().min(8);
        head[..len].copy_from_slice(&text[..len]);
        self.push(u64::from_be_bytes(head));
    }

    fn push(&mut self, head: u64) {
        let at = self.items.len();
        self.items.push(Item { head, at });
    }

    /// Puts the elements that belong into `part` there, in order; `tie` compares two whose heads
    /// are equal, by their numbers. Elements that are equal then, too, keep their order.
    pub(super) fn arrange(
        &mut self,
        part: Range<usize>,
        descending: bool,
        tie: impl Fn(usize, usize) -> Ordering,
    ) {
        let compare = |a: &Item, b: &Item| {
            let order = a.head.cmp(&b.head).then_with(|| tie(a.at, b.at));
            let order = if descending { order.reverse() } else { order };
            order.then(a.at.cmp(&b.at))
        };
        let mut items = &mut self.items[..];
        if part.is_empty() {
            return;
        }
        if part.end < items.len() {
            items.select_nth_unstable_by(part.end, compare);
            items = &mut items[..part.end];
        }
        if part.start > 0 {
            items.select_nth_unstable_by(part.start, compare);
            items = &mut items[part.start..];
        }
        items.sort_unstable_by(compare);
    }

    /// The numbers of the elements in this part.
    pub(super) fn numbers(&self, part: Range<usize>) -> impl Iterator<Item = usize> {
        self.items[part].iter().map(|item| item.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn scores_are_read_as_c_reads_them() {
        for (text, score) in [
            (&b""[..], 0.0),
            (b"\0x", 0.0),
            (b" \t\n1", 1.0),
            (b"1.", 1.0),
            (b"+.5", 0.5),
            (b"0x10", 16.0),
            (b"-1e3\0 rest", -1000.0),
            (b"INF", f64::INFINITY),
            (b"-infinity", f64::NEG_INFINITY),
            (b"0x1p-1074", 5e-324),
        ] {
            assert_eq!(score_of(text), Some(score), "{text:?}");
        }
        let refused = " |1 |nan|1e400|-1e400|1e-400|1e-310|5e-324|.|-|1e|0x|1_0|a|--1";
        for text in refused.split('|') {
            assert_eq!(score_of(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn any_part_is_that_of_the_whole_sorted() {
        let mut rng = Rng::from_seed(4);
        for round in 0..if cfg!(miri) { 5 } else { 600 } {
            let count = rng.below(60) as usize;
            let scores: Vec<f64> = (0..count)
                .map(|_| match rng.below(9) {
                    0 => f64::INFINITY,
                    1 => f64::NEG_INFINITY,
                    2 => -0.0,
                    n => (rng.below(20) as f64 - 10.0) / n as f64,
                })
                .collect();
            let texts: Vec<Vec<u8>> = (0..count)
                .map(|_| vec![b'a' + rng.below(2) as u8; rng.below(11) as usize])
                .collect();
            let descending = rng.below(2) == 0;
            let from = rng.below(count as u64 + 1) as usize;
            let part = from..from + rng.below((count - from) as u64 + 1) as usize;
            let mut items = Items::with_capacity(count);
            let mut sorted: Vec<usize> = (0..count).collect();
            let order = |order: Ordering| if descending { order.reverse() } else { order };
            if round % 2 == 0 {
                scores.iter().for_each(|score| items.push_score(*score));
                items.arrange(part.clone(), descending, |a, b| texts[a].cmp(&texts[b]));
                sorted.sort_by(|a, b| {
                    let scores = scores[*a].partial_cmp(&scores[*b]).expect("no NaN");
                    order(scores.then(texts[*a].cmp(&texts[*b])))
                });
            } else {
                texts.iter().for_each(|text| items.push_text(text));
                items.arrange(part.clone(), descending, |a, b| texts[a].cmp(&texts[b]));
                sorted.sort_by(|a, b| order(texts[*a].cmp(&texts[*b])));
            }
            let arranged: Vec<usize> = items.numbers(part.clone()).collect();
            assert_eq!(arranged, sorted[part]);
        }
        let kept: Vec<usize> = Items::in_order(4).numbers(1..4).collect();
        assert_eq!(kept, [1, 2, 3]);
    }
}
