//! BITOP: several strings combined bit by bit, block by block, so that the block being made stays in the
//! nearest cache however long and many the sources are.

/// How bits are combined. A source that ends counts as zeros from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    And,
    Or,
    Xor,
    /// Of one source.
    Not,
    /// Set in the first source and in no other.
    Diff,
    /// Set in some other source, not in the first.
    Diff1,
    /// Set in the first source and in some other.
    AndOr,
    /// Set in exactly one source.
    One,
}

const BLOCK: usize = 8 << 10;

/// The combination, as long as the longest source.
pub fn combine(operation: Operation, sources: &[&[u8]]) -> Vec<u8> {
    let len = sources.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = Vec::with_capacity(len);
    let Some((first, others)) = sources.split_first() else {
        return out;
    };
    let mut twice = Vec::new();
    while out.len() < len {
        let at = out.len();
        let end = len.min(at + BLOCK);
        let part = |source: &'_ [u8]| -> Range { at.min(source.len())..end.min(source.len()) };
        match operation {
            Operation::Diff | Operation::Diff1 | Operation::AndOr => out.resize(end, 0),
            _ => {
                out.extend_from_slice(&first[part(first)]);
                out.resize(end, 0);
            }
        }
        let block = &mut out[at..end];
        let first = &first[part(first)];
        let others = others.iter().map(|source| &source[part(source)]);
        match operation {
            Operation::And => others.for_each(|source| {
                each(block, source, |a, b| a & b);
                block[source.len()..].fill(0);
            }),
            Operation::Or => others.for_each(|source| each(block, source, |a, b| a | b)),
            Operation::Xor => others.for_each(|source| each(block, source, |a, b| a ^ b)),
            Operation::Not => block.iter_mut().for_each(|byte| *byte = !*byte),
            Operation::Diff => {
                others.for_each(|source| each(block, source, |a, b| a | b));
                each(block, first, |any, x| x & !any);
                block[first.len()..].fill(0);
            }
            Operation::Diff1 => {
                others.for_each(|source| each(block, source, |a, b| a | b));
                each(block, first, |any, x| any & !x);
            }
            Operation::AndOr => {
                others.for_each(|source| each(block, source, |a, b| a | b));
                each(block, first, |any, x| any & x);
                block[first.len()..].fill(0);
            }
            Operation::One => {
                twice.clear();
                twice.resize(block.len(), 0);
                others.for_each(|source| again(block, &mut twice, source));
                each(block, &twice, |once, twice| once & !twice);
            }
        }
    }
    out
}

type Range = std::ops::Range<usize>;

/// Combines a block with the part of a source that lies beside it.
#[inline]
fn each(block: &mut [u8], source: &[u8], f: impl Fn(u8, u8) -> u8) {
    for (a, b) in block.iter_mut().zip(source) {
        *a = f(*a, *b);
    }
}

/// Bits of a source that were seen before become bits seen twice.
fn again(once: &mut [u8], twice: &mut [u8], source: &[u8]) {
    for ((once, twice), source) in once.iter_mut().zip(twice).zip(source) {
        *twice |= *once & *source;
        *once |= *source;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn combines_as_one_byte_at_a_time_does() {
        use Operation::*;
        let mut rng = Rng::from_seed(3);
        let longest = if cfg!(miri) { 40 } else { 3 * BLOCK as u64 };
        for round in 0..if cfg!(miri) { 2 } else { 30 } {
            for operation in [And, Or, Xor, Not, Diff, Diff1, AndOr, One] {
                let count = match operation {
                    Not => 1,
                    _ => 1 + rng.below(5),
                };
                let sources: Vec<Vec<u8>> = (0..count)
                    .map(|_| {
                        let mut source = vec![0; rng.below(longest) as usize];
                        rng.fill(&mut source);
                        source
                    })
                    .collect();
                let slices: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
                let len = slices.iter().map(|s| s.len()).max().unwrap_or(0);
                let slow: Vec<u8> = (0..len)
                    .map(|at| {
                        let at = |s: &[u8]| s.get(at).copied().unwrap_or(0);
                        let (x, rest) = (at(slices[0]), &slices[1..]);
                        let any = rest.iter().fold(0, |any, s| any | at(s));
                        match operation {
                            And => rest.iter().fold(x, |all, s| all & at(s)),
                            Or => x | any,
                            Xor => rest.iter().fold(x, |odd, s| odd ^ at(s)),
                            Not => !x,
                            Diff => x & !any,
                            Diff1 => any & !x,
                            AndOr => x & any,
                            One => (0..8)
                                .map(|i| {
                                    let set = slices.iter().filter(|s| at(s) >> i & 1 == 1);
                                    u8::from(set.count() == 1) << i
                                })
                                .sum(),
                        }
                    })
                    .collect();
                assert!(combine(operation, &slices) == slow, "{operation:?} {round}");
            }
        }
        assert!(combine(And, &[]).is_empty());
    }
}
