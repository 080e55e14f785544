//! Members by chance: SPOP and SRANDMEMBER.

use super::{limits, read};
use crate::base::num;
use crate::base::rng::Rng;
use crate::commands::draw;
use crate::commands::vals;
use crate::ds::listpack::Val;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, NOT_POSITIVE, SYNTAX};
use crate::state::notify::Event;
use crate::types::Kind;
use crate::types::set::{Set, SetRef};

const COUNT_RANGE: CmdError = CmdError::new(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);
/// Members that one SREM takes to the log.
const LOGGED_TOGETHER: usize = 1024;

pub(super) fn spop(ctx: &mut Ctx<'_>) -> CmdResult {
    match ctx.argc() {
        2 => pop_one(ctx),
        3 => pop_count(ctx),
        _ => Err(SYNTAX),
    }
}

fn pop_one(ctx: &mut Ctx<'_>) -> CmdResult {
    let (db, key) = (ctx.db, ctx.arg(1));
    let Some(slot) = ctx.write_kind(key, Kind::Set)? else {
        ctx.out.null();
        return Ok(Outcome::Done);
    };
    let (state, out) = (&mut *ctx.state, &mut *ctx.out);
    let (rng, prop) = (&mut state.rng, &mut state.prop);
    let (left, _) = state.dbs[db].update::<Set, _>(slot, |set| {
        set.pop(rng, |member| {
            // By name: whoever reads the log would draw another one.
            prop.replace(&[b"SREM", key, member.text(&mut [0; 20])]);
            vals::reply(out, Some(member));
        })
    })?;
    ctx.modified(key, Event::SPOP, 1);
    if left.is_none() {
        ctx.state.notify(db, key, Event::DEL);
    }
    Ok(Outcome::Done)
}

fn pop_count(ctx: &mut Ctx<'_>) -> CmdResult {
    let (db, key) = (ctx.db, ctx.arg(1));
    let count = num::parse_i64(ctx.arg(2)).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(NOT_POSITIVE)?;
    let Some(slot) = ctx.write_kind(key, Kind::Set)? else {
        ctx.out.set(0);
        return Ok(Outcome::Done);
    };
    if count == 0 {
        ctx.out.set(0);
        return Ok(Outcome::Done);
    }
    let set = ctx.state.dbs[db].entry(slot).get::<Set>()?;
    let len = set.len();
    if count >= len {
        ctx.out.set(len);
        set.iter()
            .for_each(|member| vals::reply(ctx.out, Some(member)));
        let lazy = ctx.state.config.lazyfree_lazy_server_del;
        ctx.state.remove(db, slot, lazy);
        ctx.propagate_as(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
        ctx.modified(key, Event::SPOP, len);
        ctx.state.notify(db, key, Event::DEL);
        return Ok(Outcome::Done);
    }

    let limits = limits(ctx.state);
    ctx.out.set(count);
    let (state, out) = (&mut *ctx.state, &mut *ctx.out);
    let (rng, prop) = (&mut state.rng, &mut state.prop);
    let mut log = Batch::default();
    let (_, popped) = state.dbs[db].update::<Set, _>(slot, |set| {
        set.pop_many(count, rng, &limits, |member| {
            vals::reply(out, Some(member));
            if prop.on {
                log.add(member);
                if log.ends.len() == LOGGED_TOGETHER {
                    prop.also(&log.request(key));
                    log = Batch::default();
                }
            }
        })
    })?;
    if !log.ends.is_empty() {
        prop.also(&log.request(key));
    }
    if let Some(rest) = popped.rest {
        state.garbage.later(rest, 1);
    }
    ctx.modified(key, Event::SPOP, count);
    Ok(Outcome::Done)
}

/// Members on their way to the log.
#[derive(Default)]
struct Batch {
    texts: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    fn add(&mut self, member: Val<'_>) {
        self.texts.extend_from_slice(member.text(&mut [0; 20]));
        self.ends.push(self.texts.len());
    }

    fn request<'a>(&'a self, key: &'a [u8]) -> Vec<&'a [u8]> {
        let mut request: Vec<&[u8]> = vec![b"SREM", key];
        let mut from = 0;
        for end in &self.ends {
            request.push(&self.texts[from..*end]);
            from = *end;
        }
        request
    }
}

pub(super) fn srandmember(ctx: &mut Ctx<'_>) -> CmdResult {
    let mut rng = Rng::from_seed(ctx.state.rng.next_u64());
    let key = ctx.arg(1);
    let count = match ctx.argc() {
        2 => {
            let drawn = read(ctx.state, ctx.db, key)?.and_then(|set| set.random(&mut rng));
            vals::reply(ctx.out, drawn);
            return Ok(Outcome::Done);
        }
        3 => num::parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?,
        _ => return Err(SYNTAX),
    };
    if count == i64::MIN {
        return Err(COUNT_RANGE);
    }
    let wanted = usize::try_from(count.unsigned_abs()).map_err(|_| NOT_INTEGER)?;
    let Some(set) = read(ctx.state, ctx.db, key)? else {
        ctx.out.empty_array();
        return Ok(Outcome::Done);
    };
    let out = &mut *ctx.out;
    if count >= 0 {
        out.array(wanted.min(set.len()));
        draw::different(set, wanted, &mut rng, |member| {
            vals::reply(out, Some(member));
            vals::go_on(out)
        });
    } else {
        out.array(wanted);
        draw::repeatedly(set, wanted, &mut rng, |member| {
            vals::reply(out, Some(member));
            vals::go_on(out)
        });
    }
    Ok(Outcome::Done)
}

impl<'a> draw::Pool for SetRef<'a> {
    type Item = Val<'a>;
    type Id = Val<'a>;

    fn size(self) -> usize {
        self.len()
    }

    fn elements(self) -> impl Iterator<Item = Val<'a>> {
        self.iter()
    }

    fn random(self, rng: &mut Rng) -> Option<Val<'a>> {
        SetRef::random(self, rng)
    }

    fn walks(self) -> bool {
        matches!(self, SetRef::Pack(_))
    }

    fn id(member: Val<'a>) -> Val<'a> {
        member
    }
}
