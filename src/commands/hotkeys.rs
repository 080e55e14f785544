//! HOTKEYS: shows what `state::hotkeys` has found.
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, container, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX};
use crate::exec::registry::Family;
use crate::resp::reply::Writer;
use crate::state::hotkeys::{HALF_LIFE_S, Hot, Metric};
use flag::{ADMIN, LOADING, STALE};

const SUBS: &[Command] = &[
    cmd("get", -2, ADMIN | LOADING | STALE, acl::NONE, NO_KEYS, get),
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, help),
    cmd(
        "reset",
        2,
        ADMIN | LOADING | STALE,
        acl::NONE,
        NO_KEYS,
        reset,
    ),
];

/// HOTKEYS.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[container("hotkeys", -2, 0, acl::NONE, SUBS)],
};

const OFF: CmdError = CmdError::new("ERR Hot keys are not looked for: hotkey-top-k is 0");
const COUNT_RANGE: CmdError = CmdError::new("ERR COUNT should be greater than 0");

fn get(ctx: &mut Ctx<'_>) -> CmdResult {
    let (mut count, mut db, mut metric) = (usize::MAX, None, None);
    let mut at = 2;
    while at < ctx.argc() {
        let word = ctx.arg(at).to_ascii_lowercase();
        at += 1;
        match word.as_slice() {
            b"cpu" => metric = Some(Metric::Cpu),
            b"net" => metric = Some(Metric::Net),
            b"count" if at < ctx.argc() => {
                let n = parse_i64(ctx.arg(at)).ok_or(NOT_INTEGER)?;
                let n = usize::try_from(n).ok().filter(|n| *n > 0);
                count = n.ok_or(COUNT_RANGE)?;
                at += 1;
            }
            b"db" if at < ctx.argc() => {
                db = Some(ctx.db_number(ctx.arg(at))? as u32);
                at += 1;
            }
            _ => return Err(SYNTAX),
        }
    }
    let group = ctx.group();
    ctx.state.hotkeys.ask(group, ctx.state.clock.unix_ms);
    if !ctx.state.hotkeys.of(group).is_on() {
        return Err(OFF);
    }
    let wants = |one| metric.is_none_or(|wanted| wanted == one);
    let (state, hot) = (&*ctx.state, ctx.state.hotkeys.of(group));
    let lists = [
        (Metric::Cpu, "total-cpu-usec", "by-cpu", "cpu-usec"),
        (Metric::Net, "total-net-bytes", "by-net", "net-bytes"),
    ];
    let lists = lists.iter().filter(|(metric, ..)| wants(*metric));
    let out = &mut *ctx.out;
    out.map(3 + 2 * lists.clone().count());
    for (name, value) in [
        ("since-unix-ms", hot.since_ms),
        ("half-life-seconds", i64::from(HALF_LIFE_S)),
        ("sample-ratio", hot.period() as i64),
    ] {
        out.bulk(name.as_bytes());
        out.int(value);
    }
    for (metric, total_name, list_name, unit) in lists {
        let total = hot.total(*metric);
        let figure = |sum: u64| match metric {
            Metric::Cpu => state.stats.ticks_to_us(sum),
            Metric::Net => sum,
        };
        out.bulk(total_name.as_bytes());
        out.int(figure(total) as i64);
        let keys = hot.list(*metric, count, db);
        out.bulk(list_name.as_bytes());
        out.array(keys.len());
        for key in &keys {
            let db = state.local_db(key.db as usize);
            show(out, (key, db), unit, figure(key.sum), total);
        }
    }
    Ok(Outcome::Done)
}

fn show(out: &mut Writer, (hot, db): (&Hot, usize), unit: &str, figure: u64, total: u64) {
    let percent = hot.sum as f64 * 100.0 / total.max(1) as f64;
    out.map(4);
    out.bulk(b"key");
    out.bulk(&hot.key);
    out.bulk(b"db");
    out.int(db as i64);
    out.bulk(unit.as_bytes());
    out.int(figure as i64);
    out.bulk(b"percent");
    out.double((percent * 100.0).round() / 100.0);
}

fn reset(ctx: &mut Ctx<'_>) -> CmdResult {
    let now_ms = ctx.state.clock.unix_ms;
    let group = ctx.group();
    ctx.state.hotkeys.ask(group, now_ms);
    if let Some(lists) = ctx.state.hotkeys.get_mut(group) {
        lists.reset(now_ms);
    }
    ctx.ok()
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "GET [CPU|NET] [COUNT <count>] [DB <db>]",
        "    The keys that lately took most of the processor's time and of the network's bytes,",
        "    hottest first. Figures come from a sample, are what a key took at least, and halve",
        "    every half-life. hotkey-top-k says how many are shown at most.",
        "RESET",
        "    Forget all, begin anew.",
    ])
}
