//! SORT and SORT_RO: the elements of a list, set or sorted set in order, or what keys named after
//! them hold.
//!
//! Elements are copied out first, since looking at other keys may remove dead ones and so move
//! what the database holds. `pattern` looks up keys named after elements, `order` sorts.

mod order;
mod pattern;

use crate::base::num;
use crate::commands::list;
use crate::ds::listpack::Val;
use crate::ds::quicklist::End;
use crate::exec::command::{
    Begin, CmdResult, Find, KeyAt, KeySpec, Outcome, acl, cmd, flag, key_flag,
};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX, WRONG_TYPE};
use crate::exec::registry::Family;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::notify::Event;
use crate::types::Collection;
use crate::types::list::List;
use crate::types::set::Set;
use crate::types::zset::Zset;

use flag::{DENYOOM, READONLY, WRITE};
use order::{Items, score_of};
use pattern::{Pattern, look_up};

const NOT_NUMBERS: CmdError =
    CmdError::new("ERR One or more scores can't be converted into double");
const BY_IN_CLUSTER: CmdError = CmdError::new("ERR BY option of SORT denied in cluster mode.");
const BY_DENIED: CmdError =
    CmdError::new("ERR BY option of SORT denied due to insufficient ACL permissions.");
const GET_DENIED: CmdError =
    CmdError::new("ERR GET option of SORT denied due to insufficient ACL permissions.");
const GET_IN_CLUSTER: CmdError = CmdError::new("ERR GET option of SORT denied in cluster mode.");

const fn unknown(flags: u32) -> KeySpec {
    KeySpec {
        flags,
        begin: Begin::Unknown,
        find: Find::Unknown,
    }
}

const READ: u32 = key_flag::RO | key_flag::ACCESS;
const STORED: u32 = key_flag::OW | key_flag::UPDATE;
const SORT_KEYS: &[KeySpec] = &[
    KeySpec::range(READ, 1, 1, 1),
    unknown(READ),
    unknown(STORED),
];
const SORT_RO_KEYS: &[KeySpec] = &[KeySpec::range(READ, 1, 1, 1), unknown(READ)];
const TYPES: u32 = acl::LIST | acl::SET | acl::SORTEDSET | acl::DANGEROUS;

/// SORT, which the docs file under "generic".
pub static FAMILY: Family = Family {
    group: "generic",
    acl: acl::NONE,
    commands: &[
        cmd("sort", -2, WRITE | DENYOOM, TYPES, SORT_KEYS, sort).with_finder(sort_keys),
        cmd("sort_ro", -2, READONLY, TYPES, SORT_RO_KEYS, sort_ro).with_finder(sort_ro_keys),
    ],
};

/// The key sorted, and the last one of STORE, which is the one that counts.
fn sort_keys(argv: Argv<'_>) -> Result<Vec<KeyAt>, CmdError> {
    let mut stored = None;
    let mut at = 2;
    while at < argv.len() {
        let word = argv.get(at);
        if word.eq_ignore_ascii_case(b"limit") {
            at += 2;
        } else if word.eq_ignore_ascii_case(b"get") || word.eq_ignore_ascii_case(b"by") {
            at += 1;
        } else if word.eq_ignore_ascii_case(b"store") && at + 1 < argv.len() {
            stored = Some(KeyAt {
                at: at + 1,
                flags: STORED,
            });
        }
        at += 1;
    }
    let source = KeyAt { at: 1, flags: READ };
    Ok([source].into_iter().chain(stored).collect())
}

fn sort_ro_keys(_: Argv<'_>) -> Result<Vec<KeyAt>, CmdError> {
    Ok(vec![KeyAt { at: 1, flags: READ }])
}

/// What a request asks for.
struct Options<'a> {
    descending: bool,
    /// By text, not by number.
    alpha: bool,
    /// The first element wanted, and how many (negative: all).
    limit: (i64, i64),
    /// `None` sorts by the elements themselves.
    by: Option<Pattern<'a>>,
    /// BY names no key: the order stays as it is.
    unsorted: bool,
    get: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(ctx: &Ctx<'a>, may_store: bool) -> Result<Options<'a>, CmdError> {
        let mut options = Options {
            descending: false,
            alpha: false,
            limit: (0, -1),
            by: None,
            unsorted: false,
            get: Vec::new(),
            store: None,
        };
        // A pattern may name any key.
        let reads_all = ctx.may_read_all_keys();
        let in_cluster = ctx.state.config.cluster_enabled;
        let (argc, mut at) = (ctx.argc(), 2);
        while at < argc {
            let word = ctx.arg(at);
            let left = argc - at - 1;
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is("asc") {
                options.descending = false;
            } else if is("desc") {
                options.descending = true;
            } else if is("alpha") {
                options.alpha = true;
            } else if is("limit") && left >= 2 {
                let number = |at| num::parse_i64(ctx.arg(at)).ok_or(NOT_INTEGER);
                options.limit = (number(at + 1)?, number(at + 2)?);
                at += 2;
            } else if may_store && is("store") && left >= 1 {
                options.store = Some(ctx.arg(at + 1));
                at += 1;
            } else if is("by") && left >= 1 {
                let by = ctx.arg(at + 1);
                let pattern = Pattern::new(by);
                // A name without a star is the same for all. Said once, it holds, as in Redis.
                options.unsorted |= !pattern::has_star(by);
                if pattern::has_star(by) && in_cluster {
                    return Err(BY_IN_CLUSTER);
                }
                if pattern::has_star(by) && !reads_all {
                    return Err(BY_DENIED);
                }
                options.by = Some(pattern);
                at += 1;
            } else if is("get") && left >= 1 {
                if in_cluster {
                    return Err(GET_IN_CLUSTER);
                }
                if !reads_all {
                    return Err(GET_DENIED);
                }
                options.get.push(Pattern::new(ctx.arg(at + 1)));
                at += 1;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }

    /// From which element on, and how many, of `len`.
    fn part(&self, len: usize) -> (usize, usize) {
        let (from, count) = self.limit;
        let from = usize::try_from(from.max(0)).map_or(len, |from| from.min(len));
        let count = usize::try_from(count).unwrap_or(len);
        (from, count.min(len - from))
    }

    /// The element nearest to the front of that part, where nothing is sorted.
    fn first_unsorted(&self, len: usize, from: usize, count: usize) -> usize {
        if self.descending {
            len - from - count
        } else {
            from
        }
    }
}

/// Texts one behind the other.
#[derive(Default)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn push_val(&mut self, val: Val<'_>) {
        self.push(val.text(&mut [0; 20]));
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    /// The last one becomes the first.
    fn reverse(&mut self) {
        let mut reversed = Texts::default();
        reversed.bytes.reserve(self.bytes.len());
        for at in (0..self.len()).rev() {
            reversed.push(self.get(at));
        }
        *self = reversed;
    }

    fn get(&self, at: usize) -> &[u8] {
        let from = match at.checked_sub(1) {
            Some(before) => self.ends[before],
            None => 0,
        };
        &self.bytes[from..self.ends[at]]
    }
}

/// The elements to be sorted, or, where nothing is to be sorted, those of the part that is wanted.
/// Returns them with the part of them that is to be shown.
fn load(
    state: &mut State,
    db: usize,
    key: &[u8],
    options: &mut Options<'_>,
    scripted: bool,
) -> Result<(Texts, usize, usize), CmdError> {
    let mut texts = Texts::default();
    let Some(entry) = state.lookup_read(db, key) else {
        return Ok((texts, 0, 0));
    };
    // Lists and sorted sets have an order of their own, of which DESC begins at the other end.
    if let Ok(list) = entry.get::<List>() {
        let (from, count) = options.part(list.len());
        if !options.unsorted {
            list.each(0, list.len(), |val| texts.push_val(val));
            return Ok((texts, from, count));
        }
        let first = options.first_unsorted(list.len(), from, count);
        list.each(first, count, |val| texts.push_val(val));
        if options.descending {
            texts.reverse();
        }
        return Ok((texts, 0, count));
    }
    if let Ok(zset) = entry.get::<Zset>() {
        let (from, count) = options.part(zset.len());
        if !options.unsorted {
            zset.iter().for_each(|(member, _)| texts.push_val(member));
            return Ok((texts, from, count));
        }
        let first = options.first_unsorted(zset.len(), from, count);
        zset.iter_ranks(first..first + count, options.descending)
            .for_each(|(member, _)| texts.push_val(member));
        return Ok((texts, 0, count));
    }
    let set = entry.get::<Set>().map_err(|_| WRONG_TYPE)?;
    let (from, count) = options.part(set.len());
    if options.unsorted && (options.store.is_some() || scripted) {
        // A set has no order that would be the same everywhere.
        options.unsorted = false;
        options.alpha = true;
        options.by = None;
    }
    if options.unsorted {
        let part = set.iter().skip(from).take(count);
        part.for_each(|member| texts.push_val(member));
        return Ok((texts, 0, count));
    }
    set.iter().for_each(|member| texts.push_val(member));
    Ok((texts, from, count))
}

/// The numbers of the elements wanted, in their order.
fn arrange(
    state: &mut State,
    db: usize,
    options: &Options<'_>,
    elements: &Texts,
    (from, count): (usize, usize),
) -> Result<Items, CmdError> {
    let len = elements.len();
    if options.unsorted {
        return Ok(Items::in_order(len));
    }
    let mut items = Items::with_capacity(len);
    let all = || (0..len).map(|at| elements.get(at));
    let part = from..from + count;
    match (&options.by, options.alpha) {
        (None, true) => {
            all().for_each(|text| items.push_text(text));
            items.arrange(part, options.descending, |a, b| {
                elements.get(a).cmp(elements.get(b))
            });
        }
        (Some(by), true) => {
            let mut weights = Texts::default();
            let mut absent = Vec::with_capacity(len);
            look_up(state, db, all().map(|text| (by, text)), |weight| {
                items.push_text(weight.unwrap_or_default());
                weights.push(weight.unwrap_or_default());
                absent.push(weight.is_none());
            });
            // Whatever has no weight comes first.
            let weight = |at: usize| (!absent[at], weights.get(at));
            items.arrange(part, options.descending, |a, b| weight(a).cmp(&weight(b)));
        }
        (by, false) => {
            let mut numbers = true;
            let mut take = |text: Option<&[u8]>| {
                let score = text.map_or(Some(0.0), score_of);
                numbers &= score.is_some();
                items.push_score(score.unwrap_or(0.0));
            };
            match by {
                Some(by) => look_up(state, db, all().map(|text| (by, text)), take),
                None => all().for_each(|text| take(Some(text))),
            }
            if !numbers {
                return Err(NOT_NUMBERS);
            }
            items.arrange(part, options.descending, |a, b| {
                elements.get(a).cmp(elements.get(b))
            });
        }
    }
    Ok(items)
}

fn sort(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, true)
}

fn sort_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, false)
}

fn run(ctx: &mut Ctx<'_>, may_store: bool) -> CmdResult {
    let mut options = Options::parse(ctx, may_store)?;
    let (db, key, scripted) = (ctx.db, ctx.arg(1), ctx.mode == Mode::Script);
    let (elements, from, count) = load(ctx.state, db, key, &mut options, scripted)?;
    let items = arrange(ctx.state, db, &options, &elements, (from, count))?;

    let shown = items.numbers(from..from + count).map(|at| elements.get(at));
    let width = options.get.len().max(1);
    if let Some(target) = options.store {
        let mut results = Texts::default();
        if options.get.is_empty() {
            shown.for_each(|text| results.push(text));
        } else {
            let gets = shown.flat_map(|text| options.get.iter().map(move |get| (get, text)));
            look_up(ctx.state, db, gets, |found| {
                results.push(found.unwrap_or_default());
            });
        }
        return store(ctx, target, &results);
    }
    ctx.out.array(count * width);
    if options.get.is_empty() {
        shown.for_each(|text| ctx.out.bulk(text));
    } else {
        let out = &mut *ctx.out;
        let gets = shown.flat_map(|text| options.get.iter().map(move |get| (get, text)));
        look_up(ctx.state, db, gets, |found| match found {
            Some(text) => out.bulk(text),
            None => out.null(),
        });
    }
    Ok(Outcome::Done)
}

/// Stores the result as a list, in the place of whatever is there.
fn store(ctx: &mut Ctx<'_>, target: &[u8], results: &Texts) -> CmdResult {
    let limits = list::limits(ctx.state);
    let count = results.len();
    let mut list = List::new();
    list.expect(results.bytes.len(), count, &limits);
    for at in 0..count {
        list.push(End::Back, Val::of(results.get(at)), &limits);
    }
    ctx.store(target, list, Event::SORTSTORE, count);
    ctx.int(count as i64)
}
