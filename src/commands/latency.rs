//! LATENCY: what the latency monitor and the distributions of run times have seen.
//!
//! The monitor's events are few and named (`state::latency`); the distributions are every
//! command's own (`state::stats`).
mod doctor;
mod graph;

use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, container, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;
use crate::exec::registry::{Family, Row};
use crate::state::latency::Series;
use crate::state::stats::LatencyCounts;
use flag::{ADMIN, LOADING, NOSCRIPT, SERVER_WIDE, STALE};

const GUARDED: u32 = ADMIN | NOSCRIPT | LOADING | STALE | SERVER_WIDE;

const SUBS: &[Command] = &[
    cmd("doctor", 2, GUARDED, acl::NONE, NO_KEYS, doctor::doctor),
    cmd("graph", 3, GUARDED, acl::NONE, NO_KEYS, graph),
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, help),
    cmd("histogram", -2, GUARDED, acl::NONE, NO_KEYS, histogram),
    cmd("history", 3, GUARDED, acl::NONE, NO_KEYS, history),
    cmd("latest", 2, GUARDED, acl::NONE, NO_KEYS, latest),
    cmd("reset", -2, GUARDED, acl::NONE, NO_KEYS, reset),
];

/// LATENCY.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[container("latency", -2, 0, acl::NONE, SUBS)],
};

fn series<'s>(ctx: &'s Ctx<'_>, name: &[u8]) -> Option<(&'static str, &'s Series)> {
    let found = ctx.state.latency.series.iter();
    found
        .map(|(known, series)| (*known, series))
        .find(|(known, _)| known.as_bytes() == name)
}

fn history(ctx: &mut Ctx<'_>) -> CmdResult {
    let samples: Vec<_> = match series(ctx, ctx.arg(2)) {
        Some((_, series)) => series.samples.iter().copied().collect(),
        None => Vec::new(),
    };
    ctx.out.array(samples.len());
    for sample in samples {
        ctx.out.array(2);
        ctx.out.int(sample.at_s);
        ctx.out.int(sample.ms as i64);
    }
    Ok(Outcome::Done)
}

fn latest(ctx: &mut Ctx<'_>) -> CmdResult {
    let events = &ctx.state.latency.series;
    let seen = || {
        events
            .iter()
            .filter_map(|(name, s)| Some((name, s.samples.back()?, s.max_ms)))
    };
    ctx.out.array(seen().count());
    for (name, last, max_ms) in seen() {
        ctx.out.array(4);
        ctx.out.bulk(name.as_bytes());
        ctx.out.int(last.at_s);
        ctx.out.int(last.ms as i64);
        ctx.out.int(max_ms as i64);
    }
    Ok(Outcome::Done)
}

fn reset(ctx: &mut Ctx<'_>) -> CmdResult {
    let monitor = &mut ctx.state.latency;
    let forgotten = match ctx.argv.len() {
        2 => monitor.reset_all(),
        _ => {
            let names = ctx.argv.from(2);
            names.iter().filter(|name| monitor.reset(name)).count()
        }
    };
    ctx.int(forgotten as i64)
}

fn graph(ctx: &mut Ctx<'_>) -> CmdResult {
    let now_s = ctx.state.clock.unix_ms / 1000;
    let Some((name, series)) = series(ctx, ctx.arg(2)) else {
        return Err(CmdError::owned(format!(
            "ERR No samples available for event '{}'",
            String::from_utf8_lossy(ctx.arg(2))
        )));
    };
    let text = graph::draw(name, series, now_s);
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Outcome::Done)
}

/// LATENCY HISTOGRAM: cumulative counts of runs by time, for the commands named or for all.
fn histogram(ctx: &mut Ctx<'_>) -> CmdResult {
    let table = ctx.table;
    let mut rows: Vec<&Row> = Vec::new();
    if ctx.argc() == 2 {
        rows.extend(table.rows());
    }
    for name in ctx.argv.iter().skip(2) {
        if let Some(row) = table.find_full(name) {
            rows.push(row);
            // A container answers for its subcommands.
            rows.extend(table.subs(row));
        }
    }
    rows.retain(|row| {
        !ctx.state.stats.per_command[row.id.0 as usize]
            .latency
            .is_empty()
    });
    let hole = ctx.out.open();
    for row in &rows {
        let stats = &ctx.state.stats;
        let per = &stats.per_command[row.id.0 as usize];
        let name = if row.parent == row.id {
            row.cmd.name
        } else {
            table.name(row.id)
        };
        let buckets = buckets(&per.latency, |us| stats.us_to_ticks_f64(us));
        ctx.out.bulk(name.as_bytes());
        ctx.out.map(2);
        ctx.out.bulk(b"calls");
        ctx.out.int(per.latency.total() as i64);
        ctx.out.bulk(b"histogram_usec");
        ctx.out.map(buckets.len());
        for (us, count) in buckets {
            ctx.out.int(us as i64);
            ctx.out.int(count as i64);
        }
    }
    ctx.out.close_map(hole, rows.len());
    Ok(Outcome::Done)
}

/// Upper ends of the buckets in microseconds with the number of runs up to there, where it grew.
///
/// The ends are powers of two of 1.024 microseconds, named as Redis names them: it keeps two
/// significant digits, so the whole microseconds of an end drift upwards (33, 67, 135 ...).
fn buckets(counts: &LatencyCounts, ticks: impl Fn(f64) -> f64) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let (mut before, total) = (0, counts.total());
    for doubling in 0..40 {
        if before == total {
            break;
        }
        let start_ns = 1024u64 << doubling;
        let end_us = (start_ns + start_ns / 128 - 1) / 1000;
        let count = counts.up_to(ticks(start_ns as f64 / 1000.0) as u64);
        if count > before {
            found.push((end_us, count));
            before = count;
        }
    }
    found
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "DOCTOR",
        "    Return a human readable latency analysis report.",
        "GRAPH <event>",
        "    Return an ASCII latency graph for the <event> class.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
        "HISTOGRAM [COMMAND ...]",
        "    Return a cumulative distribution of latencies in the format of a histogram for the \
         specified command names.",
        "    If no commands are specified then all histograms are replied.",
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let mut counts = LatencyCounts::default();
        // A thousand ticks are a microsecond.
        for us in [0, 0, 1, 3, 30, 30, 500] {
            counts.record(us * 1000);
        }
        let found = buckets(&counts, |us| us * 1000.0);
        assert_eq!(found, [(1, 3), (4, 4), (33, 6), (528, 7)]);
        assert_eq!(buckets(&LatencyCounts::default(), |us| us), []);
    }
}
