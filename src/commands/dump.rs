//! DUMP and RESTORE: a value as bytes that another server takes.

use crate::base::num::{fmt_i64, parse_i64};
use crate::exec::command::{
    CmdResult, Command, KEY1_OW, KEY1_RO, Outcome, acl::DANGEROUS, acl::KEYSPACE, acl::NONE, cmd,
    flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX};
use crate::exec::registry::Family;
use crate::state::notify::Event;
use crate::types::dump;
use crate::types::saved::complaint;
use flag::{ASKING, DENYOOM, READONLY, WRITE};

const COMMANDS: &[Command] = &[
    cmd("dump", 2, READONLY, NONE, KEY1_RO, dump_key),
    cmd("restore", -4, WRITE | DENYOOM, DANGEROUS, KEY1_OW, restore),
];

/// DUMP and RESTORE.
pub static FAMILY: Family = Family {
    group: "generic",
    acl: KEYSPACE,
    commands: COMMANDS,
};

/// RESTORE as a node of a cluster sends it to another.
pub static ASKING_FAMILY: Family = Family {
    group: "server",
    acl: KEYSPACE,
    commands: &[cmd(
        "restore-asking",
        -4,
        WRITE | DENYOOM | ASKING,
        DANGEROUS,
        KEY1_OW,
        restore,
    )],
};

const BUSY_KEY: CmdError = CmdError::new("BUSYKEY Target key name already exists.");
const BAD_TTL: CmdError = CmdError::new("ERR Invalid TTL value, must be >= 0");
const BAD_IDLE: CmdError = CmdError::new("ERR Invalid IDLETIME value, must be >= 0");
const BAD_FREQ: CmdError = CmdError::new("ERR Invalid FREQ value, must be >= 0 and <= 255");
const BAD_FRAME: CmdError = CmdError::new("ERR DUMP payload version or checksum are wrong");
const BAD_DATA: CmdError = CmdError::new("ERR Bad data format");

fn dump_key(ctx: &mut Ctx<'_>) -> CmdResult {
    let compress = ctx.state.config.rdbcompression;
    let Some(entry) = ctx.read(ctx.arg(1)) else {
        ctx.out.null();
        return Ok(Outcome::Done);
    };
    let payload = dump::dump(entry.value(), compress);
    ctx.out.bulk(&payload);
    Ok(Outcome::Done)
}

/// What stands behind the payload.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_s: Option<i64>,
    uses: Option<u8>,
}

impl Options {
    fn parse(ctx: &Ctx<'_>) -> Result<Options, CmdError> {
        let mut options = Options::default();
        let mut at = 4;
        while at < ctx.argc() {
            let word = ctx.arg(at);
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let has_value = at + 1 < ctx.argc();
            if is(b"replace") {
                options.replace = true;
            } else if is(b"absttl") {
                options.absolute = true;
            } else if is(b"idletime") && has_value && options.uses.is_none() {
                at += 1;
                let idle_s = parse_i64(ctx.arg(at)).ok_or(NOT_INTEGER)?;
                options.idle_s = Some(idle_s).filter(|idle_s| *idle_s >= 0);
                options.idle_s.ok_or(BAD_IDLE)?;
            } else if is(b"freq") && has_value && options.idle_s.is_none() {
                at += 1;
                let uses = parse_i64(ctx.arg(at)).ok_or(NOT_INTEGER)?;
                options.uses = Some(u8::try_from(uses).map_err(|_| BAD_FREQ)?);
            } else {
                return Err(SYNTAX);
            }
            at += 1;
        }
        Ok(options)
    }
}

fn restore(ctx: &mut Ctx<'_>) -> CmdResult {
    let options = Options::parse(ctx)?;
    let (db, key) = (ctx.db, ctx.arg(1));
    if !options.replace && ctx.write(key).is_some() {
        return Err(BUSY_KEY);
    }
    let ttl = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    if ttl < 0 {
        return Err(BAD_TTL);
    }
    let (body, version) =
        dump::open(ctx.arg(3), ctx.state.debug.skip_checksum).map_err(|_| BAD_FRAME)?;
    let how = ctx.state.loading(version);
    let mut room = Vec::new();
    let value = dump::load(body, &how, &mut room).map_err(|fault| {
        match body.first().and_then(|kind| complaint(*kind, &fault)) {
            Some(text) => log::warn!("{text}"),
            None => log::debug!("RESTORE refused a payload: {fault}"),
        }
        BAD_DATA
    })?;

    let old = options
        .replace
        .then(|| ctx.state.find_live(db, key))
        .flatten();
    if let Some(slot) = old {
        let lazy = ctx.state.config.lazyfree_lazy_server_del;
        ctx.state.remove(db, slot, lazy);
    }
    let deadline = match ttl {
        0 => None,
        ttl if options.absolute => Some(ttl),
        // As Redis has it: what goes beyond the end of time is long past.
        ttl => Some(ttl.wrapping_add(ctx.state.clock.unix_ms)),
    };
    if let Some(at_ms) = deadline
        && ctx.ends_at_once(at_ms)
    {
        if old.is_some() {
            let lazy = ctx.state.config.lazyfree_lazy_server_del;
            ctx.modified(key, Event::DEL, 1);
            ctx.propagate_as(&[if lazy { b"UNLINK" } else { b"DEL" }, key]);
        }
        return ctx.ok();
    }

    let clock = ctx.state.restored_clock(options.idle_s, options.uses);
    let slot = ctx.state.dbs.insert(db, key, value.into(), deadline);
    ctx.state.dbs[db].set_clock(slot, clock);
    ctx.state.notify(db, key, Event::NEW);
    ctx.modified(key, Event::RESTORE, 1);
    if let Some(at_ms) = deadline
        && !options.absolute
    {
        propagate_absolute(ctx, at_ms);
    }
    ctx.ok()
}

/// The request with its deadline as a point in time: it may be read much later.
fn propagate_absolute(ctx: &mut Ctx<'_>, at_ms: i64) {
    let mut room = [0; 20];
    let mut argv: Vec<&[u8]> = ctx.argv.iter().collect();
    argv[2] = fmt_i64(at_ms, &mut room);
    argv.push(b"ABSTTL");
    ctx.propagate_as(&argv);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{expire, generic, hash, string};
    use crate::exec::testing::{Bench, START_MS};

    #[test]
    fn the_log_gets_a_point_in_time_and_the_end_of_what_was_replaced() {
        let mut bench = Bench::new(&[
            &FAMILY,
            &string::FAMILY,
            &hash::FAMILY,
            &generic::FAMILY,
            &expire::FAMILY,
        ]);
        bench.state.debug.skip_checksum = true;
        // The checksum is not looked at, the version is that of Redis 7.0, and no byte is beyond ASCII.
        let payload = "\0\u{5}hello\n\0--------";
        let at = START_MS + 5000;
        assert_eq!(
            bench.logs(&format!("restore a 0 {payload}")),
            ["SELECT 0".to_owned(), format!("restore a 0 {payload}")]
        );
        assert_eq!(bench.ask("get a"), "$5 hello");
        assert_eq!(
            bench.logs(&format!("restore a 5000 {payload} replace freq 7")),
            [format!("restore a {at} {payload} replace freq 7 ABSTTL")]
        );
        assert_eq!(
            bench.logs(&format!("restore a {at} {payload} ABSTTL replace")),
            [format!("restore a {at} {payload} ABSTTL replace")]
        );
        let past = format!("restore a 1 {payload} absttl replace");
        assert_eq!(bench.logs(&past), ["DEL a"]);
        assert!(bench.logs(&past).is_empty());
        assert_eq!(bench.ask("get a"), "$-1");
        let never = format!("restore a {} {payload}", i64::MAX);
        assert_eq!(bench.ask(&never), "+OK");
        assert_eq!(bench.ask("get a"), "$-1");
    }
}
