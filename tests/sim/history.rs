//! Requests drawn from a seed: writes to every type, transactions, and what an operator does meanwhile.

use redvault::base::rng::Rng;

/// A request's words.
pub type Words = Vec<Vec<u8>>;

fn words(text: &str) -> Words {
    text.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

/// Long enough to be torn in the middle, at times.
fn value(rng: &mut Rng) -> String {
    let len = [0, 1, 8, 40, 200, 3000][rng.below(6) as usize];
    format!("{}{}", rng.below(1000), "v".repeat(len))
}

/// A write; some of them change nothing, as it happens.
pub fn write(rng: &mut Rng) -> Words {
    let (k, n, f) = (rng.below(4), rng.below(1000), rng.below(8));
    let v = value(rng);
    let far = 4_000_000_000_000_u64 + n;
    let text = match rng.below(30) {
        0..4 => format!("SET s{k} {v}"),
        4 => format!("SET s{k} {v} PXAT {far}"),
        5 => format!("INCRBY n{k} {n}"),
        6 => format!("INCRBYFLOAT d{k} 0.{n}"),
        7 => format!("APPEND s{k} {n}"),
        8 => format!("SETRANGE s{k} {f} {n}"),
        9 => format!("DEL s{k} l{f} h{k}"),
        10 => format!("MSET s{k} {v} s{f} {n}"),
        11 => format!("RENAME s{k} s{f}"),
        12 => format!("COPY s{k} s{f} REPLACE"),
        13 => format!("MOVE s{k} 3"),
        14..16 => format!("RPUSH l{k} {v} {n}"),
        16 => format!("LPOP l{k} 2"),
        17 => format!("LMOVE l{k} l{f} LEFT RIGHT"),
        18..20 => format!("HSET h{k} f{f} {v} g{f} {n}"),
        20 => format!("HDEL h{k} f{f}"),
        21 => format!("SADD t{k} {n} {f}"),
        22 => format!("SPOP t{k}"),
        23 => format!("ZADD z{k} {n} m{f}"),
        24 => format!("ZINCRBY z{k} 0.5 m{f}"),
        25 => format!("XADD x{k} MAXLEN 10 * f{f} {n}"),
        26 => format!("XGROUP CREATE x{k} group{f} 0 MKSTREAM"),
        27 => format!("PEXPIREAT h{k} {far}"),
        28 => format!("PERSIST h{k}"),
        _ => [
            "FLUSHDB",
            "FLUSHALL",
            "SWAPDB 0 1",
            "EXPIRE s1 1000000000",
            "PFADD p a b c",
            "SETBIT b 70 1",
        ][rng.below(6) as usize]
            .to_owned(),
    };
    words(&text)
}

/// What an operator does.
pub fn operate(rng: &mut Rng) -> Words {
    let text = match rng.below(13) {
        0..5 => "BGREWRITEAOF",
        5..7 => "BGSAVE",
        7 => "BGSAVE SCHEDULE",
        8 => "SAVE",
        9 => "CONFIG SET appendonly no",
        10 => "CONFIG SET appendonly yes",
        11 => "FLUSHALL",
        _ => "CONFIG SET auto-aof-rewrite-min-size 1000",
    };
    words(text)
}

/// The requests of one client in one turn.
pub fn batch(rng: &mut Rng) -> Vec<Words> {
    let mut batch = Vec::new();
    for _ in 0..1 + rng.below(6) {
        if rng.below(8) > 0 {
            batch.push(write(rng));
            continue;
        }
        batch.push(words("MULTI"));
        (0..1 + rng.below(4)).for_each(|_| batch.push(write(rng)));
        batch.push(words("EXEC"));
    }
    if rng.below(6) == 0 {
        batch.push(words(&format!("SELECT {}", rng.below(4))));
    }
    batch
}
