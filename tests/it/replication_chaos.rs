//! A link that is cut at random bytes, held and changed for as long as a load runs over it: in the end both sides
//! have the same, and where the backlog reaches back far enough nothing was sent twice. `CHAOS_CUTS` and
//! `CHAOS_SEED` make more of it (`make crash`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use redvault::base::rng::Rng;

use crate::content::{facts, same};
use crate::harness::{Raw, Server, binary, frame, wait_until};
use crate::proxy::{Fault, Proxy};
use crate::replication::{follow, in_every_pairing, in_step, number, server};

in_every_pairing!(
    a_link_that_resumes_wherever_it_is_cut,
    a_link_that_begins_again_wherever_it_is_cut,
);

fn setting(name: &str, usual: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => usual,
    }
}

fn dice() -> (u64, Rng) {
    let seed = setting("CHAOS_SEED", u64::from(std::process::id()));
    println!("CHAOS_SEED={seed}");
    (setting("CHAOS_CUTS", 12), Rng::from_seed(seed))
}

/// Writes without end, in pipelines: whatever a stream may hold.
struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Load {
    fn begin(primary: &Server, seed: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, mut raw) = (Arc::clone(&stop), primary.raw());
        let thread = thread::spawn(move || {
            let mut dice = Rng::from_seed(seed);
            while !told.load(Ordering::SeqCst) {
                pipeline(&mut raw, &mut dice);
                // Slowly enough that the backlog reaches back to any cut.
                thread::sleep(Duration::from_millis(3));
            }
        });
        Load {
            stop,
            thread: Some(thread),
        }
    }

    fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let thread = self.thread.take().expect("it ends once");
        thread.join().expect("the primary has answered everything");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

fn pipeline(raw: &mut Raw, dice: &mut Rng) {
    let (mut bytes, mut replies) = (Vec::new(), 0);
    for _ in 0..1 + dice.below(30) {
        let n = dice.below(20);
        let long = "word ".repeat(dice.below(2000) as usize);
        let text = match dice.below(14) {
            0 => format!("SET text{n} {}", dice.next_u64()),
            1 => format!("INCRBY number {n}"),
            2 => format!("RPUSH list{n} {n} {}", dice.next_u64()),
            3 => format!("LTRIM list{n} 0 30"),
            4 => format!("SADD set {} {n}", dice.below(500)),
            5 => format!("SPOP set {n}"),
            6 => format!("HSET hash f{n} {}", dice.next_u64()),
            7 => format!("ZADD zset {} m{n}", dice.below(100)),
            8 => format!("XADD stream MAXLEN 50 * field {n}"),
            9 => format!("SELECT {}", dice.below(3)),
            10 => format!("SET short{n} x PX {}", 1 + dice.below(300)),
            11 => "INCRBYFLOAT float 0.1".to_owned(),
            12 => format!("LPOP list{n}"),
            _ => {
                let value = ["SET", "long", &long];
                for request in [&["MULTI"][..], &value, &["INCR", "number"], &["EXEC"]] {
                    bytes.extend(frame(request));
                    replies += 1;
                }
                continue;
            }
        };
        bytes.extend(frame(&text.split(' ').collect::<Vec<_>>()));
        replies += 1;
    }
    raw.send(&bytes);
    for _ in 0..replies {
        let reply = raw.reply();
        assert!(!reply.starts_with("(error)"), "{reply}");
    }
}

fn equal(primary: &Server, replica: &Server) {
    // What ends by itself ends where somebody looks at it.
    let short: Vec<String> = (0..20).map(|n| format!("short{n}")).collect();
    let looked_at = format!("EXISTS {}", short.join(" "));
    wait_until("the short-lived keys to end", || {
        let mut raw = primary.raw();
        (0..3).all(|db| {
            raw.ask(&format!("SELECT {db}"));
            raw.ask(&looked_at) == ":0"
        })
    });
    in_step(primary, replica);
    same(&facts(primary), &facts(replica));
}

/// Lets the planned fault strike, and the link come back.
fn strike(proxy: &Proxy, fault: Fault, seed: u64) {
    let struck = proxy.struck();
    proxy.plan(&[fault]);
    proxy.cut();
    wait_until(&format!("{fault:?}, seed {seed}"), || {
        proxy.struck() > struck
    });
    if let Fault::Hold(_) = fault {
        proxy.release();
    }
}

fn a_link_that_resumes_wherever_it_is_cut(first: &str, second: &str) {
    let (cuts, mut dice) = dice();
    let primary = server(first, &["--repl-backlog-size", "300mb"]);
    let replica = server(second, &[]);
    let proxy = Proxy::to(primary.port);
    follow(&replica, proxy.port);
    in_step(&primary, &replica);
    let (full, partial) = (
        number(&primary, "sync_full"),
        number(&primary, "sync_partial_ok"),
    );
    let load = Load::begin(&primary, dice.next_u64());
    for _ in 0..cuts {
        let seed = dice.next_u64();
        // In the introductions, in a request, far behind; more often near the beginning.
        let most = [120, 400, 5_000, 300_000][dice.below(4) as usize];
        let at = dice.below(most);
        strike(
            &proxy,
            match dice.below(4) {
                0 => Fault::Hold(at),
                _ => Fault::Cut(at),
            },
            seed,
        );
    }
    load.end();
    equal(&primary, &replica);
    let log = primary.log();
    let whole: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("artial resync"))
        .collect();
    assert_eq!(
        number(&primary, "sync_full"),
        full,
        "all is in the backlog: {whole:#?}"
    );
    assert!(number(&primary, "sync_partial_ok") > partial);
}

/// With next to no backlog, and snapshots that arrive changed.
fn a_link_that_begins_again_wherever_it_is_cut(first: &str, second: &str) {
    let (cuts, mut dice) = dice();
    for (diskless, load) in [("yes", "swapdb"), ("no", "disabled")] {
        let args = ["--repl-diskless-sync", diskless];
        let primary = server(
            first,
            &[&args[..], &["--repl-backlog-size", "16kb"]].concat(),
        );
        let replica = server(second, &["--repl-diskless-load", load]);
        let proxy = Proxy::to(primary.port);
        follow(&replica, proxy.port);
        in_step(&primary, &replica);
        let load = Load::begin(&primary, dice.next_u64());
        for _ in 0..cuts.div_ceil(3) {
            let seed = dice.next_u64();
            let most = [400, 3_000, 40_000][dice.below(3) as usize];
            let at = dice.below(most);
            // The real one ends itself over a snapshot that is none.
            let fault = match dice.below(4) {
                0 => Fault::Hold(at),
                1 if second == binary() => Fault::Spoil(at % 1000),
                _ => Fault::Cut(at),
            };
            if let Fault::Spoil(_) = fault {
                // It wants a snapshot whatever the backlog holds.
                wait_until("the end of the loading", || {
                    replica.raw().ask("REPLICAOF NO ONE") == "OK"
                });
                replica.check(&[("SET own x", "OK")]);
                let struck = proxy.struck();
                proxy.plan(&[fault]);
                follow(&replica, proxy.port);
                let what = format!("{fault:?}, seed {seed}");
                wait_until(&what, || proxy.struck() > struck);
            } else {
                strike(&proxy, fault, seed);
            }
        }
        load.end();
        equal(&primary, &replica);
        let times = ["sync_full", "sync_partial_ok"].map(|field| number(&primary, field));
        assert!(times.iter().sum::<i64>() > 1, "{times:?}");
    }
}
