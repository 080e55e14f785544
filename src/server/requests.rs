//! Example requests of every row, `tests/assets/requests.txt`, and what must hold of each of them.
//!
//! Only tests: access is right only if it is right for every command, so a row without an example fails.
mod intruder;
mod rights;

use super::registry::build;
use crate::exec::command::flag;
use crate::exec::keys;
use crate::exec::process::resolve_row;
use crate::exec::registry::{CommandId, Registry};
use crate::resp::request::OwnedArgv;
use crate::state::users::User;
use crate::state::users::pattern::Access;

/// What a request does with one of its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// A key, which must be readable, changeable.
    Key(bool, bool),
    Channel,
    Pattern,
}

/// A request, and which of its words are keys or channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    pub line: String,
    pub words: Vec<String>,
    pub marks: Vec<(usize, Mark)>,
}

impl Example {
    fn parse(line: &str) -> Example {
        let known = [
            ("%RW~", Mark::Key(true, true)),
            ("%R~", Mark::Key(true, false)),
            ("%W~", Mark::Key(false, true)),
            ("%~", Mark::Key(false, false)),
            ("&&", Mark::Pattern),
            ("&", Mark::Channel),
        ];
        let mut marks = Vec::new();
        let words = line.split(' ').enumerate().map(|(at, word)| {
            let found = known.iter().find(|(text, _)| word.starts_with(text));
            let Some((text, mark)) = found else {
                return word.replace("\"\"", "");
            };
            marks.push((at, *mark));
            word[text.len()..].to_string()
        });
        Example {
            line: line.to_string(),
            words: words.collect(),
            marks,
        }
    }

    /// As it is sent.
    pub fn argv(&self) -> Box<OwnedArgv> {
        Box::new(self.words.iter().map(|word| word.as_bytes()).collect())
    }

    /// The keys with the rights that they need.
    pub fn keys(&self) -> Vec<(usize, (bool, bool))> {
        let key = |(at, mark): &(usize, Mark)| match mark {
            Mark::Key(reads, changes) => Some((*at, (*reads, *changes))),
            _ => None,
        };
        self.marks.iter().filter_map(key).collect()
    }
}

/// The examples of commands that are there, with their rows.
pub fn examples(table: &Registry) -> Vec<(CommandId, Example)> {
    let lines = include_str!("../../tests/assets/requests.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("# "));
    let mut known = Vec::new();
    for example in lines.map(Example::parse) {
        let argv = example.argv();
        let Some(row) = table.find(argv.argv().get(0)) else {
            continue;
        };
        match resolve_row(table, Some(row), argv.argv()) {
            Ok(row) => known.push((row.id, example)),
            // A subcommand that comes later.
            Err((None, _)) => {}
            Err((_, error)) => panic!("{}: {error:?}", example.line),
        }
    }
    known
}

#[test]
fn each_row_has_an_example() {
    let table = build(&|_| None);
    let known: Vec<CommandId> = examples(&table).iter().map(|(id, _)| *id).collect();
    let without: Vec<&str> = table
        .rows()
        .iter()
        .filter(|row| !row.cmd.is(flag::CONTAINER) && !known.contains(&row.id))
        .map(|row| table.name(row.id))
        .collect();
    assert!(
        without.is_empty(),
        "add a request of these to tests/assets/requests.txt, its keys marked: {without:?}"
    );
}

#[test]
fn the_keys_of_each_example_are_found_with_what_it_does_to_them() {
    let table = build(&|_| None);
    let mut faults = Vec::new();
    for (id, example) in examples(&table) {
        let argv = example.argv();
        let found = keys::find(table.row(id).cmd, argv.argv()).unwrap_or_default();
        let mut found: Vec<_> = found
            .iter()
            .map(|key| (key.at, keys::needs(key.flags)))
            .collect();
        found.sort_unstable();
        if found != example.keys() {
            faults.push(format!("{}: {found:?}", example.line));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A user who may run every command on these keys, and use these channels.
fn user_with(table: &Registry, keys: &[(&str, Access)], channels: &[&str]) -> User {
    let mut user = User::new(b"u", table.rows().len());
    let root = &mut user.selectors[0];
    root.commands.allow_all();
    keys.iter()
        .for_each(|(key, access)| root.keys.add(key.as_bytes(), *access));
    channels
        .iter()
        .for_each(|name| root.channels.add(name.as_bytes()));
    user
}
