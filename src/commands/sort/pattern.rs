//! Keys named after elements: what BY and GET look at.

use std::ops::Range;

use crate::state::State;
use crate::types::hash::Hash;

/// Keys whose memory is asked for together.
const GROUP: usize = 32;
/// Below this number of keys the database is in the cache anyway.
const PREFETCH_MIN: usize = 4096;

/// A pattern: `#`, or a name in which a star stands for the element, with the field of a hash
/// behind `->`.
pub(super) enum Pattern<'a> {
    /// The element itself.
    Element,
    /// A name without a star, under which nothing is found.
    Nothing,
    Key {
        before: &'a [u8],
        behind: &'a [u8],
        field: Option<&'a [u8]>,
    },
}

/// The part of a text that C sees as a string.
fn c_text(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// Whether a pattern has a place for the element.
pub(super) fn has_star(text: &[u8]) -> bool {
    c_text(text).contains(&b'*')
}

impl<'a> Pattern<'a> {
    pub(super) fn new(text: &'a [u8]) -> Pattern<'a> {
        if c_text(text) == b"#" {
            return Pattern::Element;
        }
        let Some(star) = memchr::memchr(b'*', c_text(text)) else {
            return Pattern::Nothing;
        };
        let (before, rest) = (&text[..star], &text[star + 1..]);
        let arrow = c_text(rest).windows(2).position(|two| two == b"->");
        // An arrow at the end is a part of the name.
        match arrow.filter(|at| c_text(rest).len() > at + 2) {
            Some(at) => Pattern::Key {
                before,
                behind: &rest[..at],
                field: Some(&rest[at + 2..]),
            },
            None => Pattern::Key {
                before,
                behind: rest,
                field: None,
            },
        }
    }
}

/// Shows, for each pattern with an element, what it leads to.
pub(super) fn look_up<'a>(
    state: &mut State,
    db: usize,
    pairs: impl Iterator<Item = (&'a Pattern<'a>, &'a [u8])>,
    mut show: impl FnMut(Option<&[u8]>),
) {
    let mut pairs = pairs;
    let mut names = Vec::new();
    let mut group: Vec<(&Pattern<'_>, &[u8], Range<usize>)> = Vec::with_capacity(GROUP);
    let mut hashes = Vec::with_capacity(GROUP);
    loop {
        names.clear();
        group.clear();
        hashes.clear();
        for (pattern, element) in pairs.by_ref().take(GROUP) {
            let from = names.len();
            if let Pattern::Key { before, behind, .. } = pattern {
                for part in [*before, element, *behind] {
                    names.extend_from_slice(part);
                }
            }
            group.push((pattern, element, from..names.len()));
        }
        if group.is_empty() {
            return;
        }
        if group.len() > 1 && state.dbs[db].len() >= PREFETCH_MIN {
            for (pattern, _, name) in &group {
                if let Pattern::Key { .. } = pattern {
                    hashes.push(state.dbs.hash(&names[name.clone()]));
                }
            }
            state.dbs[db].prefetch(&hashes);
        }
        for (pattern, element, name) in &group {
            match pattern {
                Pattern::Element => show(Some(element)),
                Pattern::Nothing => show(None),
                Pattern::Key { field, .. } => {
                    show_value(state, db, &names[name.clone()], *field, &mut show);
                }
            }
        }
    }
}

/// Shows the string under a name, or a field of the hash there.
fn show_value(
    state: &mut State,
    db: usize,
    name: &[u8],
    field: Option<&[u8]>,
    show: &mut impl FnMut(Option<&[u8]>),
) {
    let now_ms = state.clock.unix_ms;
    let mut room = [0; 20];
    let Some(entry) = state.lookup_read(db, name) else {
        return show(None);
    };
    match field {
        None => show(entry.string().ok().map(|value| value.bytes(&mut room))),
        Some(field) => {
            let hash = entry.get::<Hash>().ok();
            let value = hash.and_then(|hash| hash.at(now_ms).get(field));
            show(value.map(|value| value.text(&mut room)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match Pattern::new(text.as_bytes()) {
            Pattern::Element => "element".into(),
            Pattern::Nothing => "nothing".into(),
            Pattern::Key {
                before,
                behind,
                field,
            } => {
                let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
                let field = field.map_or("none".into(), text);
                format!("{}|{}|{field}", text(before), text(behind))
            }
        }
    }

    #[test]
    fn patterns_are_taken_apart() {
        for (pattern, parts) in [
            ("#", "element"),
            ("", "nothing"),
            ("constant", "nothing"),
            ("a->b", "nothing"),
            ("*", "||none"),
            ("w_*", "w_||none"),
            ("w_*_x*", "w_|_x*|none"),
            ("w:*->f", "w:||f"),
            ("w:*:x->f->g", "w:|:x|f->g"),
            ("w*->", "w|->|none"),
            ("a->*b", "a->|b|none"),
            ("a\0*", "nothing"),
            ("#\0*", "element"),
        ] {
            assert_eq!(shown(pattern), parts, "{pattern}");
        }
    }
}
