//! XREAD and XREADGROUP, and how they wait.
//!
//! A request that waits is run again when one of its keys was written, so nothing here knows
//! whether it runs for the first time. Only `$` has to be remembered: it is the last id at the time
//! the request came, and the request is parked with that id in its place.

use super::{parse_id, read, reply_entry, reply_one, reply_range};
use crate::base::num;
use crate::exec::command::{Begin, CmdResult, Find, KeyAt, KeySpec, Outcome, key_flag as k};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX, shown};
use crate::exec::unit::Wait;
use crate::resp::argv::Argv;
use crate::resp::reply::Writer;
use crate::resp::request::OwnedArgv;
use crate::state::client::TimeoutReply;
use crate::state::notify::Event;
use crate::state::prop::Propagation;
use crate::types::Kind;
use crate::types::stream::{ConsumerId, Delivery, Entries, Group, Stream, StreamId, TEXT_MAX};

const fn behind_streams(from: i32) -> KeySpec {
    KeySpec {
        flags: k::RO | k::ACCESS,
        begin: Begin::Keyword("STREAMS", from),
        find: Find::Range {
            last: -1,
            step: 1,
            limit: 2,
        },
    }
}

pub(super) const XREAD_KEYS: &[KeySpec] = &[behind_streams(1)];
pub(super) const XREADGROUP_KEYS: &[KeySpec] = &[behind_streams(4)];

const GROUP_IN_XREAD: CmdError = CmdError::new(
    "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
);
const NOACK_IN_XREAD: CmdError = CmdError::new(
    "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
);
const GROUP_MISSING: CmdError = CmdError::new("ERR Missing GROUP option for XREADGROUP");
const NEW_IN_XREAD: CmdError = CmdError::new(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
     <consumer> option.",
);
const END_IN_XREADGROUP: CmdError = CmdError::new(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of \
     this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would \
     just return an empty result set.",
);
const LAST_IN_XREADGROUP: CmdError = CmdError::new(
    "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of \
     this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would \
     just return an empty result set.",
);

/// The id that stands for `>`: what nobody in the group was given yet.
const NEW: StreamId = StreamId::MAX;

/// A request of either command.
struct Request<'a> {
    /// Keys, then as many ids.
    streams: Argv<'a>,
    /// 0: all.
    count: u64,
    /// When the waiting ends.
    deadline_ms: Option<u64>,
    /// Group and consumer.
    group: Option<(&'a [u8], &'a [u8])>,
    noack: bool,
}

impl<'a> Request<'a> {
    fn parse(ctx: &Ctx<'a>, with_group: bool) -> Result<Request<'a>, CmdError> {
        let argv = ctx.argv;
        let mut request = Request {
            streams: argv.from(argv.len()),
            count: 0,
            deadline_ms: None,
            group: None,
            noack: false,
        };
        let mut at = 1;
        loop {
            if at >= argv.len() {
                // STREAMS was not there.
                return Err(SYNTAX);
            }
            let (word, more) = (argv.get(at), argv.len() - 1 - at);
            if more > 0 && word.eq_ignore_ascii_case(b"block") {
                at += 1;
                request.deadline_ms = Some(ctx.deadline_ms(argv.get(at))?);
                if ctx.mode == Mode::Script {
                    return Err(CmdError::owned(format!(
                        "ERR {} command is not allowed with BLOCK option from scripts",
                        ctx.table.name(ctx.id)
                    )));
                }
            } else if more > 0 && word.eq_ignore_ascii_case(b"count") {
                at += 1;
                let count = num::parse_i64(argv.get(at)).ok_or(NOT_INTEGER)?;
                request.count = count.max(0).cast_unsigned();
            } else if more > 0 && word.eq_ignore_ascii_case(b"streams") {
                request.streams = argv.from(at + 1);
                if request.streams.len() % 2 == 1 {
                    return Err(unbalanced(with_group));
                }
                break;
            } else if more > 1 && word.eq_ignore_ascii_case(b"group") {
                if !with_group {
                    return Err(GROUP_IN_XREAD);
                }
                request.group = Some((argv.get(at + 1), argv.get(at + 2)));
                at += 2;
            } else if word.eq_ignore_ascii_case(b"noack") {
                if !with_group {
                    return Err(NOACK_IN_XREAD);
                }
                request.noack = true;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        if with_group && request.group.is_none() {
            return Err(GROUP_MISSING);
        }
        Ok(request)
    }

    fn keys(&self) -> Argv<'a> {
        self.streams.first(self.streams.len() / 2)
    }

    fn ids(&self) -> Argv<'a> {
        self.streams.from(self.streams.len() / 2)
    }

    /// Nothing to give: the client waits, or is answered null.
    fn wait(&self, ctx: &mut Ctx<'_>, ids: &[StreamId]) -> CmdResult {
        let Some(deadline_ms) = self.deadline_ms.filter(|_| ctx.may_block()) else {
            ctx.out.null_array();
            return Ok(Outcome::Done);
        };
        let keys: Vec<&[u8]> = self.keys().iter().collect();
        let outcome = ctx.block_on(&Wait {
            keys: &keys,
            kind: Kind::Stream,
            // A group goes with its key, and whoever reads through it must learn of it.
            wants_absence: self.group.is_some(),
            deadline_ms,
            on_timeout: TimeoutReply::NullArray,
        });
        if let Some(argv) = self.settled(ctx.argv, ids)
            // Not there when the request runs again: it was settled the first time.
            && let Some(parked) = &mut ctx.client().parked
        {
            parked.argv = argv;
        }
        Ok(outcome)
    }

    /// The request with an id for each `$`, if it has any.
    fn settled(&self, argv: Argv<'_>, ids: &[StreamId]) -> Option<Box<OwnedArgv>> {
        self.ids().iter().find(|id| *id == b"$")?;
        let first_id = argv.len() - ids.len();
        let mut owned = Box::<OwnedArgv>::default();
        for (at, arg) in argv.iter().enumerate() {
            match at.checked_sub(first_id) {
                Some(n) if arg == b"$" => owned.push(ids[n].text(&mut [0; TEXT_MAX])),
                _ => owned.push(arg),
            }
        }
        Some(owned)
    }
}

fn unbalanced(with_group: bool) -> CmdError {
    let (name, symbol) = if with_group {
        ("xreadgroup", '>')
    } else {
        ("xread", '$')
    };
    CmdError::owned(format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be \
         specified."
    ))
}

/// The keys of a request that the key spec does not fit.
pub(super) fn find_keys(argv: Argv<'_>) -> Result<Vec<KeyAt>, CmdError> {
    let mut at = 1;
    while at < argv.len() {
        let word = argv.get(at);
        if word.eq_ignore_ascii_case(b"streams") {
            let count = argv.len() - at - 1;
            if count == 0 || count % 2 == 1 {
                break;
            }
            let flags = k::RO | k::ACCESS;
            let keys = at + 1..at + 1 + count / 2;
            return Ok(keys.map(|at| KeyAt { at, flags }).collect());
        }
        at += if word.eq_ignore_ascii_case(b"block") || word.eq_ignore_ascii_case(b"count") {
            2
        } else if word.eq_ignore_ascii_case(b"group") {
            3
        } else if word.eq_ignore_ascii_case(b"noack") {
            1
        } else {
            break;
        };
    }
    Err(SYNTAX)
}

pub(super) fn xread(ctx: &mut Ctx<'_>) -> CmdResult {
    let request = Request::parse(ctx, false)?;
    let (keys, mut after) = (request.keys(), Vec::with_capacity(request.ids().len()));
    for (key, id) in keys.iter().zip(request.ids().iter()) {
        let stream = read(ctx.state, ctx.db, key)?;
        after.push(match id {
            b"$" => stream.map_or(StreamId::ZERO, |stream| stream.last_id),
            // The last entry there is, or the first one to come.
            b"+" => stream
                .and_then(Entries::last_entry)
                .and_then(StreamId::prev)
                .or(stream.map(|stream| stream.last_id))
                .unwrap_or(StreamId::ZERO),
            b">" => return Err(NEW_IN_XREAD),
            id => parse_id(id)?,
        });
    }

    let mut served = Served::new(ctx.out, keys.len());
    for (key, after) in keys.iter().zip(&after) {
        let Some(stream) = read(ctx.state, ctx.db, key)? else {
            continue;
        };
        if stream.last_entry().is_some_and(|last| last > *after)
            && let Some(start) = after.next()
        {
            let out = served.begin(key);
            reply_range(
                out,
                stream.range(start, StreamId::MAX, false),
                request.count,
            );
        }
    }
    if served.end() {
        return Ok(Outcome::Done);
    }
    request.wait(ctx, &after)
}

/// The reply under construction: streams by their keys, of which at least one has something.
struct Served<'o> {
    out: &'o mut Writer,
    /// Header of the whole, unless only one stream can be in it.
    hole: Option<crate::resp::reply::Hole>,
    asked: usize,
    count: usize,
}

impl<'o> Served<'o> {
    fn new(out: &'o mut Writer, asked: usize) -> Served<'o> {
        Served {
            out,
            hole: None,
            asked,
            count: 0,
        }
    }

    /// Begins a stream's part, to be followed by an array.
    fn begin(&mut self, key: &[u8]) -> &mut Writer {
        if self.count == 0 && self.asked > 1 {
            self.hole = Some(self.out.open());
        } else if self.count == 0 && self.out.resp3 {
            self.out.map(1);
        } else if self.count == 0 {
            self.out.array(1);
        }
        self.count += 1;
        if !self.out.resp3 {
            self.out.array(2);
        }
        self.out.bulk(key);
        self.out
    }

    /// Ends the reply; false if there is none.
    fn end(self) -> bool {
        match self.hole {
            Some(hole) if self.out.resp3 => self.out.close_map(hole, self.count),
            Some(hole) => self.out.close_array(hole, self.count),
            None => {}
        }
        self.count > 0
    }
}

pub(super) fn xreadgroup(ctx: &mut Ctx<'_>) -> CmdResult {
    let request = Request::parse(ctx, true)?;
    let (group, consumer) = request.group.ok_or(GROUP_MISSING)?;
    let (keys, mut after) = (request.keys(), Vec::with_capacity(request.ids().len()));
    for (key, id) in keys.iter().zip(request.ids().iter()) {
        let stream = read(ctx.state, ctx.db, key)?;
        if stream.and_then(|stream| stream.group(group)).is_none() {
            return Err(no_group(key, group));
        }
        after.push(match id {
            b"$" => return Err(END_IN_XREADGROUP),
            b"+" => return Err(LAST_IN_XREADGROUP),
            b">" => NEW,
            id => parse_id(id)?,
        });
    }

    // What is logged is said below, entry by entry.
    ctx.propagate_nothing();
    let (db, now_ms) = (ctx.db, ctx.state.clock.unix_ms);
    let (mut served, mut created) = (Served::new(ctx.out, keys.len()), 0);
    for (key, after) in keys.iter().zip(&after) {
        // A reader's look-up, though it writes: that is how Redis counts it.
        if ctx.state.lookup_read(ctx.db, key).is_none() {
            continue;
        }
        let Some(slot) = ctx.state.dbs.find(ctx.db, key) else {
            continue;
        };
        let prop = &mut ctx.state.prop;
        let mut is_new = false;
        let serve = |stream: &mut Stream| {
            let Some(mut taken) = stream.take_group(group) else {
                return;
            };
            let consumer = taken.find_consumer(consumer).unwrap_or_else(|| {
                is_new = true;
                taken.create_consumer(consumer, now_ms)
            });
            taken.consumer_mut(consumer).seen_ms = now_ms;
            let mut delivering = Delivering {
                db,
                entries: stream,
                group: &mut taken,
                consumer,
                now_ms,
                log: prop.on.then_some(Log {
                    prop: &mut *prop,
                    key,
                    group,
                }),
            };
            delivering.serve(*after, &request, is_new, &mut served, key);
            stream.put_group(group, taken);
        };
        ctx.state.dbs[ctx.db].update::<Stream, _>(slot, serve)?;
        if is_new {
            created += 1;
            ctx.state.notify(ctx.db, key, Event::XGROUP_CREATECONSUMER);
        }
    }
    let count = served.count;
    ctx.state.dirty += created + count as u64;
    if served.end() {
        return Ok(Outcome::Done);
    }
    let outcome = request.wait(ctx, &after);
    if outcome == Ok(Outcome::Block) {
        // Consumers that were made were logged as the unit's own; the choice was for this run.
        ctx.state.prop.reset_choice();
    }
    outcome
}

/// The error for a group that is not there, or its key.
fn no_group(key: &[u8], group: &[u8]) -> CmdError {
    CmdError::owned_bytes(
        [
            b"NOGROUP No such key '".as_slice(),
            shown(key, usize::MAX),
            b"' or consumer group '",
            shown(group, usize::MAX),
            b"' in XREADGROUP with GROUP option",
        ]
        .concat(),
    )
}

/// One stream, read through a group, which was taken out of it.
struct Delivering<'a> {
    db: usize,
    entries: &'a Entries,
    group: &'a mut Group,
    consumer: ConsumerId,
    now_ms: i64,
    log: Option<Log<'a>>,
}

impl Delivering<'_> {
    fn serve(
        &mut self,
        after: StreamId,
        request: &Request<'_>,
        is_new: bool,
        served: &mut Served<'_>,
        key: &[u8],
    ) {
        let last = self.group.last_id;
        let has_news = after == NEW && self.entries.last_entry().is_some_and(|top| top > last);
        if let Some(log) = &mut self.log
            && is_new
            && (request.noack || !has_news)
        {
            // No claim will tell of it.
            log.consumer(self.group.consumer(self.consumer).name(), self.db);
        }
        if after != NEW {
            if let Some(start) = after.next() {
                self.history(start, request.count, served.begin(key));
            }
        } else if has_news && let Some(start) = last.next() {
            self.news(start, request, served.begin(key));
        }
    }

    /// Entries that nobody was given yet.
    fn news(&mut self, start: StreamId, request: &Request<'_>, out: &mut Writer) {
        let hole = out.open();
        let mut range = self.entries.range(start, StreamId::MAX, false);
        let mut n = 0;
        while let Some(entry) = range.entry() {
            self.advance(entry.id);
            reply_entry(out, entry.id, entry.fields, &mut range);
            if !request.noack {
                self.give(entry.id);
            }
            n += 1;
            if n as u64 == request.count {
                break;
            }
        }
        out.close_array(hole, n);
        if let Some(log) = &mut self.log {
            log.group_id(self.group);
        }
    }

    /// The group has come to this entry.
    fn advance(&mut self, id: StreamId) {
        let read = match self.group.entries_read() {
            // It is counted as long as nothing is missing ahead.
            Some(read) if !self.entries.has_gaps_from(id) => Some(read.wrapping_add(1)),
            read if self.entries.entries_added == 0 => read,
            _ => self.entries.distance_from_first(id),
        };
        self.group.set_entries_read(read);
        self.group.last_id = id;
    }

    /// The consumer has the entry until it acknowledges it.
    fn give(&mut self, id: StreamId) {
        let delivery = Delivery {
            time_ms: self.now_ms,
            count: 1,
            consumer: self.consumer,
        };
        self.group.deliver(id, delivery);
        self.group.consumer_mut(self.consumer).active_ms = Some(self.now_ms);
        if let Some(log) = &mut self.log {
            log.claim(self.group, id.text(&mut [0; TEXT_MAX]), delivery);
        }
    }

    /// Entries that the consumer was given and has not acknowledged; null for those that are gone.
    fn history(&mut self, start: StreamId, count: u64, out: &mut Writer) {
        let hole = out.open();
        let most = if count == 0 {
            usize::MAX
        } else {
            usize::try_from(count).unwrap_or(usize::MAX)
        };
        let own = self.group.consumer(self.consumer).pending().range(start..);
        let ids: Vec<StreamId> = own.take(most).copied().collect();
        for id in &ids {
            if !reply_one(out, self.entries, *id) {
                out.array(2);
                super::reply_id(out, *id);
                out.null_array();
            } else if let Some(mut delivery) = self.group.delivery(*id) {
                delivery.time_ms = self.now_ms;
                delivery.count = delivery.count.wrapping_add(1);
                self.group.deliver(*id, delivery);
            }
        }
        out.close_array(hole, ids.len());
    }
}

/// Tells the log what reading through a group changes.
pub(super) struct Log<'a> {
    pub(super) prop: &'a mut Propagation,
    pub(super) key: &'a [u8],
    pub(super) group: &'a [u8],
}

impl Log<'_> {
    /// A consumer came into being.
    pub(super) fn consumer(&mut self, name: &[u8], db: usize) {
        // Even if the request waits then, and chooses nothing for the log.
        let argv: [&[u8]; 5] = [b"XGROUP", b"CREATECONSUMER", self.key, self.group, name];
        self.prop.push_own(db, &argv);
    }

    /// An entry is pending with a consumer, or would be were it still there.
    pub(super) fn claim(&mut self, group: &Group, id: &[u8], delivery: Delivery) {
        let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        self.prop.also(&[
            b"XCLAIM",
            self.key,
            self.group,
            group.consumer(delivery.consumer).name(),
            b"0",
            id,
            b"TIME",
            time.format(delivery.time_ms).as_bytes(),
            b"RETRYCOUNT",
            count.format(delivery.count).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            group.last_id.text(&mut [0; TEXT_MAX]),
        ]);
    }

    /// How far the group is.
    pub(super) fn group_id(&mut self, group: &Group) {
        let read = group.entries_read().unwrap_or(-1);
        self.prop.also(&[
            b"XGROUP",
            b"SETID",
            self.key,
            self.group,
            group.last_id.text(&mut [0; TEXT_MAX]),
            b"ENTRIESREAD",
            itoa::Buffer::new().format(read).as_bytes(),
        ]);
    }
}
