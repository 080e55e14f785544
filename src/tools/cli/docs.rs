//! What the server says of its commands (COMMAND DOCS), for completion, hints and `help`.
//!
//! Nothing about commands is written down here: whatever server is on the other end, its own answer holds.
use std::collections::BTreeMap;

use crate::resp::value::Value;

/// A command or a subcommand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub summary: String,
    pub since: String,
    pub group: String,
    /// The arguments, each as it is shown, in order.
    pub arguments: Vec<String>,
}

impl Entry {
    /// What follows the name.
    pub fn syntax(&self) -> String {
        self.arguments.join(" ")
    }
}

/// Every command by its name in capitals, subcommands as `CONFIG GET`.
#[derive(Debug, Default)]
pub struct Docs {
    pub entries: BTreeMap<String, Entry>,
}

impl Docs {
    /// Reads the answer to COMMAND DOCS, of either protocol.
    pub fn read(value: &Value) -> Docs {
        let mut docs = Docs::default();
        for (name, about) in fields(value) {
            docs.add("", &name, about);
        }
        docs
    }

    fn add(&mut self, container: &str, name: &str, about: &Value) {
        // Subcommands carry their container's name in front, behind a bar.
        let name = name.rsplit('|').next().unwrap_or_default().to_uppercase();
        let name = format!("{container}{name}");
        let mut entry = Entry::default();
        for (field, value) in fields(about) {
            match field.as_str() {
                "summary" => entry.summary = text(value),
                "since" => entry.since = text(value),
                "group" => entry.group = text(value),
                "arguments" => {
                    entry.arguments = items(value).iter().map(|arg| syntax(arg, 0)).collect();
                }
                // Two levels are all there are.
                "subcommands" if container.is_empty() => {
                    for (sub, about) in fields(value) {
                        self.add(&format!("{name} "), &sub, about);
                    }
                }
                _ => {}
            }
        }
        self.entries.insert(name, entry);
    }

    /// The groups, each once.
    pub fn groups(&self) -> Vec<&str> {
        let mut groups: Vec<&str> = self.entries.values().map(|e| e.group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// The longest name that the words begin with: it, its entry and how many words it takes.
    pub fn find(&self, words: &[&str]) -> Option<(&str, &Entry, usize)> {
        let found = |count: usize| {
            let name = words.get(..count)?.join(" ").to_uppercase();
            let (name, entry) = self.entries.get_key_value(&name)?;
            Some((name.as_str(), entry, count))
        };
        found(2).or_else(|| found(1))
    }

    /// What is still to be typed behind this line, if it names a command.
    pub fn hint(&self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (_, entry, named) = self.find(&words)?;
        let closed = line.ends_with(char::is_whitespace);
        if words.len() == named && !closed && entry.arguments.is_empty() {
            return None;
        }
        // The word under the cursor is still being typed.
        let typed = (words.len() - named).saturating_sub(usize::from(!closed));
        let mut rest: &[String] = &entry.arguments;
        let mut left = typed + usize::from(!closed && words.len() > named);
        while left > 0
            && let Some((first, more)) = rest.split_first()
        {
            // Options, and what can come again, stay in sight.
            let plain = !first.starts_with('[') && !first.ends_with("...]");
            if !plain {
                break;
            }
            left = left.saturating_sub(first.split(' ').count());
            rest = more;
        }
        let text = rest.join(" ");
        (!text.is_empty()).then(|| if closed { text } else { format!(" {text}") })
    }

    /// Names that begin with this line, in the case in which it is typed.
    pub fn complete(&self, line: &str) -> Vec<String> {
        let help = ["help ", "HELP ", "? "]
            .iter()
            .find(|word| line.starts_with(**word));
        let (before, typed) = line.split_at(help.map_or(0, |word| word.len()));
        let small = typed.chars().any(char::is_lowercase);
        let wanted = typed.to_uppercase();
        let mut names: Vec<String> = self.entries.keys().cloned().collect();
        if help.is_some() {
            names.extend(
                self.groups()
                    .iter()
                    .map(|group| format!("@{}", group.to_uppercase())),
            );
        }
        names.retain(|name| name.starts_with(&wanted));
        // GET before GEOADD: what is short is what is meant more often.
        names.sort_by_key(String::len);
        let cased = |name: String| match small || name.starts_with('@') {
            true => name.to_lowercase(),
            false => name,
        };
        names
            .into_iter()
            .map(|name| format!("{before}{}", cased(name)))
            .collect()
    }
}

/// An argument as it is to be typed.
fn syntax(argument: &Value, depth: usize) -> String {
    let mut about: BTreeMap<String, &Value> = BTreeMap::new();
    about.extend(fields(argument));
    let field = |name: &str| {
        about
            .get(name)
            .map_or_else(String::new, |value| text(value))
    };
    let inner = |between: &str| -> String {
        let parts = about.get("arguments").map_or(&[][..], |value| items(value));
        // Replies are not deeper than the decoder allows, and neither is this.
        let parts: Vec<String> = parts.iter().map(|part| syntax(part, depth + 1)).collect();
        parts.join(between)
    };
    let flags = about.get("flags").map_or(&[][..], |value| items(value));
    let has = |name: &str| {
        flags
            .iter()
            .any(|flag| flag.as_bytes() == Some(name.as_bytes()))
    };
    let token = about.get("token").map(|value| match text(value) {
        empty if empty.is_empty() => "\"\"".to_owned(),
        token => token,
    });
    let kind = field("type");
    let mut one = match kind.as_str() {
        "pure-token" => return optional(token.unwrap_or_default(), has("optional")),
        "oneof" => inner("|"),
        "block" => inner(" "),
        _ => match field("display_text") {
            none if none.is_empty() => field("name"),
            shown => shown,
        },
    };
    if kind == "oneof" && !has("optional") && (depth == 0 || token.is_some()) {
        one = format!("<{one}>");
    }
    let with_token = |one: &str| match &token {
        Some(token) => format!("{token} {one}"),
        None => one.to_owned(),
    };
    let whole = match (has("multiple"), has("multiple_token")) {
        (true, true) => format!("{0} [{0} ...]", with_token(&one)),
        (true, false) => format!("{} [{one} ...]", with_token(&one)),
        _ => with_token(&one),
    };
    optional(whole, has("optional"))
}

fn optional(text: String, optional: bool) -> String {
    if optional { format!("[{text}]") } else { text }
}

/// The fields of a map, or of an array that stands for one.
fn fields(value: &Value) -> Vec<(String, &Value)> {
    match value {
        Value::Map(pairs) => pairs
            .iter()
            .map(|(name, value)| (text(name), value))
            .collect(),
        Value::Array(items) => items
            .chunks_exact(2)
            .map(|pair| (text(&pair[0]), &pair[1]))
            .collect(),
        _ => Vec::new(),
    }
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        _ => &[],
    }
}

fn text(value: &Value) -> String {
    String::from_utf8_lossy(value.as_bytes().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    fn map(fields: Vec<(&str, Value)>) -> Value {
        Value::Map(
            fields
                .into_iter()
                .map(|(name, value)| (bulk(name), value))
                .collect(),
        )
    }

    fn argument(name: &str, kind: &str, more: Vec<(&str, Value)>) -> Value {
        map([vec![("name", bulk(name)), ("type", bulk(kind))], more].concat())
    }

    fn flags(names: &[&str]) -> (&'static str, Value) {
        let names = names
            .iter()
            .map(|name| Value::Simple(name.as_bytes().to_vec()));
        ("flags", Value::Set(names.collect()))
    }

    fn docs() -> Docs {
        let token = |name: &str| {
            let shown = bulk(&name.to_uppercase());
            argument(name, "pure-token", vec![("token", shown)])
        };
        let either = vec![
            flags(&["optional"]),
            ("arguments", Value::Array(vec![token("nx"), token("xx")])),
        ];
        let seconds = vec![("token", bulk("EX")), flags(&["optional"])];
        let get = map(vec![(
            "arguments",
            Value::Array(vec![argument(
                "parameter",
                "string",
                vec![flags(&["multiple"])],
            )]),
        )]);
        Docs::read(&map(vec![
            (
                "set",
                map(vec![
                    ("summary", bulk("Sets")),
                    ("group", bulk("string")),
                    (
                        "arguments",
                        Value::Array(vec![
                            argument("key", "key", vec![]),
                            argument("value", "string", vec![]),
                            argument("condition", "oneof", either),
                            argument("seconds", "integer", seconds),
                        ]),
                    ),
                ]),
            ),
            // As RESP2 has it.
            (
                "config",
                Value::Array(vec![bulk("subcommands"), map(vec![("config|get", get)])]),
            ),
        ]))
    }

    #[test]
    fn hints_show_what_is_still_to_come() {
        let docs = docs();
        for (line, hint) in [
            ("set", Some(" key value [NX|XX] [EX seconds]")),
            ("set ", Some("key value [NX|XX] [EX seconds]")),
            ("SET k", Some(" value [NX|XX] [EX seconds]")),
            ("set k ", Some("value [NX|XX] [EX seconds]")),
            ("set k v nx ", Some("[NX|XX] [EX seconds]")),
            ("config get ", Some("parameter [parameter ...]")),
            ("config", None),
            ("unknown ", None),
            ("", None),
        ] {
            assert_eq!(docs.hint(line).as_deref(), hint, "{line:?}");
        }
    }

    #[test]
    fn names_are_completed_in_the_typed_case() {
        let docs = docs();
        assert_eq!(docs.complete("se"), ["set"]);
        assert_eq!(docs.complete("CON"), ["CONFIG", "CONFIG GET"]);
        assert_eq!(docs.complete("help @s"), ["help @string"]);
        assert!(docs.complete("set k").is_empty());
    }
}
