//! The list of families: the one place that knows them all, a line each.
use crate::commands;
use crate::exec::registry::{Family, Registry};

/// Every family of commands.
pub const FAMILIES: &[&Family] = &[
    &commands::string::FAMILY,
    &commands::bitmap::FAMILY,
    &commands::hyperloglog::FAMILY,
    &commands::pubsub::FAMILY,
    &commands::expire::FAMILY,
    &commands::list::FAMILY,
    &commands::hash::FAMILY,
    &commands::set::FAMILY,
    &commands::zset::FAMILY,
    &commands::zset_ops::FAMILY,
    &commands::geo::FAMILY,
    &commands::stream::FAMILY,
    &commands::stream::CONTAINERS,
    &commands::sort::FAMILY,
    &commands::connection::FAMILY,
    &commands::acl::FAMILY,
    &commands::acl::users::SHORT_FORMS,
    &commands::client::FAMILY,
    &commands::command::FAMILY,
    &commands::module::FAMILY,
    &commands::monitor::FAMILY,
    &commands::generic::FAMILY,
    &commands::generic::object::FAMILY,
    &commands::database::FAMILY,
    &commands::dump::FAMILY,
    &commands::dump::ASKING_FAMILY,
    &crate::script::function::FAMILY,
    &crate::replication::migrate::FAMILY,
    &crate::replication::wait::FAMILY,
    &crate::replication::failover::FAMILY,
    &commands::multi::FAMILY,
    &commands::status::FAMILY,
    &commands::config::FAMILY,
    &commands::group::FAMILY,
    &commands::info::FAMILY,
    &commands::commandlog::FAMILY,
    &commands::hotkeys::FAMILY,
    &crate::script::eval::FAMILY,
    &crate::persist::debug::FAMILY,
    &crate::persist::rewrite::FAMILY,
    &crate::persist::save::FAMILY,
    &crate::persist::flush::FAMILY,
    &commands::latency::FAMILY,
    &commands::memory::FAMILY,
    &crate::persist::shutdown::FAMILY,
    &crate::replication::psync::FAMILY,
    &crate::replication::replconf::FAMILY,
    &crate::replication::role::FAMILY,
    &crate::replication::replicaof::FAMILY,
];

/// The registry with the names in force.
pub fn build(rename: &dyn Fn(&str) -> Option<String>) -> Registry {
    let mut registry = Registry::new(FAMILIES, rename);
    registry.describe = commands::client_list::describe;
    registry
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::docs;
    use crate::exec::command::{Begin, Find, KeySpec, acl, flag, key_flag};
    use crate::exec::registry::Row;
    use std::collections::HashMap;

    /// Rows that 7.2 changed, or that have options newer than the server asked.
    const NEWER: &[&str] = &[
        "command|getkeys",
        "command|getkeysandflags",
        "zrank",
        "zrevrank",
    ];

    fn names(bits: u32, known: &[(u32, &str)]) -> String {
        let mut names: Vec<&str> = known
            .iter()
            .filter(|(bit, name)| bits & bit != 0 && !name.is_empty())
            .map(|(_, name)| *name)
            .collect();
        names.sort_unstable();
        names.join(",")
    }

    fn spec(spec: &KeySpec) -> String {
        let begin = match spec.begin {
            Begin::Index(at) => format!("index {at}"),
            Begin::Keyword(word, from) => format!("keyword {word} {from}"),
            Begin::Unknown => "unknown".to_string(),
        };
        let find = match spec.find {
            Find::Range { last, step, limit } => format!("range {last} {step} {limit}"),
            Find::KeyNum { at, first, step } => format!("keynum {at} {first} {step}"),
            Find::Unknown => "unknown".to_string(),
        };
        format!("{} {begin} {find}", names(spec.flags, key_flag::NAMES))
    }

    fn shown(row: &Row) -> String {
        let cmd = row.cmd;
        let keys: Vec<String> = cmd.keys.iter().map(spec).collect();
        format!(
            "{}\t{}\t{} {} {}\t{}\t{}",
            cmd.arity,
            names(cmd.flags, flag::NAMES),
            cmd.first_key,
            cmd.last_key,
            cmd.key_step,
            names(row.acl, acl::NAMES),
            keys.join("; ")
        )
    }

    /// What a real server says of a command holds here too.
    #[test]
    fn rows_are_those_of_redis() {
        let facts: HashMap<&str, &str> = include_str!("../../tests/assets/command-oracle.tsv")
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .collect();
        let table = build(&|_| None);
        let mut faults = Vec::new();
        for row in table.rows() {
            let name = table.name(row.id);
            let Some(fact) = facts.get(name).filter(|_| !NEWER.contains(&name)) else {
                continue;
            };
            let ours = shown(row);
            if ours != *fact {
                faults.push(format!("{name}:\n  ours   {ours}\n  theirs {fact}"));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn each_row_is_named_once_and_has_docs() {
        let table = build(&|_| None);
        let mut seen = std::collections::HashSet::new();
        for row in table.rows() {
            let name = table.name(row.id);
            assert!(seen.insert(name), "{name} twice");
            assert!(
                docs::find(name).is_some(),
                "{name} has no docs: add it to src/commands/docs/*.txt"
            );
        }
    }
}
