//! Work over all keys, and samples of how the server is: `--scan`, `--bigkeys`, `--memkeys`, `--latency`, `--stat`.
use std::collections::BTreeMap;

use super::print::{Form, quote};
use super::session::{Session, complain};
use crate::base::clock::mono_us;
use crate::resp::value::Value;
use crate::tools::link::Broken;

/// Keys asked for at a time where each is looked at.
const KEYS: &str = "100";

/// Tells what broke the work; the exit code.
fn ended(outcome: Result<(), String>) -> i32 {
    match outcome {
        Ok(()) => 0,
        Err(why) => {
            complain(&format!("Error: {why}"));
            1
        }
    }
}

fn ask(session: &mut Session, argv: &[&[u8]]) -> Result<Value, String> {
    let link = session.link.as_mut().ok_or(Broken::Closed);
    match link.and_then(|link| link.ask(argv)) {
        Ok(Value::Error(text)) => Err(String::from_utf8_lossy(&text).into_owned()),
        Ok(value) => Ok(value),
        Err(broken) => Err(broken.to_string()),
    }
}

/// Goes once through the keys; `each` gets them as they come.
fn sweep(
    session: &mut Session,
    mut each: impl FnMut(&mut Session, Vec<Value>) -> Result<(), String>,
) -> Result<(), String> {
    let pattern = session.options.pattern.clone();
    let mut cursor = b"0".to_vec();
    loop {
        let mut argv: Vec<&[u8]> = vec![b"SCAN", &cursor];
        if let Some(pattern) = &pattern {
            argv.extend([&b"MATCH"[..], pattern]);
        }
        argv.extend([&b"COUNT"[..], KEYS.as_bytes()]);
        let reply = ask(session, &argv)?;
        let Value::Array(parts) = reply else {
            return Err("SCAN answered no array".to_owned());
        };
        let (Some(next), Some(Value::Array(keys))) = (parts[..].first(), parts.get(1)) else {
            return Err("SCAN answered too little".to_owned());
        };
        cursor = next.as_bytes().unwrap_or_default().to_vec();
        each(session, keys.clone())?;
        if cursor == b"0" || cursor.is_empty() || session.deaf {
            return Ok(());
        }
        if !session.options.interval.is_zero() {
            std::thread::sleep(session.options.interval);
        }
    }
}

/// Prints every key on a line of its own.
pub fn scan(session: &mut Session) -> i32 {
    if !session.connect() {
        return 1;
    }
    let standard = session.form == Form::Standard;
    ended(sweep(session, |session, keys| {
        let mut out = Vec::new();
        for key in &keys {
            let key = key.as_bytes().unwrap_or_default();
            match standard {
                true => quote(key, &mut out),
                false => out.extend_from_slice(key),
            }
            out.push(b'\n');
        }
        session.put(&out);
        Ok(())
    }))
}

/// What is known of the keys of one type.
#[derive(Default)]
struct Kind {
    keys: u64,
    total: u64,
    largest: u64,
    name: Vec<u8>,
}

/// How the elements of a type are counted, and what they are called.
fn measure(kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        "string" => ("STRLEN", "bytes"),
        "list" => ("LLEN", "items"),
        "set" => ("SCARD", "members"),
        "zset" => ("ZCARD", "members"),
        "hash" => ("HLEN", "fields"),
        "stream" => ("XLEN", "entries"),
        _ => return None,
    })
}

/// Finds the largest key of each type.
pub fn largest(session: &mut Session, by_memory: bool) -> i32 {
    if !session.connect() {
        return 1;
    }
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    let (mut count, mut name_bytes) = (0_u64, 0_u64);
    let samples = session.options.memory_samples.to_string();
    let swept = sweep(session, |session, keys| {
        let keys: Vec<Vec<u8>> = keys
            .iter()
            .filter_map(|key| key.as_bytes().map(<[u8]>::to_vec))
            .collect();
        let types = batch(session, &keys, |key| vec![b"TYPE".to_vec(), key.to_vec()])?;
        let kind_of = |value: &Value| {
            String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()
        };
        let names: Vec<String> = types.iter().map(kind_of).collect();
        let mut at = 0;
        let sizes = batch(session, &keys, |key| {
            let command = names.get(at).and_then(|name| measure(name));
            at += 1;
            match command {
                _ if by_memory => [
                    &b"MEMORY"[..],
                    b"USAGE",
                    key,
                    b"SAMPLES",
                    samples.as_bytes(),
                ]
                .map(<[u8]>::to_vec)
                .to_vec(),
                Some((command, _)) => vec![command.into(), key.to_vec()],
                None => vec![b"EXISTS".to_vec(), key.to_vec()],
            }
        })?;
        for ((key, name), size) in keys.iter().zip(names).zip(sizes) {
            // Gone meanwhile, or of another type.
            let Value::Int(size) = size else { continue };
            if name == "none" {
                continue;
            }
            count += 1;
            name_bytes += key.len() as u64;
            let size = u64::try_from(size).unwrap_or(0);
            let kind = kinds.entry(name).or_default();
            kind.keys += 1;
            kind.total += size;
            if kind.keys == 1 || size > kind.largest {
                (kind.largest, kind.name) = (size, key.clone());
            }
        }
        Ok(())
    });
    if swept.is_err() {
        return ended(swept);
    }
    let average = |total: u64, of: u64| total as f64 / of.max(1) as f64;
    let mut out = format!(
        "-------- summary -------\n\nSampled {count} keys in the keyspace!\n\
         Total key length in bytes is {name_bytes} (avg len {:.2})\n\n",
        average(name_bytes, count)
    );
    let unit = |name: &str| match measure(name) {
        Some((_, unit)) if !by_memory => unit,
        _ => "bytes",
    };
    for (name, kind) in &kinds {
        let mut key = Vec::new();
        quote(&kind.name, &mut key);
        let key = String::from_utf8_lossy(&key);
        out.push_str(&format!(
            "Biggest {name:>6} found {key} has {} {}\n",
            kind.largest,
            unit(name)
        ));
    }
    out.push('\n');
    for (name, kind) in &kinds {
        out.push_str(&format!(
            "{} {name}s with {} {} ({:05.2}% of keys, avg size {:.2})\n",
            kind.keys,
            kind.total,
            unit(name),
            100.0 * average(kind.keys, count),
            average(kind.total, kind.keys)
        ));
    }
    session.put(out.as_bytes());
    0
}

/// One request for each key, sent together.
fn batch(
    session: &mut Session,
    keys: &[Vec<u8>],
    mut argv: impl FnMut(&[u8]) -> Vec<Vec<u8>>,
) -> Result<Vec<Value>, String> {
    let link = session
        .link
        .as_mut()
        .ok_or_else(|| Broken::Closed.to_string())?;
    let mut answers = || -> Result<Vec<Value>, Broken> {
        for key in keys {
            link.send(&argv(key))?;
        }
        keys.iter().map(|_| link.receive()).collect()
    };
    answers().map_err(|broken| broken.to_string())
}

/// Samples how long a PING takes: for a while where the output is no terminal, else until it is ended.
pub fn latency(session: &mut Session) -> i32 {
    if !session.connect() {
        return 1;
    }
    let live = session.terminal && session.form == Form::Standard;
    let (mut least, mut most, mut sum, mut count) = (u64::MAX, 0, 0, 0_u64);
    let begun = mono_us();
    let span_us = match session.options.interval.as_micros() as u64 {
        0 => 1_000_000,
        span => span,
    };
    ended((|| {
        while !session.deaf {
            let start = mono_us();
            ask(session, &[b"PING"])?;
            let took = mono_us() - start;
            (least, most) = (least.min(took), most.max(took));
            (sum, count) = (sum + took, count + 1);
            let ms = |us: u64| us as f64 / 1000.0;
            let average = ms(sum) / count as f64;
            if live {
                let text = format!(
                    "\r\x1b[0Kmin: {:.3}, max: {:.3}, avg: {average:.3} ms ({count} samples)",
                    ms(least),
                    ms(most)
                );
                session.put(text.as_bytes());
            } else if mono_us() - begun > span_us {
                let text = match session.form {
                    Form::Csv => format!("{:.3},{:.3},{average:.3},{count}\n", ms(least), ms(most)),
                    Form::Json | Form::QuotedJson => format!(
                        "{{\"min\":{:.3},\"max\":{:.3},\"avg\":{average:.3},\"count\":{count}}}\n",
                        ms(least),
                        ms(most)
                    ),
                    _ => format!("{:.3} {:.3} {average:.3} {count}\n", ms(least), ms(most)),
                };
                session.put(text.as_bytes());
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        Ok(())
    })())
}

/// A line of the server's figures every so often.
pub fn stat(session: &mut Session) -> i32 {
    if !session.connect() {
        return 1;
    }
    let interval = match session.options.interval {
        none if none.is_zero() => std::time::Duration::from_secs(1),
        interval => interval,
    };
    let (mut lines, mut before) = (0_u64, None);
    ended((|| {
        while !session.deaf {
            if session.options.repeat >= 0
                && lines >= session.options.repeat as u64
                && session.options.repeat != 1
            {
                return Ok(());
            }
            let reply = ask(session, &[b"INFO"])?;
            let text = String::from_utf8_lossy(reply.as_bytes().unwrap_or_default()).into_owned();
            if lines.is_multiple_of(20) {
                session.put(
                    b"keys       mem      clients blocked requests            connections  children\n",
                );
            }
            let field = |name: &str| {
                let found = text
                    .lines()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                found.unwrap_or_default().to_owned()
            };
            let keys: u64 = text
                .lines()
                .filter(|line| line.starts_with("db"))
                .filter_map(|line| {
                    line.split_once("keys=")?
                        .1
                        .split(',')
                        .next()?
                        .parse::<u64>()
                        .ok()
                })
                .sum();
            let requests: u64 = field("total_commands_processed").parse().unwrap_or(0);
            let more = before.map_or(0, |before| requests.saturating_sub(before));
            before = Some(requests);
            let mut children = String::new();
            for (name, shown) in [
                ("rdb_bgsave_in_progress", "SAVE "),
                ("aof_rewrite_in_progress", "AOF "),
                ("loading", "LOAD "),
            ] {
                if field(name) == "1" {
                    children.push_str(shown);
                }
            }
            let line = format!(
                "{keys:<10} {:<8} {:<7} {:<7} {:<19} {:<12} {}",
                field("used_memory_human"),
                field("connected_clients"),
                field("blocked_clients"),
                format!("{requests} (+{more})"),
                field("total_connections_received"),
                children.trim_end()
            );
            session.put(format!("{}\n", line.trim_end()).as_bytes());
            lines += 1;
            std::thread::sleep(interval);
        }
        Ok(())
    })())
}
