//! Fuzz targets: each takes any bytes and panics when a promise is broken.
//!
//! A target is a function of its module and one line of `TARGETS`; its seeds lie in
//! `seeds/<name>/`. The same functions run under libFuzzer (`guided`) and under a plain seeded
//! mutation loop (`blind`), so they must be deterministic and use public items only.

pub mod access;
pub mod loading;
pub mod replication;
pub mod reply;
pub mod request;
pub mod script;
pub mod scripts;

/// What a fuzzer calls.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", redvault::state::config::fuzz_config),
    ("access", access::run),
    ("request", request::run),
    ("reply", reply::run),
    ("rdb", loading::rdb),
    ("aof", loading::aof),
    ("handshake", replication::handshake),
    ("transfer", replication::transfer),
    ("follow", replication::stream),
    ("replicas", replication::replicas),
    ("codec", redvault::codec::fuzz_codec),
    ("lzf", redvault::base::lzf::fuzz_lzf),
    ("restore", redvault::types::dump::fuzz_restore),
    ("ziplist", redvault::ds::ziplist::fuzz_ziplist),
    ("zipmap", redvault::ds::zipmap::fuzz_zipmap),
    ("listpack", redvault::ds::listpack::fuzz_listpack),
    ("hll", redvault::ds::hll::fuzz_hll),
    ("stream", redvault::types::stream::fuzz_stream),
    ("intset", redvault::ds::intset::fuzz_intset),
    ("script", script::eval),
    ("scriptlibs", scripts::libraries),
];

/// The target of that name, or a message that lists those there are.
pub fn target(name: &str) -> Result<Target, String> {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.map(|(_, run)| *run).ok_or_else(|| {
        let known: Vec<&str> = TARGETS.iter().map(|(known, _)| *known).collect();
        format!("no fuzz target '{name}'; there are: {}", known.join(", "))
    })
}
