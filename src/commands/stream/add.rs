//! XADD and XTRIM.

use super::{INVALID_ID, parse_id};
use crate::base::num;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::{Ctx, Mode};
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX, wrong_arity};
use crate::resp::argv::Argv;
use crate::state::notify::Event;
use crate::types::Kind;
use crate::types::stream::{BYTES_MAX, Limits, Partial, Refused, Stream, StreamId, TEXT_MAX, Trim};

const BOTH_STRATEGIES: CmdError =
    CmdError::new("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
const MAXLEN_NEGATIVE: CmdError = CmdError::new("ERR The MAXLEN argument must be >= 0.");
const LIMIT_NEGATIVE: CmdError = CmdError::new("ERR The LIMIT argument must be >= 0.");
const LIMIT_ALONE: CmdError =
    CmdError::new("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
const LIMIT_EXACT: CmdError =
    CmdError::new("ERR syntax error, LIMIT cannot be used without the special ~ option");
const NO_STRATEGY: CmdError =
    CmdError::new("ERR syntax error, XTRIM must be called with a trimming strategy");
const ID_ZERO: CmdError = CmdError::new("ERR The ID specified in XADD must be greater than 0-0");
const ID_SMALL: CmdError = CmdError::new(
    "ERR The ID specified in XADD is equal or smaller than the target stream top item",
);
const IDS_EXHAUSTED: CmdError =
    CmdError::new("ERR The stream has exhausted the last possible ID, unable to add more items");
const TOO_LARGE: CmdError = CmdError::new("ERR Elements are too large to be stored");

/// An option MAXLEN or MINID.
#[derive(Clone, Copy)]
struct Trimming {
    to: Trim,
    /// Whole nodes only.
    approx: bool,
    /// No more entries than this; 0: as many as there are.
    limit: u64,
    /// Which argument has the number or id; `~` stands before it.
    at: usize,
}

/// What stands between the key and the fields.
struct Options {
    trim: Option<Trimming>,
    make: bool,
    /// None: the server's to choose.
    id: Option<Partial>,
    /// Which argument is the id.
    id_at: usize,
}

impl Options {
    fn parse(ctx: &Ctx<'_>, adds: bool) -> Result<Options, CmdError> {
        let argv = ctx.argv;
        let mut options = Options {
            trim: None,
            make: true,
            id: None,
            id_at: argv.len(),
        };
        let mut limit = None;
        let mut at = 2;
        while at < argv.len() {
            let (word, more) = (argv.get(at), argv.len() - 1 - at);
            if adds && word == b"*" {
                options.id_at = at;
                break;
            } else if more > 0 && word.eq_ignore_ascii_case(b"maxlen") {
                let (number_at, approx) = options.begin_trim(argv, at)?;
                let len = num::parse_i64(argv.get(number_at)).ok_or(NOT_INTEGER)?;
                let len = u64::try_from(len).map_err(|_| MAXLEN_NEGATIVE)?;
                options.set_trim(Trim::MaxLen(len), number_at, approx);
                at = number_at;
            } else if more > 0 && word.eq_ignore_ascii_case(b"minid") {
                let (id_at, approx) = options.begin_trim(argv, at)?;
                let id = parse_id(argv.get(id_at))?;
                options.set_trim(Trim::MinId(id), id_at, approx);
                at = id_at;
            } else if more > 0 && word.eq_ignore_ascii_case(b"limit") {
                at += 1;
                let n = num::parse_i64(argv.get(at)).ok_or(NOT_INTEGER)?;
                limit = Some(u64::try_from(n).map_err(|_| LIMIT_NEGATIVE)?);
            } else if adds && word.eq_ignore_ascii_case(b"nomkstream") {
                options.make = false;
            } else if adds {
                options.id = Some(Partial::parse(word, 0).ok_or(INVALID_ID)?);
                options.id_at = at;
                break;
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        options.settle_limit(ctx, limit, adds)?;
        Ok(options)
    }

    /// Which argument has what a strategy at `at` trims to, and whether it is approximate.
    fn begin_trim(&self, argv: Argv<'_>, at: usize) -> Result<(usize, bool), CmdError> {
        if self.trim.is_some() {
            return Err(BOTH_STRATEGIES);
        }
        let sign = argv.get(at + 1);
        if at + 2 < argv.len() && (sign == b"~" || sign == b"=") {
            return Ok((at + 2, sign == b"~"));
        }
        Ok((at + 1, false))
    }

    fn set_trim(&mut self, to: Trim, at: usize, approx: bool) {
        self.trim = Some(Trimming {
            to,
            approx,
            limit: 0,
            at,
        });
    }

    /// The limit given, or where none is one that keeps the work of an approximate trim short.
    fn settle_limit(
        &mut self,
        ctx: &Ctx<'_>,
        limit: Option<u64>,
        adds: bool,
    ) -> Result<(), CmdError> {
        const LIMIT_DEFAULT: u64 = 10_000;
        const LIMIT_MAX: u64 = 1_000_000;
        const NODES: u64 = 100;
        let Some(trim) = &mut self.trim else {
            return match limit {
                Some(1..) => Err(LIMIT_ALONE),
                _ if !adds => Err(NO_STRATEGY),
                Some(0) if ctx.mode != Mode::Replay => Err(LIMIT_EXACT),
                _ => Ok(()),
            };
        };
        trim.limit = match limit {
            // What the log says was trimmed has to go, whatever it takes.
            _ if ctx.mode == Mode::Replay => 0,
            Some(_) if !trim.approx => return Err(LIMIT_EXACT),
            Some(limit) => limit,
            None if trim.approx => {
                let entries = ctx.state.config.stream_node_max_entries as u64;
                match entries.saturating_mul(NODES) {
                    0 => LIMIT_DEFAULT,
                    limit => limit.min(LIMIT_MAX),
                }
            }
            None => 0,
        };
        Ok(())
    }
}

/// What an XADD did.
struct Added {
    id: StreamId,
    trimmed: u64,
    len: u64,
    first_id: StreamId,
}

pub(super) fn xadd(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let options = Options::parse(ctx, true)?;
    let pairs = ctx.argv.from(options.id_at + 1);
    if pairs.len() < 2 || pairs.len() % 2 == 1 {
        return Err(wrong_arity("xadd"));
    }
    if options.id == Some(Partial::Whole(StreamId::ZERO)) {
        // Before a stream is made that would stay empty.
        return Err(ID_ZERO);
    }
    let limits = limits(ctx);
    let now_ms = ctx.state.clock.unix_ms.max(0).cast_unsigned();
    let change = |stream: &mut Stream| add(stream, &options, pairs, &limits, now_ms);
    let added = match ctx.write(key) {
        Some(slot) => ctx.state.dbs[ctx.db].update::<Stream, _>(slot, change)?.1?,
        None if !options.make => {
            ctx.out.null();
            return Ok(Outcome::Done);
        }
        None => {
            if pairs.iter().map(<[u8]>::len).sum::<usize>() > BYTES_MAX {
                return Err(TOO_LARGE);
            }
            let (_, added) = ctx.state.dbs.create::<Stream, _>(ctx.db, key, change);
            ctx.state.notify(ctx.db, key, Event::NEW);
            added?
        }
    };

    if ctx.state.prop.on {
        propagate(ctx, &options, &added);
    }
    ctx.modified(key, Event::XADD, 1);
    if added.trimmed > 0 {
        ctx.state.notify(ctx.db, key, Event::XTRIM);
    }
    ctx.out.bulk(added.id.text(&mut [0; TEXT_MAX]));
    Ok(Outcome::Done)
}

fn limits(ctx: &Ctx<'_>) -> Limits {
    Limits {
        bytes: ctx.state.config.stream_node_max_bytes,
        entries: ctx.state.config.stream_node_max_entries,
    }
}

#[inline]
fn add(
    stream: &mut Stream,
    options: &Options,
    pairs: Argv<'_>,
    limits: &Limits,
    now_ms: u64,
) -> Result<Added, CmdError> {
    let refused = |refused| match refused {
        Refused::NotAbove => ID_SMALL,
        Refused::TooLarge => TOO_LARGE,
    };
    if stream.last_id == StreamId::MAX {
        return Err(IDS_EXHAUSTED);
    }
    let id = match options.id {
        None => stream.next_id(now_ms).ok_or(IDS_EXHAUSTED)?,
        Some(Partial::Whole(id)) => id,
        Some(Partial::AnySeq(ms)) => stream.next_id_in(ms).map_err(refused)?,
    };
    stream.append(id, pairs, limits).map_err(refused)?;
    let trimmed = match &options.trim {
        Some(trim) => stream.trim(trim.to, trim.approx, trim.limit),
        None => 0,
    };
    Ok(Added {
        id,
        trimmed,
        len: stream.len(),
        first_id: stream.first_id(),
    })
}

/// The log gets the id that was chosen, and how much is left instead of how much might go.
fn propagate(ctx: &mut Ctx<'_>, options: &Options, added: &Added) {
    let approx = options.trim.filter(|trim| trim.approx);
    let chosen = !matches!(options.id, Some(Partial::Whole(_)));
    if !chosen && approx.is_none() {
        return;
    }
    let mut argv: Vec<&[u8]> = ctx.argv.iter().collect();
    let (mut id_room, mut left_room) = ([0; TEXT_MAX], [0; TEXT_MAX]);
    if chosen {
        argv[options.id_at] = added.id.text(&mut id_room);
    }
    if let Some(trim) = approx {
        argv[trim.at - 1] = b"=";
        argv[trim.at] = left(trim.to, added.len, added.first_id, &mut left_room);
    }
    ctx.state.prop.replace(&argv);
}

/// What an exact trim with the same outcome trims to.
fn left(to: Trim, len: u64, first_id: StreamId, room: &mut [u8; TEXT_MAX]) -> &[u8] {
    match to {
        Trim::MaxLen(_) => {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(len).as_bytes();
            room[..digits.len()].copy_from_slice(digits);
            &room[..digits.len()]
        }
        // Behind everything, where nothing is left.
        Trim::MinId(_) if len == 0 => StreamId::MAX.text(room),
        Trim::MinId(_) => first_id.text(room),
    }
}

pub(super) fn xtrim(ctx: &mut Ctx<'_>) -> CmdResult {
    let key = ctx.arg(1);
    let options = Options::parse(ctx, false)?;
    let trim = options.trim.ok_or(NO_STRATEGY)?;
    let Some(slot) = ctx.write_kind(key, Kind::Stream)? else {
        return ctx.int(0);
    };
    let change = |stream: &mut Stream| {
        let gone = stream.trim(trim.to, trim.approx, trim.limit);
        (gone, stream.len(), stream.first_id())
    };
    let (_, (gone, len, first_id)) = ctx.state.dbs[ctx.db].update::<Stream, _>(slot, change)?;
    if gone > 0 {
        if trim.approx && ctx.state.prop.on {
            let mut argv: Vec<&[u8]> = ctx.argv.iter().collect();
            let mut room = [0; TEXT_MAX];
            argv[trim.at - 1] = b"=";
            argv[trim.at] = left(trim.to, len, first_id, &mut room);
            ctx.state.prop.replace(&argv);
        }
        ctx.modified(key, Event::XTRIM, gone as usize);
    }
    ctx.int(gone.cast_signed())
}
