//! What DEBUG shows of keys, tables and the protocol.
use crate::base::alloc::size_class;
use crate::base::num::parse_i64;
use crate::codec::Sink;
use crate::ds::quicklist::Saved;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NO_SUCH_KEY, NOT_INTEGER};
use crate::keyspace::entry::EntryRef;
use crate::types::list::ListRef;
use crate::types::{TableStats, ValueRef};

pub(super) const HELP: &[&str] = &[
    "AOF-FLUSH-SLEEP <microsec>",
    "    Server will sleep before flushing the AOF, this is used for testing.",
    "ASSERT",
    "    Crash by assertion failed.",
    "CHANGE-REPL-ID",
    "    Change the replication IDs of the instance.",
    "    Dangerous: should be used only for testing the replication subsystem.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    Like CONFIG REWRITE but writes all configuration options, including",
    "    keywords not listed in original configuration file or default values.",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "ERROR <string>",
    "    Return a Redis protocol error with <string> as message. Useful for clients",
    "    unit tests to simulate Redis errors.",
    "LEAK <string>",
    "    Create a memory leak of the input string.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "HTSTATS <dbid>",
    "    Return hash table statistics of the specified database.",
    "HTSTATS-KEY <key>",
    "    Like HTSTATS but for the hash table stored at <key>'s value.",
    "LISTPACK <key>",
    "    Write the elements of a listpack to the server log.",
    "MALLCTL <key> [<val>]",
    "    Get or set a malloc tuning integer.",
    "MALLCTL-STR <key> [<val>]",
    "    Get a malloc tuning string, or trigger a control that takes no value (VOID).",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "OOM",
    "    Crash the server simulating an out-of-memory error.",
    "PANIC",
    "    Crash the server simulating a panic.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>. If <prefix> is specified then",
    "    it is used instead of the 'key' prefix. These are not propagated to",
    "    replicas.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type. <type> can be: string,",
    "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
    "    true, false.",
    "SDSLEN <key>",
    "    Show how much memory `key` and its string value take.",
    "SEGFAULT",
    "    Crash the server with sigsegv.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
    "    default.",
    "SET-DISABLE-DENY-SCRIPTS <0|1>",
    "    Setting it to 1 lets scripts run commands that are denied to them.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Enables or disables checksum checks for RDB files and RESTORE's payload.",
    "QUICKLIST <key> [<0|1>]",
    "    Write the nodes of a quicklist to the server log, with 1 their elements, too.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Sets the threshold for elements to be inserted as plain vs packed nodes",
    "    Default value is 1GB, allows values up to 4GB. Setting to 0 restores to default.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    "STRINGMATCH-LEN <string> <pattern>",
    "    Does the glob-style pattern match the string? Replies 1 or 0.",
    "STRINGMATCH-TEST",
    "    Match random patterns and strings, as KEYS and SCAN do.",
    "STRUCTSIZE",
    "    Return the sizes of what a key is made of, in bytes.",
    "PAUSE-CRON <0|1>",
    "    Stop periodic cron job processing.",
    "REPLICATE <string>",
    "    Replicates the provided string to replicas, allowing data divergence.",
    "REPLYBUFFER PEAK-RESET-TIME <NEVER||RESET|time>",
    "    Sets the time (in milliseconds) to wait between client reply buffer peak resets.",
    "    In case NEVER is provided the last observed peak will never be reset",
    "    In case RESET is provided the peak reset time will be restored to the default value",
    "REPLYBUFFER RESIZING <0|1>",
    "    Enable or disable the reply buffer resize cron job",
];

/// DEBUG OBJECT: where the key's entry lies, how its value is stored.
pub(super) fn object(ctx: &mut Ctx<'_>) -> CmdResult {
    let (db, key) = (ctx.db, ctx.arg(2));
    let state = &*ctx.state;
    let config = &state.config;
    let (compress, fill) = (config.rdbcompression, config.list_max_listpack_size);
    let depth = config.list_compress_depth;
    // Also one that is past its deadline, as long as it is there.
    let entry = state.dbs.get(db, key).ok_or(NO_SUCH_KEY)?;
    let idle_s = state.idle_s(entry);
    let mut line = format!(
        "Value at:{:#x} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        entry.address(),
        entry.encoding(),
        serialized_len(entry, compress),
        state.lru_seconds().wrapping_sub(idle_s) & 0x00ff_ffff,
        idle_s,
    );
    if let ValueRef::List(ListRef::Quick(quick)) = entry.value() {
        let nodes = quick.nodes();
        let bytes = quick.saved().map(|node| match node {
            Saved::Pack(bytes) | Saved::Plain(bytes) => bytes.len(),
            Saved::Folded { len, .. } => len,
        });
        let bytes = bytes.sum::<usize>();
        let average = quick.len() as f64 / nodes.max(1) as f64;
        line += &format!(
            " ql_nodes:{nodes} ql_avg_node:{average:.2} ql_listpack_max:{fill} ql_compressed:{} \
             ql_uncompressed_size:{bytes}",
            u8::from(depth > 0),
        );
    }
    ctx.out.simple(&line);
    Ok(Outcome::Done)
}

/// Bytes that the value takes in a file, written to nowhere.
fn serialized_len(entry: EntryRef<'_>, compress: bool) -> u64 {
    let mut nowhere = std::io::sink();
    let mut sink = Sink::to_writer(&mut nowhere, compress, false);
    entry.value().save(&mut sink);
    sink.position()
}

/// DEBUG SDSLEN: lengths of the key and of a string value, and the memory they take.
pub(super) fn string_sizes(ctx: &mut Ctx<'_>) -> CmdResult {
    let (db, key) = (ctx.db, ctx.arg(2));
    let entry = ctx.state.peek(db, key).ok_or(NO_SUCH_KEY)?;
    let Ok(value) = entry.string() else {
        return Err(CmdError::new("ERR Not an sds encoded string."));
    };
    if value.as_int().is_some() && value.encoding() == "int" {
        return Err(CmdError::new("ERR Not an sds encoded string."));
    }
    let (key_len, len, all) = (key.len(), value.len(), entry.mem_bytes());
    let own = all.saturating_sub(size_class(len));
    let line = format!(
        "key_sds_len:{key_len}, key_sds_avail:0, key_zmalloc: {own}, \
         val_sds_len:{len}, val_sds_avail:0, val_zmalloc: {}",
        all - own
    );
    ctx.out.simple(&line);
    Ok(Outcome::Done)
}

/// The shape of a table, as Redis describes its own. What a bucket holds with its overflow counts
/// as a chain.
fn table_text(name: &str, stats: &TableStats) -> String {
    let head = format!("Hash table 0 stats ({name}):\n");
    if stats.items == 0 {
        return format!("{head}No stats available for empty dictionaries\n");
    }
    let slots = stats.buckets - stats.chains[0].min(stats.buckets);
    let mut text = format!(
        "{head} table size: {}\n number of elements: {}\n different slots: {slots}\n \
         max chain length: {}\n avg chain length (counted): {:.2}\n \
         avg chain length (computed): {:.2}\n Chain length distribution:\n",
        stats.buckets,
        stats.items,
        stats.longest,
        stats.items as f64 / slots.max(1) as f64,
        stats.items as f64 / slots.max(1) as f64,
    );
    for (length, n) in stats.chains.iter().enumerate().filter(|(_, n)| **n > 0) {
        let percent = *n as f64 * 100.0 / stats.buckets.max(1) as f64;
        text.push_str(&format!("   {length}: {n} ({percent:.2}%)\n"));
    }
    text
}

/// DEBUG HTSTATS.
pub(super) fn table(ctx: &mut Ctx<'_>) -> CmdResult {
    let number = parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?;
    let number = usize::try_from(number).ok();
    let Some(number) = number.filter(|n| *n < ctx.state.dbs.count()) else {
        return Err(CmdError::new("ERR Out of range database"));
    };
    let db = &ctx.state.dbs[number];
    let mut text = String::from("[Dictionary HT]\n");
    text.push_str(&table_text("main hash table", &db.table_stats()));
    text.push_str("[Expires HT]\n");
    // Deadlines stand in the entries; the index over them is no table.
    match db.expires() {
        0 => text.push_str(
            "Hash table 0 stats (main hash table):\nNo stats available for empty dictionaries\n",
        ),
        n => text.push_str(&format!(
            " number of elements: {n}\n index bytes: {}\n",
            db.overhead_bytes().1
        )),
    }
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Outcome::Done)
}

/// DEBUG HTSTATS-KEY.
pub(super) fn table_of_key(ctx: &mut Ctx<'_>) -> CmdResult {
    let (db, key) = (ctx.db, ctx.arg(2));
    let entry = ctx.state.peek(db, key).ok_or(NO_SUCH_KEY)?;
    let Some(stats) = entry.value().table_stats() else {
        return Err(CmdError::new(
            "ERR The value stored at the specified key is not represented using an hash table",
        ));
    };
    let text = table_text("main hash table", &stats);
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Outcome::Done)
}

/// DEBUG PROTOCOL: one reply of each kind.
pub(super) fn protocol(ctx: &mut Ctx<'_>) -> CmdResult {
    let kind = ctx.arg(2).to_ascii_lowercase();
    let out = &mut *ctx.out;
    match kind.as_slice() {
        b"string" => out.bulk(b"Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double_text(b"3.141"),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"set" => {
            out.set(3);
            (0..3).for_each(|n| out.int(n));
        }
        b"map" => {
            out.map(3);
            for n in 0..3 {
                out.int(n);
                out.bool(n == 1);
            }
        }
        b"attrib" => {
            if out.attribute(1) {
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.int(90);
            }
            out.bulk(b"Some real reply following the attribute");
        }
        b"push" => {
            if !out.resp3 {
                return Err(CmdError::new("ERR RESP2 is not supported by this command"));
            }
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
            // A push is no reply: this is.
            out.bulk(b"Some real reply following the push reply");
        }
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => out.bool(true),
        b"false" => out.bool(false),
        b"bignum" => out.big_number(b"1234567999999999999999999999999999999"),
        _ => {
            return Err(CmdError::new(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(Outcome::Done)
}
