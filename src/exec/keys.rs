//! Where the keys of a request are: the one answer for COMMAND GETKEYS, ACL and the cluster.
//!
//! The row's key specs say it for most commands; where they cannot (keys that only options name, a
//! use that options decide), the row's finder does.
use super::command::{Begin, Command, Find, KeyAt, KeySpec, key_flag};
use crate::base::num::parse_i64;
use crate::resp::request::Argv;

/// The request is not one whose keys can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Does the command ever name keys?
pub fn has_keys(cmd: &Command) -> bool {
    cmd.finder.is_some()
        || cmd
            .keys
            .iter()
            .any(|spec| spec.flags & key_flag::NOT_KEY == 0)
}

/// The keys of a request that has the row's arity: in their order, those that only the finder knows last.
///
/// Never fewer than the command will use: where the specs and the finder read a request differently (a
/// group that is called `STREAMS`, several `STORE`s), the keys of both count.
pub fn find(cmd: &Command, argv: Argv<'_>) -> Result<Vec<KeyAt>, Malformed> {
    let vague = key_flag::VARIABLE_FLAGS | key_flag::INCOMPLETE;
    let exact = !cmd.keys.is_empty() && cmd.keys.iter().all(|spec| spec.flags & vague == 0);
    let by_specs = || by_specs(cmd.keys, argv);
    let Some(finder) = cmd.finder else {
        return by_specs().or_else(|_| counted(cmd.keys, argv));
    };
    let known = finder(argv).map_err(|_| Malformed);
    match by_specs() {
        Ok(mut found) if exact => {
            let first = found.len();
            for key in known.unwrap_or_default() {
                if !found[..first].iter().any(|other| other.at == key.at) {
                    found.push(key);
                }
            }
            Ok(found)
        }
        _ => known,
    }
}

/// What a request must be allowed to do with a key that it uses so: to read what it holds, to change it.
/// Neither is needed to learn that it is there.
pub const fn needs(flags: u32) -> (bool, bool) {
    let changes = key_flag::INSERT | key_flag::DELETE | key_flag::UPDATE;
    (flags & key_flag::ACCESS != 0, flags & changes != 0)
}

/// What the key specs say; they do not all have to fit where one of them is incomplete.
fn by_specs(specs: &[KeySpec], argv: Argv<'_>) -> Result<Vec<KeyAt>, Malformed> {
    let mut found = Vec::new();
    for spec in specs {
        if spec.flags & key_flag::NOT_KEY != 0 {
            continue;
        }
        if is_left_out(spec, argv) {
            continue;
        }
        let (first, last, step) = bounds(spec, argv).ok_or(Malformed)?;
        let range = (first..=last).step_by(step);
        found.extend(range.map(|at| KeyAt {
            at,
            flags: spec.flags,
        }));
    }
    Ok(found)
}

/// The keys of a request whose number of keys is none, read as C's `atoi` reads it: Redis shows them, and the
/// command then refuses the number. The key that stands for itself comes last, and nothing is said of any use.
fn counted(specs: &[KeySpec], argv: Argv<'_>) -> Result<Vec<KeyAt>, Malformed> {
    let count_at = specs.iter().find_map(|spec| match (spec.begin, spec.find) {
        (Begin::Index(at), Find::KeyNum { .. }) => Some(at),
        _ => None,
    });
    let count_at = count_at.filter(|at| *at < argv.len()).ok_or(Malformed)?;
    let count = usize::try_from(atoi(argv.get(count_at))).map_err(|_| Malformed)?;
    if count < 1 || count > argv.len() - count_at - 1 {
        return Err(Malformed);
    }
    let others = specs
        .iter()
        .filter_map(|spec| match (spec.begin, spec.find) {
            (Begin::Index(at), Find::Range { .. }) => Some(at),
            _ => None,
        });
    let keys = (count_at + 1..=count_at + count).chain(others);
    Ok(keys.map(|at| KeyAt { at, flags: 0 }).collect())
}

/// A number as C's `atoi` reads it: the digits at the start, in 32 bits.
fn atoi(text: &[u8]) -> i32 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let digits = digits.iter().take_while(|b| b.is_ascii_digit());
    let sum = digits.fold(0i128, |sum, b| {
        (sum * 10 + i128::from(b - b'0')).min(1 << 70)
    });
    let long = (if negative { -sum } else { sum }).clamp(i64::MIN.into(), i64::MAX.into());
    long as i32
}

/// Does the request end before keys that need not be there (the sources of PFMERGE)?
fn is_left_out(spec: &KeySpec, argv: Argv<'_>) -> bool {
    match (spec.begin, spec.find) {
        (Begin::Index(first), Find::Range { last, .. }) => last < 0 && first >= argv.len(),
        _ => false,
    }
}

/// First and last key of a spec, and the step between two.
fn bounds(spec: &KeySpec, argv: Argv<'_>) -> Option<(usize, usize, usize)> {
    let first = match spec.begin {
        Begin::Index(at) => at,
        Begin::Keyword(word, from) => behind_keyword(argv, word.as_bytes(), from)?,
        Begin::Unknown => return None,
    } as i64;
    let argc = argv.len() as i64;
    let (first, last, step) = match spec.find {
        Find::Range { last, step, limit } => {
            let last = match i64::from(last) {
                last if last >= 0 => first + last,
                last if limit > 1 => first + (argc - first) / i64::from(limit) + last,
                last => argc + last,
            };
            (first, last, i64::from(step))
        }
        Find::KeyNum {
            at,
            first: offset,
            step,
        } => {
            let at = first as usize + at;
            let count = (at < argv.len()).then(|| parse_i64(argv.get(at)))??;
            // Of 32 bits, as in Redis. More keys than arguments end beyond them.
            let count = i64::from(count as i32).clamp(0, argc);
            let first = first + offset as i64;
            (first, first + (count - 1) * step as i64, step as i64)
        }
        Find::Unknown => return None,
    };
    let inside = first > 0 && first <= last && last < argc && step > 0;
    inside.then_some((first as usize, last as usize, step as usize))
}

/// The argument behind a keyword, searched from `from`; a negative `from` counts from the end and
/// searches towards the beginning.
fn behind_keyword(argv: Argv<'_>, word: &[u8], from: i32) -> Option<usize> {
    let argc = argv.len();
    let is_it = |at: &usize| argv.get(*at).eq_ignore_ascii_case(word);
    let at = if from >= 0 {
        (from as usize..argc).find(is_it)
    } else {
        let start = argc.checked_sub(from.unsigned_abs() as usize)?;
        (1..=start).rev().find(is_it)
    };
    at.map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::super::command::{CmdResult, Outcome, cmd, flag};
    use super::super::ctx::Ctx;
    use super::super::error::CmdError;
    use super::*;
    use crate::resp::request::OwnedArgv;
    use key_flag as k;

    fn nothing(_: &mut Ctx<'_>) -> CmdResult {
        Ok(Outcome::Done)
    }

    fn row(arity: i32, keys: &'static [KeySpec]) -> Command {
        cmd("test", arity, flag::READONLY, 0, keys, nothing)
    }

    fn keys_of(row: &Command, request: &str) -> Option<Vec<usize>> {
        let argv: OwnedArgv = request.split_whitespace().map(str::as_bytes).collect();
        let found = find(row, argv.argv()).ok()?;
        Some(found.iter().map(|key| key.at).collect())
    }

    const PAIRS: &[KeySpec] = &[KeySpec::range(k::OW, 1, -1, 2)];
    const STORE: &[KeySpec] = &[KeySpec::range(k::OW, 1, 1, 1), KeySpec::numkeys(k::RO, 2)];
    const STREAMS: &[KeySpec] = &[KeySpec {
        flags: k::RO,
        begin: Begin::Keyword("STREAMS", 1),
        find: Find::Range {
            last: -1,
            step: 1,
            limit: 2,
        },
    }];
    const BACKWARDS: &[KeySpec] = &[KeySpec {
        flags: k::RW,
        begin: Begin::Keyword("KEYS", -2),
        find: Find::Range {
            last: -1,
            step: 1,
            limit: 0,
        },
    }];
    const CHANNEL: &[KeySpec] = &[KeySpec::range(k::NOT_KEY, 1, 1, 1)];

    #[test]
    fn ranges_counts_and_keywords() {
        let mset = row(-3, PAIRS);
        assert_eq!(keys_of(&mset, "mset a 1 b 2"), Some(vec![1, 3]));
        let store = row(-4, STORE);
        assert_eq!(keys_of(&store, "zu d 2 a b"), Some(vec![1, 3, 4]));
        assert_eq!(keys_of(&store, "zu d 3 a b"), None);
        assert_eq!(keys_of(&store, "zu d 0 a b"), None);
        assert_eq!(keys_of(&store, "zu d 9223372036854775807 a"), None);
        assert_eq!(keys_of(&store, "zu d +2x a b"), Some(vec![3, 4, 1]));
        assert_eq!(keys_of(&store, "zu d 4294967297 a b"), Some(vec![1, 3]));
        assert_eq!(keys_of(&store, "zu d 4294967297x a b"), Some(vec![3, 1]));
        assert_eq!(keys_of(&store, "zu d x a b"), None);
        assert_eq!(keys_of(&store, "zu d -9223372036854775808 a"), None);
        let streams = row(-4, STREAMS);
        assert_eq!(
            keys_of(&streams, "x COUNT 1 streams a b 0 0"),
            Some(vec![4, 5])
        );
        assert_eq!(keys_of(&streams, "x COUNT 1 a b"), None);
        let backwards = row(-6, BACKWARDS);
        assert_eq!(
            keys_of(&backwards, "m h p e 0 9 keys a b"),
            Some(vec![7, 8])
        );
        assert_eq!(keys_of(&backwards, "m h p e 0 9"), None);
        assert_eq!(keys_of(&backwards, "m"), None);
    }

    #[test]
    fn what_is_no_key_is_left_out() {
        let row = row(2, CHANNEL);
        assert!(!has_keys(&row));
        assert_eq!(keys_of(&row, "spublish c"), Some(vec![]));
    }

    #[test]
    fn the_finder_answers_where_specs_are_vague() {
        const VAGUE: &[KeySpec] = &[KeySpec::range(k::RW | k::VARIABLE_FLAGS, 1, 1, 1)];
        fn second(_: Argv<'_>) -> Result<Vec<KeyAt>, CmdError> {
            Ok(vec![KeyAt {
                at: 2,
                flags: k::RO,
            }])
        }
        let vague = row(-2, VAGUE).with_finder(second);
        assert_eq!(keys_of(&vague, "set a b"), Some(vec![2]));
        // Where specs are exact, both count.
        let exact = row(-2, STREAMS).with_finder(second);
        assert_eq!(keys_of(&exact, "x streams a 0"), Some(vec![2]));
        assert_eq!(keys_of(&exact, "x y streams a 0"), Some(vec![3, 2]));
        assert_eq!(keys_of(&exact, "x y z"), Some(vec![2]));
        // Keys that may be missing leave the others known.
        const OPTIONAL: &[KeySpec] = &[
            KeySpec::range(k::RW, 1, 1, 1),
            KeySpec::range(k::RO, 2, -1, 1),
        ];
        assert_eq!(keys_of(&row(-2, OPTIONAL), "merge a"), Some(vec![1]));
    }

    #[test]
    fn specs_give_the_old_triple() {
        const TWO: &[KeySpec] = &[
            KeySpec::range(k::RW, 1, 1, 1),
            KeySpec::range(k::OW, 2, -1, 1),
        ];
        let triple = |row: &Command| {
            let movable = row.is(flag::MOVABLE_KEYS);
            (row.first_key, row.last_key, row.key_step, movable)
        };
        assert_eq!(triple(&row(-3, PAIRS)), (1, -1, 2, false));
        assert_eq!(triple(&row(-3, TWO)), (1, -1, 1, false));
        assert_eq!(triple(&row(-3, STORE)), (1, 1, 1, true));
        assert_eq!(triple(&row(-3, STREAMS)), (0, 0, 0, true));
    }
}
