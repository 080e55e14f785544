//! Glob patterns as KEYS, SCAN, PSUBSCRIBE, CONFIG GET and ACLs match them.
//!
//! `*`, `?`, `[abc]`, `[^a-z]` and `\x`. Clients write the patterns, so the work is bounded by
//! pattern length times text length: only the last star is ever retried (an earlier one never has
//! to give more, because every other part of a pattern matches one byte at a time).

/// True if the whole of `text` matches `pattern`; `nocase` folds ASCII letters.
///
/// The odd corners are Redis's: a class that is never closed ends with the pattern, a reversed
/// range is turned round, bytes in a range compare as signed, an escaped byte in a class never
/// folds, and an empty text matches only the empty pattern, not even `*`.
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Where to resume when a byte does not match: behind the last star, one byte further in the
    // text.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                if p == pattern.len() {
                    return true;
                }
                retry = Some((p, t));
                continue;
            }
            Some(_) => {
                if let Some(width) = match_one(&pattern[p..], text[t], nocase) {
                    p += width;
                    t += 1;
                    continue;
                }
            }
            None => {}
        }
        match &mut retry {
            Some((after_star, from)) => {
                *from += 1;
                (p, t) = (*after_star, *from);
            }
            None => return false,
        }
    }
    pattern[p..].iter().all(|&b| b == b'*')
}

/// Matches one byte against the element that starts `pattern` (not a star) and gives the element's
/// length.
#[inline]
fn match_one(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let same = |a: u8| a == byte || (nocase && a.eq_ignore_ascii_case(&byte));
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', ..] => match_class(pattern, byte, nocase),
        [b'\\', escaped, ..] => same(*escaped).then_some(2),
        [literal, ..] => same(*literal).then_some(1),
        [] => None,
    }
}

fn match_class(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
    let negated = pattern.get(1) == Some(&b'^');
    let mut at = 1 + usize::from(negated);
    let mut found = false;
    loop {
        match &pattern[at..] {
            [] => break,
            [b'\\', escaped, ..] => {
                found |= *escaped == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [first, b'-', last, ..] => {
                // The ends are ordered before they are folded, as signed bytes both times.
                let (low, high) = if (*first as i8) > (*last as i8) {
                    (last, first)
                } else {
                    (first, last)
                };
                let range = fold(*low) as i8..=fold(*high) as i8;
                found |= range.contains(&(fold(byte) as i8));
                at += 3;
            }
            [literal, ..] => {
                found |= fold(*literal) == fold(byte);
                at += 1;
            }
        }
    }
    (found != negated).then_some(at)
}
