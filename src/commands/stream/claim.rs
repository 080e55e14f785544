//! XPENDING, XCLAIM and XAUTOCLAIM: what is pending, and who takes it over.

use super::read::Log;
use super::{parse_end, parse_id, parse_start, read, read_slot, reply_id, reply_one};
use crate::base::num;
use crate::ds::table::Slot;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX, shown};
use crate::resp::reply::Writer;
use crate::state::notify::Event;
use crate::types::stream::{ConsumerId, Delivery, Entries, Group, Stream, StreamId, TEXT_MAX};

/// The error for a group that is not there, or its key.
fn no_group(key: &[u8], group: &[u8]) -> CmdError {
    CmdError::owned_bytes(
        [
            b"NOGROUP No such key '".as_slice(),
            shown(key, usize::MAX),
            b"' or consumer group '",
            shown(group, usize::MAX),
            b"'",
        ]
        .concat(),
    )
}

/// A number, or an error that tells which one.
fn number(text: &[u8], error: &'static str) -> Result<i64, CmdError> {
    num::parse_i64(text).ok_or(CmdError::new(error))
}

/// What XPENDING is asked beyond a summary.
struct Search<'a> {
    start: StreamId,
    end: StreamId,
    count: u64,
    /// Idle for at least so long.
    idle_ms: i64,
    consumer: Option<&'a [u8]>,
}

impl<'a> Search<'a> {
    fn parse(ctx: &Ctx<'a>) -> Result<Option<Search<'a>>, CmdError> {
        let argv = ctx.argv;
        if argv.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&argv.len()) {
            return Err(SYNTAX);
        }
        let (mut at, mut idle_ms) = (3, 0);
        if argv.get(3).eq_ignore_ascii_case(b"idle") {
            idle_ms = num::parse_i64(argv.get(4)).ok_or(NOT_INTEGER)?;
            if argv.len() < 8 {
                return Err(SYNTAX);
            }
            at = 5;
        }
        let count = num::parse_i64(argv.get(at + 2)).ok_or(NOT_INTEGER)?;
        let start = parse_start(argv.get(at))?;
        let end = parse_end(argv.get(at + 1))?;
        Ok(Some(Search {
            start,
            end,
            count: count.max(0).cast_unsigned(),
            idle_ms,
            consumer: argv.from(at + 3).iter().next(),
        }))
    }
}

pub(super) fn xpending(ctx: &mut Ctx<'_>) -> CmdResult {
    let (key, name) = (ctx.arg(1), ctx.arg(2));
    let search = Search::parse(ctx)?;
    let now_ms = ctx.state.clock.unix_ms;
    let stream = read(ctx.state, ctx.db, key)?;
    let group = stream.and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_group(key, name))?;
    match search {
        None => summary(ctx.out, group),
        Some(search) => list(ctx.out, group, &search, now_ms),
    }
    Ok(Outcome::Done)
}

fn summary(out: &mut Writer, group: &Group) {
    let pending = group.pending();
    out.array(4);
    out.int(pending.len() as i64);
    let (Some((first, _)), Some((last, _))) = (pending.first_key_value(), pending.last_key_value())
    else {
        out.null();
        out.null();
        return out.null_array();
    };
    reply_id(out, *first);
    reply_id(out, *last);
    let busy = || {
        group
            .consumers()
            .filter(|consumer| !consumer.pending().is_empty())
    };
    out.array(busy().count());
    for consumer in busy() {
        out.array(2);
        out.bulk(consumer.name());
        out.bulk_int(consumer.pending().len() as i64);
    }
}

fn list(out: &mut Writer, group: &Group, search: &Search<'_>, now_ms: i64) {
    let consumer = match search.consumer.map(|name| group.find_consumer(name)) {
        Some(None) => return out.empty_array(),
        found => found.flatten(),
    };
    if search.start > search.end {
        return out.empty_array();
    }
    let range = search.start..=search.end;
    match consumer {
        None => {
            let all = group.pending().range(range);
            let all = all.map(|(id, delivery)| (*id, *delivery));
            list_each(out, group, search, now_ms, all);
        }
        Some(consumer) => {
            let own = group.consumer(consumer).pending().range(range);
            let own = own.filter_map(|id| Some((*id, group.delivery(*id)?)));
            list_each(out, group, search, now_ms, own);
        }
    }
}

fn list_each(
    out: &mut Writer,
    group: &Group,
    search: &Search<'_>,
    now_ms: i64,
    pending: impl Iterator<Item = (StreamId, Delivery)>,
) {
    let hole = out.open();
    let mut n = 0;
    for (id, delivery) in pending {
        if n == search.count {
            break;
        }
        let idle_ms = now_ms.wrapping_sub(delivery.time_ms);
        if search.idle_ms != 0 && idle_ms < search.idle_ms {
            continue;
        }
        n += 1;
        out.array(4);
        reply_id(out, id);
        out.bulk(group.consumer(delivery.consumer).name());
        out.int(idle_ms.max(0));
        out.int(delivery.count.cast_signed());
    }
    out.close_array(hole, n as usize);
}

/// The slot of a stream that has the request's group.
fn find_group(ctx: &mut Ctx<'_>) -> Result<Slot, CmdError> {
    let (db, key, name) = (ctx.db, ctx.arg(1), ctx.arg(2));
    let slot = read_slot(ctx, key)?.ok_or_else(|| no_group(key, name))?;
    let stream = ctx.state.dbs[db].entry(slot).get::<Stream>()?;
    stream.group(name).ok_or_else(|| no_group(key, name))?;
    Ok(slot)
}

/// A stream while a consumer takes entries over, its group taken out of it.
struct Claiming<'a> {
    entries: &'a Entries,
    group: &'a mut Group,
    consumer: ConsumerId,
    log: Option<Log<'a>>,
    /// The consumer was made for this, and no claim has told the log of it.
    untold: bool,
    changes: u64,
}

impl Claiming<'_> {
    /// An entry that is pending no longer exists: nobody has it any more.
    fn drop_gone(&mut self, id: StreamId, text: &[u8], delivery: Delivery) {
        if let Some(log) = &mut self.log {
            log.claim(self.group, text, delivery);
        }
        self.group.forget(id);
        self.changes += 1;
    }

    /// The consumer has the entry now.
    fn take(&mut self, id: StreamId, text: &[u8], delivery: Delivery, now_ms: i64) {
        self.group.deliver(id, delivery);
        self.group.consumer_mut(self.consumer).active_ms = Some(now_ms);
        if let Some(log) = &mut self.log {
            log.claim(self.group, text, delivery);
        }
        self.untold = false;
        self.changes += 1;
    }
}

/// Lets the request's consumer, which is made if need be, take entries of the request's group over.
/// The log gets what is done, not the request.
fn claiming<R>(
    ctx: &mut Ctx<'_>,
    slot: Slot,
    claim: impl FnOnce(&mut Claiming<'_>, &mut Writer) -> R,
) -> Result<(), CmdError> {
    ctx.propagate_nothing();
    let (key, name, consumer_name) = (ctx.arg(1), ctx.arg(2), ctx.arg(3));
    let (db, now_ms) = (ctx.db, ctx.state.clock.unix_ms);
    let (out, prop) = (&mut *ctx.out, &mut ctx.state.prop);
    let mut created = false;
    let change = |stream: &mut Stream| {
        let Some(mut group) = stream.take_group(name) else {
            return 0;
        };
        let consumer = group.find_consumer(consumer_name).unwrap_or_else(|| {
            created = true;
            group.create_consumer(consumer_name, now_ms)
        });
        group.consumer_mut(consumer).seen_ms = now_ms;
        let mut claiming = Claiming {
            entries: stream,
            group: &mut group,
            consumer,
            log: prop.on.then_some(Log {
                prop,
                key,
                group: name,
            }),
            untold: created,
            changes: 0,
        };
        claim(&mut claiming, out);
        if claiming.untold
            && let Some(log) = &mut claiming.log
        {
            log.consumer(consumer_name, db);
        }
        let changes = claiming.changes;
        stream.put_group(name, group);
        changes
    };
    let (_, changes) = ctx.state.dbs[ctx.db].update::<Stream, u64>(slot, change)?;
    ctx.state.dirty += changes;
    if created {
        super::changed_aside(ctx, key, Event::XGROUP_CREATECONSUMER);
    }
    Ok(())
}

/// What XCLAIM is to do with the entries named.
struct Claim {
    idle_min_ms: i64,
    ids: Vec<StreamId>,
    time_ms: i64,
    /// Negative: it goes up by one.
    retry_count: i64,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Claim {
    /// Where the ids begin.
    const IDS_AT: usize = 5;

    fn parse(ctx: &Ctx<'_>) -> Result<Claim, CmdError> {
        let (argv, now_ms) = (ctx.argv, ctx.state.clock.unix_ms);
        let idle_min_ms = number(argv.get(4), "ERR Invalid min-idle-time argument for XCLAIM")?;
        // What is no id may be an option.
        let ids = argv
            .from(Self::IDS_AT)
            .iter()
            .map_while(|id| parse_id(id).ok());
        let mut claim = Claim {
            idle_min_ms: idle_min_ms.max(0),
            ids: ids.collect(),
            time_ms: -1,
            retry_count: -1,
            force: false,
            just_id: false,
            last_id: StreamId::ZERO,
        };
        let mut at = Self::IDS_AT + claim.ids.len();
        while at < argv.len() {
            let (word, more) = (argv.get(at), at + 1 < argv.len());
            if word.eq_ignore_ascii_case(b"force") {
                claim.force = true;
            } else if word.eq_ignore_ascii_case(b"justid") {
                claim.just_id = true;
            } else if more && word.eq_ignore_ascii_case(b"idle") {
                at += 1;
                let idle = number(argv.get(at), "ERR Invalid IDLE option argument for XCLAIM")?;
                claim.time_ms = now_ms.wrapping_sub(idle);
            } else if more && word.eq_ignore_ascii_case(b"time") {
                at += 1;
                claim.time_ms =
                    number(argv.get(at), "ERR Invalid TIME option argument for XCLAIM")?;
            } else if more && word.eq_ignore_ascii_case(b"retrycount") {
                at += 1;
                claim.retry_count = number(
                    argv.get(at),
                    "ERR Invalid RETRYCOUNT option argument for XCLAIM",
                )?;
            } else if more && word.eq_ignore_ascii_case(b"lastid") {
                at += 1;
                claim.last_id = parse_id(argv.get(at))?;
            } else {
                return Err(CmdError::showing(
                    "ERR Unrecognized XCLAIM option '",
                    word,
                    "'",
                ));
            }
            at += 1;
        }
        // A time that cannot be, a client's clock being ahead of ours perhaps, is no error.
        if claim.time_ms < 0 || claim.time_ms > now_ms {
            claim.time_ms = now_ms;
        }
        Ok(claim)
    }
}

pub(super) fn xclaim(ctx: &mut Ctx<'_>) -> CmdResult {
    let slot = find_group(ctx)?;
    let claim = Claim::parse(ctx)?;
    let (now_ms, texts) = (ctx.state.clock.unix_ms, ctx.argv.from(Claim::IDS_AT));
    claiming(ctx, slot, |claiming, out| {
        let mut tell_last_id = claim.last_id > claiming.group.last_id;
        claiming.group.last_id = claiming.group.last_id.max(claim.last_id);
        let hole = out.open();
        let mut n = 0;
        for (&id, text) in claim.ids.iter().zip(texts.iter()) {
            let before = claiming.group.delivery(id);
            if !claiming.entries.has(id) {
                if let Some(delivery) = before {
                    claiming.drop_gone(id, text, delivery);
                    // An XCLAIM in the log tells the last id, too.
                    tell_last_id = false;
                }
                continue;
            }
            let Some(count) = claim.count_of(before, now_ms) else {
                continue;
            };
            let delivery = Delivery {
                time_ms: claim.time_ms,
                count,
                consumer: claiming.consumer,
            };
            if claim.just_id {
                reply_id(out, id);
            } else {
                reply_one(out, claiming.entries, id);
            }
            n += 1;
            claiming.take(id, text, delivery, now_ms);
            tell_last_id = false;
        }
        out.close_array(hole, n);
        if tell_last_id {
            if let Some(log) = &mut claiming.log {
                log.group_id(claiming.group);
            }
            claiming.changes += 1;
        }
    })?;
    Ok(Outcome::Done)
}

impl Claim {
    /// How often an entry that was pending like this, or was not, has been given out when it is
    /// claimed; none where it is not to be claimed.
    fn count_of(&self, before: Option<Delivery>, now_ms: i64) -> Option<u64> {
        let count = match before {
            Some(delivery) => {
                let idle_ms = now_ms.wrapping_sub(delivery.time_ms);
                if self.idle_min_ms != 0 && idle_ms < self.idle_min_ms {
                    return None;
                }
                delivery.count
            }
            None if self.force => 1,
            None => return None,
        };
        Some(match u64::try_from(self.retry_count) {
            Ok(given) => given,
            Err(_) if self.just_id => count,
            Err(_) => count.wrapping_add(1),
        })
    }
}

/// What XAUTOCLAIM is to look for.
struct Sweep {
    idle_min_ms: i64,
    start: StreamId,
    count: u64,
    just_id: bool,
}

impl Sweep {
    fn parse(ctx: &Ctx<'_>) -> Result<Sweep, CmdError> {
        const COUNT_RANGE: CmdError = CmdError::new("ERR COUNT must be > 0");
        // Redis wants that many ids to fit into its memory.
        const COUNT_MAX: i64 = i64::MAX / 16;
        let argv = ctx.argv;
        let idle_min_ms = number(
            argv.get(4),
            "ERR Invalid min-idle-time argument for XAUTOCLAIM",
        )?;
        let mut sweep = Sweep {
            idle_min_ms: idle_min_ms.max(0),
            start: parse_start(argv.get(5))?,
            count: 100,
            just_id: false,
        };
        let mut at = 6;
        while at < argv.len() {
            let word = argv.get(at);
            if word.eq_ignore_ascii_case(b"count") && at + 1 < argv.len() {
                at += 1;
                let count = num::parse_i64(argv.get(at)).ok_or(COUNT_RANGE)?;
                if !(1..=COUNT_MAX).contains(&count) {
                    return Err(COUNT_RANGE);
                }
                sweep.count = count.cast_unsigned();
            } else if word.eq_ignore_ascii_case(b"justid") {
                sweep.just_id = true;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(sweep)
    }
}

pub(super) fn xautoclaim(ctx: &mut Ctx<'_>) -> CmdResult {
    /// Entries looked at for each one wanted: those that are not idle for long enough cost time.
    const ATTEMPTS: u64 = 10;
    let sweep = Sweep::parse(ctx)?;
    let slot = find_group(ctx)?;
    let now_ms = ctx.state.clock.unix_ms;
    claiming(ctx, slot, |claiming, out| {
        let (mut claimed, mut gone) = (Vec::new(), Vec::new());
        let (mut next, mut left) = (Some(sweep.start), sweep.count);
        let mut attempts = sweep.count.saturating_mul(ATTEMPTS);
        let mut cursor = StreamId::ZERO;
        while let Some(from) = next {
            let found = claiming.group.pending().range(from..).next();
            let Some((id, before)) = found.map(|(id, delivery)| (*id, *delivery)) else {
                break;
            };
            if attempts == 0 || left == 0 {
                cursor = id;
                break;
            }
            attempts -= 1;
            next = id.next();
            let mut room = [0; TEXT_MAX];
            let text = id.text(&mut room);
            if !claiming.entries.has(id) {
                claiming.drop_gone(id, text, before);
                gone.push(id);
                left -= 1;
                continue;
            }
            let idle_ms = now_ms.wrapping_sub(before.time_ms);
            if sweep.idle_min_ms != 0 && idle_ms < sweep.idle_min_ms {
                continue;
            }
            let delivery = Delivery {
                time_ms: now_ms,
                count: before.count.wrapping_add(u64::from(!sweep.just_id)),
                consumer: claiming.consumer,
            };
            claiming.take(id, text, delivery, now_ms);
            claimed.push(id);
            left -= 1;
        }
        out.array(3);
        reply_id(out, cursor);
        out.array(claimed.len());
        for id in claimed {
            if sweep.just_id {
                reply_id(out, id);
            } else {
                reply_one(out, claiming.entries, id);
            }
        }
        out.array(gone.len());
        gone.into_iter().for_each(|id| reply_id(out, id));
    })?;
    Ok(Outcome::Done)
}
