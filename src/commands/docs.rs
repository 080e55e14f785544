//! What COMMAND DOCS tells about each command, and COMMAND INFO's tips: a cold table beside the rows.
//!
//! A text file for each group holds, for each command: a line with name, version and cost, its
//! summary, then its arguments (`:`), tips (`~`), notes on its key specs by their number (`=`) and
//! whether it is outdated (`!`). Arguments are
//! written as one line of syntax (`docs_syntax`) and taken apart only when somebody asks.
use super::docs_syntax::{Arg, Kind, parse};
use crate::resp::reply::Writer;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Group names with their texts.
const TEXTS: &[(&str, &str)] = &[
    ("bitmap", include_str!("docs/bitmap.txt")),
    ("cluster", include_str!("docs/cluster.txt")),
    ("connection", include_str!("docs/connection.txt")),
    ("generic", include_str!("docs/generic.txt")),
    ("geo", include_str!("docs/geo.txt")),
    ("hash", include_str!("docs/hash.txt")),
    ("hyperloglog", include_str!("docs/hyperloglog.txt")),
    ("list", include_str!("docs/list.txt")),
    ("pubsub", include_str!("docs/pubsub.txt")),
    ("scripting", include_str!("docs/scripting.txt")),
    ("server", include_str!("docs/server.txt")),
    ("set", include_str!("docs/set.txt")),
    ("sorted-set", include_str!("docs/sorted_set.txt")),
    ("stream", include_str!("docs/stream.txt")),
    ("string", include_str!("docs/string.txt")),
    ("transactions", include_str!("docs/transactions.txt")),
];

/// What is known of a command besides its row.
#[derive(Debug, Default)]
pub struct Doc {
    group: &'static str,
    since: &'static str,
    complexity: &'static str,
    summary: &'static str,
    /// Syntax of the arguments; empty without any.
    syntax: String,
    /// COMMAND INFO's tips.
    pub tips: Vec<&'static str>,
    /// Notes on key specs: the spec's number, a space, the note.
    notes: Vec<&'static str>,
    /// `syscmd`, or `deprecated` with the version and what to use instead.
    status: Option<&'static str>,
}

static DOCS: LazyLock<HashMap<&'static str, Doc>> = LazyLock::new(|| {
    let mut docs = HashMap::new();
    for (group, text) in TEXTS {
        let mut lines = text.lines().peekable();
        while let Some(head) = lines.next() {
            let (name, rest) = head.split_once(' ').unwrap_or((head, ""));
            let (since, complexity) = rest.split_once(' ').unwrap_or((rest, ""));
            let mut doc = Doc {
                group,
                since,
                complexity,
                ..Doc::default()
            };
            while let Some(line) = lines.next_if(|line| line.starts_with("  ")) {
                let line = line.trim();
                match line.split_at_checked(2) {
                    Some((": ", syntax)) => {
                        if !doc.syntax.is_empty() {
                            doc.syntax.push(' ');
                        }
                        doc.syntax.push_str(syntax);
                    }
                    Some(("~ ", tips)) => doc.tips.extend(tips.split(' ')),
                    Some(("= ", note)) => doc.notes.push(note),
                    Some(("! ", status)) => doc.status = Some(status),
                    _ => doc.summary = line,
                }
            }
            docs.insert(name, doc);
        }
    }
    docs
});

/// What is known of a command, by its name in lower case (`container|sub`).
pub fn find(name: &str) -> Option<&'static Doc> {
    DOCS.get(name)
}

impl Doc {
    /// The note on a key spec.
    pub fn note(&self, spec: usize) -> Option<&'static str> {
        self.notes.iter().find_map(|line| {
            let (number, note) = line.split_once(' ')?;
            (number.parse() == Ok(spec)).then_some(note)
        })
    }

    /// The arguments that the command takes.
    pub fn args(&self) -> Vec<Arg<'_>> {
        parse(&self.syntax).unwrap_or_default()
    }

    /// Writes the map of COMMAND DOCS; `subs` writes what stands under `subcommands`, if any.
    pub fn write(&self, out: &mut Writer, subs: Option<&mut dyn FnMut(&mut Writer)>) {
        let args = parse(&self.syntax).unwrap_or_default();
        let map = out.open();
        let mut fields = 4;
        for (field, text) in [
            ("summary", self.summary),
            ("since", self.since),
            ("group", self.group),
            ("complexity", self.complexity),
        ] {
            out.bulk(field.as_bytes());
            out.bulk(text.as_bytes());
        }
        if let Some(status) = self.status {
            let mut words = status.splitn(3, ' ');
            fields += 1;
            out.bulk(b"doc_flags");
            out.set(1);
            out.simple(words.next().unwrap_or_default());
            for field in ["deprecated_since", "replaced_by"] {
                if let Some(text) = words.next() {
                    fields += 1;
                    out.bulk(field.as_bytes());
                    out.bulk(text.as_bytes());
                }
            }
        }
        if !args.is_empty() {
            fields += 1;
            out.bulk(b"arguments");
            write_args(out, &args);
        }
        if let Some(subs) = subs {
            fields += 1;
            out.bulk(b"subcommands");
            subs(out);
        }
        out.close_map(map, fields);
    }
}

fn write_args(out: &mut Writer, args: &[Arg<'_>]) {
    out.array(args.len());
    for arg in args {
        let flags: Vec<&str> = [
            (arg.optional, "optional"),
            (arg.multiple, "multiple"),
            (arg.multiple_token, "multiple_token"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
        .collect();
        let nested = matches!(arg.kind, Kind::OneOf | Kind::Block);
        out.map(
            2 + usize::from(arg.key_spec.is_some())
                + usize::from(arg.token.is_some())
                + usize::from(!flags.is_empty())
                + usize::from(nested),
        );
        out.bulk(b"name");
        out.bulk(arg.name.to_ascii_lowercase().as_bytes());
        out.bulk(b"type");
        out.bulk(arg.kind.name().as_bytes());
        if let Some(spec) = arg.key_spec {
            out.bulk(b"key_spec_index");
            out.int(spec);
        }
        if let Some(token) = arg.token {
            out.bulk(b"token");
            out.bulk(token.as_bytes());
        }
        if !flags.is_empty() {
            out.bulk(b"flags");
            out.set(flags.len());
            flags.iter().for_each(|flag| out.simple(flag));
        }
        if nested {
            out.bulk(b"arguments");
            write_args(out, &arg.args);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_complete() {
        for (name, doc) in DOCS.iter() {
            assert!(!doc.summary.is_empty(), "{name}: no summary");
            assert!(doc.since.split('.').count() == 3, "{name}: no version");
            assert!(!doc.complexity.is_empty(), "{name}: no cost");
            assert!(parse(&doc.syntax).is_some(), "{name}: {}", doc.syntax);
        }
        assert!(DOCS.len() > 380, "{}", DOCS.len());
    }

    #[test]
    fn arguments_are_nested_as_redis_nests_them() {
        let mut out = Writer::new(true);
        find("set").expect("SET has docs").write(&mut out, None);
        let text = String::from_utf8(out.to_vec()).expect("plain text");
        let words: Vec<&str> = text
            .split("\r\n")
            .filter(|w| !w.starts_with(['$', '%', '*', '~']))
            .collect();
        let shown = words.join(" ");
        for part in [
            "arguments name key type key key_spec_index :0 name value type string",
            "name condition type oneof flags +optional arguments name nx type pure-token token NX",
            "name get type pure-token token GET flags +optional",
            "name expiration type oneof flags +optional arguments name seconds type integer token EX",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }
}
