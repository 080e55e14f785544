//! `help`: of a command, of a group of them, or in general.
use super::docs::{Docs, Entry};
use super::session::Session;

const GENERAL: &str = "\
To get help about Redis commands type:
      \"help @<group>\" to get a list of commands in <group>
      \"help <command>\" for help on <command>
      \"help <tab>\" to get a list of possible help topics
      \"quit\" to exit

To set redis-cli preferences:
      \":set hints\" enable online hints
      \":set nohints\" disable online hints
";

/// Prints help about these words. What is not known yet is asked of the server.
pub fn run(session: &mut Session, topic: &[Vec<u8>], docs: Option<&Docs>) {
    let words: Vec<String> = topic
        .iter()
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let Some(first) = words.first() else {
        let version = env!("CARGO_PKG_VERSION");
        session.put(format!("redvault cli {version}\n{GENERAL}").as_bytes());
        return;
    };
    let fetched;
    let docs = match docs {
        Some(docs) => docs,
        None => {
            session.ready();
            fetched = session.docs();
            &fetched
        }
    };
    let text = match first.strip_prefix('@') {
        Some(group) => of_group(docs, group, session.terminal),
        None => of_command(docs, &words, session.terminal),
    };
    session.put(format!("{text}\n").as_bytes());
}

fn of_group(docs: &Docs, group: &str, colors: bool) -> String {
    let in_group = |entry: &Entry| entry.group.eq_ignore_ascii_case(group);
    docs.entries
        .iter()
        .filter(|(_, entry)| in_group(entry))
        .map(|(name, entry)| format!("\n{}", lines(name, entry, false, colors)))
        .collect()
}

fn of_command(docs: &Docs, words: &[String], colors: bool) -> String {
    let wanted = words.join(" ").to_uppercase();
    // A container is followed by its subcommands.
    let about = |name: &str| {
        let rest = name.strip_prefix(&wanted);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    docs.entries
        .iter()
        .filter(|(name, _)| about(name))
        .map(|(name, entry)| format!("\n{}", lines(name, entry, true, colors)))
        .collect()
}

fn lines(name: &str, entry: &Entry, with_group: bool, colors: bool) -> String {
    let paint = |code: &str, text: &str| match colors {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let mut out = format!("  {} {}\n", paint("1", name), paint("90", &entry.syntax()));
    let mut field = |name: &str, text: &str| {
        out.push_str(&format!("  {} {text}\n", paint("33", name)));
    };
    field("summary:", &entry.summary);
    field("since:", &entry.since);
    if with_group {
        field("group:", &entry.group);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_found_by_name_and_by_group() {
        let mut docs = Docs::default();
        for name in ["GET", "GETDEL", "CONFIG", "CONFIG GET"] {
            let entry = Entry {
                summary: format!("About {name}"),
                since: "1.0.0".to_owned(),
                group: "string".to_owned(),
                arguments: vec!["key".to_owned()],
            };
            docs.entries.insert(name.to_owned(), entry);
        }
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            of_command(&docs, &words, false)
        };
        let get = "\n  GET key\n  summary: About GET\n  since: 1.0.0\n  group: string\n";
        assert_eq!(of(&["get"]), get);
        assert_eq!(of(&["config"]).matches("summary").count(), 2);
        assert_eq!(of(&["nosuch"]), "");
        assert_eq!(
            of_group(&docs, "STRING", true).matches("summary").count(),
            4
        );
    }
}
