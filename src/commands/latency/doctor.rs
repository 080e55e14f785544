//! LATENCY DOCTOR: reads the latency monitor's history and says what to look at.
use crate::base::sys;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::state::State;
use crate::state::latency::Series;
use std::fmt::Write as _;

/// What an event's history says.
struct Findings {
    samples: usize,
    average_ms: u64,
    deviation_ms: u64,
    /// Seconds between two spikes.
    period_s: f64,
    worst_ms: u64,
}

fn examine(series: &Series, now_s: i64) -> Findings {
    let n = series.samples.len().max(1) as u64;
    let average_ms = series.samples.iter().map(|s| s.ms).sum::<u64>() / n;
    let away = series.samples.iter().map(|s| s.ms.abs_diff(average_ms));
    let first = series.samples.front().map_or(now_s, |s| s.at_s);
    Findings {
        samples: series.samples.len(),
        average_ms,
        deviation_ms: away.sum::<u64>() / n,
        period_s: (now_s - first).max(1) as f64 / n as f64,
        worst_ms: series.max_ms,
    }
}

pub(super) fn doctor(ctx: &mut Ctx<'_>) -> CmdResult {
    let text = report(ctx.state);
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Outcome::Done)
}

fn report(state: &State) -> String {
    let monitor = &state.latency;
    if monitor.threshold_ms <= 0 {
        return "Latency monitoring is disabled. Enable it with CONFIG SET \
                latency-monitor-threshold <milliseconds>: events that take at least so long are \
                then kept, the last 160 of each kind.\n"
            .to_owned();
    }
    if monitor.series.is_empty() {
        return format!(
            "No latency spike was observed during the lifetime of this instance: nothing took {} \
             milliseconds or more.\n",
            monitor.threshold_ms
        );
    }
    let mut text = String::from("Latency spikes were observed in this instance:\n\n");
    let now_s = state.clock.unix_ms / 1000;
    let mut advice = Advice::default();
    for (i, (name, series)) in monitor.series.iter().enumerate() {
        let f = examine(series, now_s);
        let _ = writeln!(
            text,
            "{}. {name}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} sec). \
             Worst all time event {}ms.",
            i + 1,
            f.samples,
            f.average_ms,
            f.deviation_ms,
            f.period_s,
            f.worst_ms
        );
        advice.about(name, state);
    }
    let _ = writeln!(
        text,
        "\nThe longest turn of the loop took {} us ({}).",
        state.stats.longest_turn_us,
        match state.stats.longest_turn_cause {
            "" => "no turn was long",
            cause => cause,
        }
    );
    if advice.0.is_empty() {
        text.push_str("\nNo advice: look at what else runs on this machine.\n");
    } else {
        text.push_str("\nWhat to do:\n\n");
        advice.0.iter().for_each(|line| {
            let _ = writeln!(text, "- {line}");
        });
    }
    text
}

/// Lines of advice, each once.
#[derive(Default)]
struct Advice(Vec<String>);

impl Advice {
    fn add(&mut self, line: String) {
        if !self.0.contains(&line) {
            self.0.push(line);
        }
    }

    fn about(&mut self, event: &str, state: &State) {
        match event {
            "command" => self.commands(state),
            "fast-command" => {
                self.add(
                    "A command whose cost is constant or logarithmic took long: either its \
                     arguments were large, or the process did not get the processor. Look at the \
                     machine's load, at stolen time if it is virtual, and at swapping."
                        .to_owned(),
                );
                self.machine();
            }
            "expire-cycle" => self.add(
                "Many keys, or very large values, expire at the same moment: spread their \
                 deadlines by a random part. lazyfree-lazy-expire frees values off the loop's \
                 thread."
                    .to_owned(),
            ),
            "eviction-cycle" | "eviction-del" => self.add(
                "Writes outrun maxmemory: give it more room, or split values that are large to \
                 free. lazyfree-lazy-eviction frees values off the loop's thread."
                    .to_owned(),
            ),
            "eventloop" => self.machine(),
            "fork" => self.add(
                "Forking takes long with this much memory in use: transparent huge pages, old \
                 hypervisors and large processes make it worse."
                    .to_owned(),
            ),
            _ if event.starts_with("aof") => self.add(
                "Writing or syncing the append-only file takes long: look at the disk's load, \
                 and at appendfsync and no-appendfsync-on-rewrite."
                    .to_owned(),
            ),
            _ => self.machine(),
        }
    }

    fn commands(&mut self, state: &State) {
        let threshold = state.config.slowlog_log_slower_than;
        if threshold < 0 {
            self.add(
                "SLOWLOG is disabled: enable it (slowlog-log-slower-than 1000 is a good start) \
                 to see which commands take long."
                    .to_owned(),
            );
        } else if threshold > state.latency.threshold_ms.saturating_mul(1000) {
            self.add(format!(
                "SLOWLOG keeps only commands of {threshold} us and more, the latency monitor \
                 looks from {} ms on: lower slowlog-log-slower-than to see the same commands.",
                state.latency.threshold_ms
            ));
        } else {
            self.add("SLOWLOG GET shows which commands took long.".to_owned());
        }
        self.add(
            "Commands over whole collections (KEYS, SMEMBERS, HGETALL, LRANGE 0 -1, SORT, long \
             scripts) take as long as the collection is large: use the SCAN family, ranges, and \
             UNLINK instead of DEL for large values."
                .to_owned(),
        );
    }

    fn machine(&mut self) {
        if sys::thp_is_always() {
            self.add(
                "Transparent huge pages are always on: echo madvise > \
                 /sys/kernel/mm/transparent_hugepage/enabled (and at boot)."
                    .to_owned(),
            );
        }
        self.add(
            "redis-cli --intrinsic-latency 100 tells how long this machine itself stops a \
             process now and then."
                .to_owned(),
        );
    }
}
