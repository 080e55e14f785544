//! Reading configuration text: files, standard input and the command line all come through here as lines.
//!
//! The text is input like any other: no bytes in it may do worse than an error. The errors are worded and laid out
//! as Redis's, with the line's number and the line.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::secret;
use super::setting::{Origin, Reason};
use super::table::{Config, Directive, MULTI};
use crate::base::glob;

/// How deep files may include files.
const INCLUDE_DEPTH_MAX: usize = 16;
/// How many files may be included in all, so that files including each other end soon.
const INCLUDES_MAX: usize = 1024;

/// What Redis accepts with one argument and no longer looks at.
const FORGOTTEN: [&str; 3] = [
    "list-max-ziplist-entries",
    "list-max-ziplist-value",
    "lua-replicate-commands",
];

/// Why configuration text was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadError {
    /// A line is wrong.
    Line {
        /// Its number, from one.
        number: usize,
        /// The line without the space around it.
        line: Vec<u8>,
        /// What is wrong.
        reason: String,
    },
    /// The lines do not go together.
    Whole {
        /// What is wrong.
        reason: String,
    },
    /// A file cannot be read. Redis logs this one instead of printing it.
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = format!(
            "\n*** FATAL CONFIG FILE ERROR (Redis {}) ***",
            super::REDIS_VERSION
        );
        match self {
            LoadError::Line {
                number,
                line,
                reason,
            } => writeln!(
                f,
                "{head}\nReading the configuration file, at line {number}\n>>> '{}'\n{reason}",
                String::from_utf8_lossy(line)
            ),
            LoadError::Whole { reason } => writeln!(f, "{head}\n{reason}"),
            LoadError::Open { path, reason } => write!(
                f,
                "Fatal error, can't open config file '{}': {reason}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for LoadError {}

/// Checks the words behind `user`; the error is the whole message.
pub type UserCheck<'a> = dyn Fn(&[&[u8]]) -> Result<(), String> + 'a;

/// Tells whether there is a command of this name.
pub type CommandCheck<'a> = dyn Fn(&[u8]) -> bool + 'a;

/// What the parser must ask of parts that it does not know.
#[derive(Clone, Copy)]
pub struct Lookups<'a> {
    /// Is there a command of this name? For `rename-command`; None where nobody knows.
    pub command: Option<&'a CommandCheck<'a>>,
    /// Is this `user` line right?
    pub user: &'a UserCheck<'a>,
}

impl Lookups<'_> {
    /// Accepts every command and every user rule: for reading a file by itself.
    pub const ANY: Lookups<'static> = Lookups {
        command: None,
        user: &|_| Ok(()),
    };
}

/// Reads a whole configuration file.
pub fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    std::fs::read(path).map_err(|error| open_error(path, &error))
}

fn open_error(path: &Path, error: &io::Error) -> LoadError {
    LoadError::Open {
        path: path.to_owned(),
        reason: errno_text(error),
    }
}

/// The system's own words for an error, without the number that Rust adds.
pub fn errno_text(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(code) => nix::errno::Errno::from_raw(code).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Applies the lines of `text` to `config`, then checks that they go together. On an error `config` holds what the
/// lines before it said.
pub fn load(config: &mut Config, text: &[u8], lookups: Lookups<'_>) -> Result<(), LoadError> {
    let mut loader = Loader {
        config,
        lookups,
        depth: 0,
        includes: 0,
    };
    loader.lines(text)?;
    secret::read_files(config, |_| true).map_err(|(key, reason)| LoadError::Whole {
        reason: format!("{}: {reason}", Directive::of(key).name),
    })?;
    if config.cluster_enabled && config.replicaof.0.is_some() {
        return Err(LoadError::Whole {
            reason: "replicaof directive not allowed in cluster mode".to_owned(),
        });
    }
    Ok(())
}

/// Why a line was refused: by its own words, or by a file that it includes.
enum Refusal {
    Reason(Reason),
    Included(LoadError),
}

impl<T: Into<Reason>> From<T> for Refusal {
    fn from(reason: T) -> Self {
        Refusal::Reason(reason.into())
    }
}

struct Loader<'a, 'l> {
    config: &'a mut Config,
    lookups: Lookups<'l>,
    depth: usize,
    includes: usize,
}

impl Loader<'_, '_> {
    fn lines(&mut self, text: &[u8]) -> Result<(), LoadError> {
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = trim(line);
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            self.line(line).map_err(|refusal| match refusal {
                Refusal::Included(error) => error,
                Refusal::Reason(reason) => LoadError::Line {
                    number: index + 1,
                    line: without_secrets(line),
                    reason: reason.into_owned(),
                },
            })?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        let words = split_words(line).ok_or("Unbalanced quotes in configuration line")?;
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let Some((name, values)) = words.split_first() else {
            return Ok(());
        };
        if let Some(directive) = Directive::find(name) {
            return Ok(set_words(directive, self.config, values, Origin::File)?);
        }
        let name = name.to_ascii_lowercase();
        match (name.as_slice(), values) {
            (b"include", [path]) => self.include(path),
            (b"rename-command", [from, to]) => Ok(self.rename(from, to)?),
            (b"user", [_, ..]) => {
                if self.config.user.iter().any(|words| words[0] == values[0]) {
                    return Err(Refusal::Reason(
                        format!(
                            "Error in user declaration '{}': Duplicate user found. A user can only be defined \
                             once in config files",
                            String::from_utf8_lossy(values[0])
                        )
                        .into(),
                    ));
                }
                (self.lookups.user)(values)?;
                self.config.user.push(owned(values));
                Ok(())
            }
            (b"loadmodule", [_, ..]) => {
                self.config.loadmodule.push(owned(values));
                Ok(())
            }
            (b"sentinel", []) => Ok(()),
            (b"sentinel", _) => Err("sentinel directive while not in sentinel mode".into()),
            (name, [_]) if FORGOTTEN.iter().any(|known| known.as_bytes() == name) => Ok(()),
            (name, []) if name.contains(&b'.') => {
                Err("Module config specified without value".into())
            }
            _ => Err("Bad directive or wrong number of arguments".into()),
        }
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), &'static str> {
        if self.command_exists(from) == Some(false) {
            return Err("No such command in rename-command");
        }
        if !to.is_empty() && self.command_exists(to) == Some(true) {
            return Err("Target command name already exists");
        }
        self.config
            .rename_command
            .push((from.to_vec(), to.to_vec()));
        Ok(())
    }

    /// Is there a command of this name once the renames so far are done?
    fn command_exists(&self, name: &[u8]) -> Option<bool> {
        let renames = &self.config.rename_command;
        let last = renames.iter().rev().find_map(|(from, to)| {
            let is = |other: &[u8]| other.eq_ignore_ascii_case(name);
            match (is(to), is(from)) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            }
        });
        last.or_else(|| self.lookups.command.map(|known| known(name)))
    }

    fn include(&mut self, pattern: &[u8]) -> Result<(), Refusal> {
        if self.depth >= INCLUDE_DEPTH_MAX || self.includes >= INCLUDES_MAX {
            return Err("Too many nested or repeated include directives".into());
        }
        let pattern = Path::new(std::ffi::OsStr::from_bytes(pattern));
        for path in expand(&self.config.dir.0, pattern) {
            self.includes += 1;
            let shown = if path
                .components()
                .eq(self.config.dir.0.join(pattern).components())
            {
                pattern
            } else {
                &path
            };
            let text = std::fs::read(&path)
                .map_err(|error| Refusal::Included(open_error(shown, &error)))?;
            self.depth += 1;
            let outcome = self.lines(&text);
            self.depth -= 1;
            outcome.map_err(Refusal::Included)?;
        }
        Ok(())
    }
}

/// A faulty line as it may be shown: whoever reads the message may not be whoever may read the file.
pub(super) fn without_secrets(line: &[u8]) -> Vec<u8> {
    const HIDDEN: &[u8] = b"(redacted)";
    let end = line.iter().position(u8::is_ascii_whitespace);
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    if Directive::is_secret(name) && !rest.is_empty() {
        return [name, b" ", HIDDEN].concat();
    }
    if !name.eq_ignore_ascii_case(b"user") {
        return line.to_vec();
    }
    let is_password = |word: &[u8]| {
        let word = word.strip_prefix(b"\"").unwrap_or(word);
        word.first().is_some_and(|sign| b"><#!".contains(sign))
    };
    let words = line.split(u8::is_ascii_whitespace);
    let words: Vec<&[u8]> = words
        .map(|word| if is_password(word) { HIDDEN } else { word })
        .collect();
    words.join(&b' ')
}

/// Reads the words of one directive into its field: how many there may be, and the case of several words in one.
pub(super) fn set_words(
    directive: &Directive,
    config: &mut Config,
    words: &[&[u8]],
    origin: Origin,
) -> Result<(), Reason> {
    parse_words(directive, config, words, origin)?;
    secret::given(config, directive.key);
    Ok(())
}

fn parse_words(
    directive: &Directive,
    config: &mut Config,
    words: &[&[u8]],
    origin: Origin,
) -> Result<(), Reason> {
    let setting = (directive.get_mut)(config);
    if !directive.is(MULTI) {
        if words.len() != 1 {
            return Err("wrong number of arguments".into());
        }
        return setting.parse(words, &directive.rule, origin);
    }
    // `save "900 1"` is what a command line often makes of `save 900 1`.
    if let ([one], Origin::File) = (words, origin)
        && !one.is_empty()
        && let Some(split) = split_words(one)
    {
        let split: Vec<&[u8]> = split.iter().map(Vec::as_slice).collect();
        return setting.parse(&split, &directive.rule, origin);
    }
    setting.parse(words, &directive.rule, origin)
}

fn owned(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

/// Cuts the space that an editor leaves around a line.
pub(super) fn trim(line: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = line.iter().position(|b| !is_space(b)).unwrap_or(line.len());
    let end = line
        .iter()
        .rposition(|b| !is_space(b))
        .map_or(start, |at| at + 1);
    &line[start..end]
}

/// Splits a line into words. `"..."` may hold `\n \r \t \b \a \xHH` and `\` before any other byte; `'...'` may hold
/// `\'`. None if a quote is not closed, or not followed by space.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c | 0);
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let [byte, tail @ ..] = rest
            && is_space(*byte)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        loop {
            match rest {
                [] => break,
                [b'"', tail @ ..] => {
                    rest = double_quoted(tail, &mut word)?;
                    if !matches!(rest, [] | [b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c, ..]) {
                        return None;
                    }
                    break;
                }
                [b'\'', tail @ ..] => {
                    rest = single_quoted(tail, &mut word)?;
                    if !matches!(rest, [] | [b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c, ..]) {
                        return None;
                    }
                    break;
                }
                [b' ' | b'\t' | b'\r' | b'\n' | 0, ..] => break,
                [byte, tail @ ..] => {
                    word.push(*byte);
                    rest = tail;
                }
            }
        }
        words.push(word);
    }
}

/// Reads up to the closing quote and gives what follows it.
fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, tail) = match rest {
            [] => return None,
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), tail)
            }
            [b'\\', escaped, tail @ ..] => {
                let byte = match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                };
                (byte, tail)
            }
            [byte, tail @ ..] => (*byte, tail),
        };
        word.push(byte);
        rest = tail;
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, tail) = match rest {
            [] => return None,
            [b'\'', tail @ ..] => return Some(tail),
            [b'\\', b'\'', tail @ ..] => (b'\'', tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        word.push(byte);
        rest = tail;
    }
}

/// The value of a digit that is known to be hexadecimal.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// The files that a path with wildcards names, in order; a path without them names itself. A pattern that matches
/// nothing names no file, so that an empty folder of extra files is no error.
fn expand(base: &Path, pattern: &Path) -> Vec<PathBuf> {
    let wild = |text: &[u8]| text.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
    let mut found = vec![base.to_owned()];
    for component in pattern.components() {
        let text = component.as_os_str().as_bytes();
        if !wild(text) {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let Ok(entries) = std::fs::read_dir(folder) else {
                continue;
            };
            let names = entries.flatten().map(|entry| entry.file_name());
            let matching = names.filter(|name| {
                let name = name.as_bytes();
                // As a shell does: hidden files only when asked for.
                (name[0] != b'.' || text[0] == b'.') && glob::matches(text, name, false)
            });
            next.extend(matching.map(|name| folder.join(name)));
        }
        next.sort();
        found = next;
    }
    found
}

/// For the fuzzer: no bytes may panic the parser, and what it accepts must survive being shown and read again.
pub fn fuzz_config(data: &[u8]) {
    let text: Vec<u8> = data
        .split(|byte| *byte == b'\n')
        // Files outside the fuzzer's input would make runs differ.
        .filter(|line| !trim(line).to_ascii_lowercase().starts_with(b"include"))
        .flat_map(|line| [line, b"\n"].concat())
        .collect();
    let mut config = Config::default();
    if load(&mut config, &text, Lookups::ANY).is_ok() {
        let written = super::rewrite::rewrite(&text, &config, true);
        let mut again = Config::default();
        load(&mut again, &written, Lookups::ANY).expect("what was written is read again");
        for directive in super::DIRECTIVES {
            assert_eq!(
                directive.show(&config),
                directive.show(&again),
                "{}",
                directive.name
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::config::table::HIDDEN;

    fn loaded(text: &str) -> Config {
        let mut config = Config::default();
        load(&mut config, text.as_bytes(), Lookups::ANY).unwrap_or_else(|e| panic!("{e}"));
        config
    }

    fn refused(text: &str) -> String {
        let only_get_and_set = Lookups {
            command: Some(&|name| [&b"get"[..], b"set"].contains(&name)),
            user: &|words| match words {
                [_, b"on"] => Ok(()),
                _ => Err("Error in user declaration 'x': Syntax error".to_owned()),
            },
        };
        let outcome = load(&mut Config::default(), text.as_bytes(), only_get_and_set);
        let error = outcome.expect_err("the text is wrong").to_string();
        let head = format!(
            "\n*** FATAL CONFIG FILE ERROR (Redis {}) ***\n",
            crate::state::config::REDIS_VERSION
        );
        error
            .strip_prefix(&head)
            .map_or(error.clone(), str::to_owned)
    }

    #[test]
    fn words_are_split_as_redis_does() {
        let words = |line: &str| {
            split_words(line.as_bytes()).map(|words| {
                let texts = words.iter().map(|word| String::from_utf8_lossy(word));
                texts.map(|text| text.into_owned()).collect::<Vec<_>>()
            })
        };
        let some = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        assert_eq!(words(""), some(&[]));
        assert_eq!(words(" a\tb  "), some(&["a", "b"]));
        assert_eq!(words(r#"a "" ''"#), some(&["a", "", ""]));
        assert_eq!(words(r#""\x41\n\"\q\xg1""#), some(&["A\n\"qxg1"]));
        assert_eq!(words(r"'a\'b\n'"), some(&["a'b\\n"]));
        assert_eq!(words(r#"pre"fix""#), some(&["prefix"]));
        for unbalanced in [r#"""#, "'", r#""a"b"#, "'a'b", r#""a\"#, r#"a "b"c"#] {
            assert_eq!(words(unbalanced), None, "{unbalanced}");
        }
    }

    #[test]
    fn errors_are_laid_out_as_redis_does() {
        assert_eq!(
            refused("\n\n  # x\n   PORT   abc  # c\n"),
            "Reading the configuration file, at line 4\n>>> 'PORT   abc  # c'\nwrong number of arguments\n"
        );
        assert_eq!(
            refused("port \"1\n"),
            "Reading the configuration file, at line 1\n>>> 'port \"1'\n\
             Unbalanced quotes in configuration line\n"
        );
        assert_eq!(
            refused("replicaof a 1\ncluster-enabled yes\n"),
            "replicaof directive not allowed in cluster mode\n"
        );
        assert_eq!(
            refused("include nofile\n"),
            "Fatal error, can't open config file 'nofile': No such file or directory"
        );
    }

    #[test]
    fn lines_without_a_field_are_checked_too() {
        let reason = |text: &str| refused(text).lines().last().map(str::to_owned);
        for (text, expected) in [
            ("zzz 1", "Bad directive or wrong number of arguments"),
            ("\"\"", "Bad directive or wrong number of arguments"),
            ("user", "Bad directive or wrong number of arguments"),
            ("include", "Bad directive or wrong number of arguments"),
            ("user a off", "Error in user declaration 'x': Syntax error"),
            (
                "sentinel x",
                "sentinel directive while not in sentinel mode",
            ),
            ("mod.x", "Module config specified without value"),
            ("rename-command a b", "No such command in rename-command"),
            (
                "rename-command get set",
                "Target command name already exists",
            ),
            (
                "rename-command get x\nrename-command set X",
                "Target command name already exists",
            ),
            (
                "rename-command get \"\"\nrename-command get x",
                "No such command in rename-command",
            ),
        ] {
            assert_eq!(reason(text).as_deref(), Some(expected), "{text}");
        }
        let config = loaded(
            "rename-command get x\nuser a on >b\nloadmodule /m.so 1\nlist-max-ziplist-value 1\nsentinel",
        );
        assert_eq!(config.rename_command, [(b"get".to_vec(), b"x".to_vec())]);
        assert_eq!(
            config.user,
            [[b"a".to_vec(), b"on".to_vec(), b">b".to_vec()]]
        );
        assert_eq!(config.loadmodule, [[b"/m.so".to_vec(), b"1".to_vec()]]);
    }

    #[test]
    fn later_lines_win_and_save_lines_add_up() {
        let config = loaded("hash-max-ziplist-entries 20\nHASH-MAX-LISTPACK-ENTRIES 21\r\n");
        assert_eq!(config.hash_max_listpack_entries, 21);
        let save = |text: &str| {
            String::from_utf8(Directive::of(crate::state::config::Key::save).show(&loaded(text)))
        };
        assert_eq!(save("").as_deref(), Ok("3600 1 300 100 60 10000"));
        assert_eq!(save("save 900 1").as_deref(), Ok("900 1"));
        assert_eq!(
            save("save 900 1\nsave 100 100").as_deref(),
            Ok("900 1 100 100")
        );
        assert_eq!(save("save \"900 1  2 3\"").as_deref(), Ok("900 1 2 3"));
        assert_eq!(save("save 900 1\nsave \"\"").as_deref(), Ok(""));
        assert_eq!(save("save \"\"\nsave 5 1").as_deref(), Ok("5 1"));
    }

    #[test]
    fn includes_take_patterns_and_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("b.conf"), "hz 20\n").expect("written");
        std::fs::write(at("a.conf"), "hz 30\ntimeout 7\n").expect("written");
        std::fs::write(at(".hidden.conf"), "bad line here\n").expect("written");
        let text = format!(
            "dir {}\ninclude *.conf\ninclude none/*.conf\n",
            folder.path().display()
        );
        let config = loaded(&text);
        assert_eq!(
            (config.hz, config.timeout),
            (20, 7),
            "in order of their names"
        );

        std::fs::write(at("a.conf"), "include a.conf\n").expect("written");
        assert!(refused(&text).ends_with("Too many nested or repeated include directives\n"));
        std::fs::write(at("a.conf"), "\nzzz\n").expect("written");
        assert!(refused(&text).starts_with("Reading the configuration file, at line 2\n>>> 'zzz'"));
    }

    /// The file we ship must start, and must not claim a default that is none, nor keep silent on a directive.
    #[test]
    fn the_shipped_file_tells_the_truth() {
        let shipped = include_str!("../../../redvault.conf");
        let mut named = Vec::new();
        for line in shipped.lines() {
            // "# " explains; "#name value" shows a default.
            let Some(line) = line.strip_prefix('#') else {
                named.extend(line.split(' ').next());
                continue;
            };
            if line.is_empty() || line.starts_with(' ') {
                continue;
            }
            let config = loaded(line);
            let name = line.split(' ').next().unwrap_or_default();
            let directive = Directive::find(name.as_bytes()).expect("it has just been read");
            let default = directive.show(&Config::default());
            assert_eq!(directive.show(&config), default, "{line}");
            named.push(directive.name);
        }
        for directive in super::super::DIRECTIVES {
            let expected = directive.unused.is_none() && !directive.is(HIDDEN);
            // Shown in a comment: it has no default to show.
            let exempt = directive.name == "replicaof";
            assert_eq!(
                named.contains(&directive.name),
                expected && !exempt,
                "{}",
                directive.name
            );
        }

        let folder = tempfile::tempdir().expect("a folder");
        let started = shipped.replace("dir ./data", &format!("dir {}", folder.path().display()));
        let config = loaded(&started);
        assert_eq!(config.bind.0, ["127.0.0.1", "-::1"]);
        assert_eq!((config.port, config.protected_mode), (6379, true));
        assert!(config.without_effect().is_empty());
        assert!(shipped.lines().all(|line| line.len() <= 120));
    }

    /// Whatever is accepted must be written such that it is read as the same again; nothing may panic.
    #[test]
    fn any_text_is_read_or_refused() {
        let mut rng = crate::base::rng::Rng::from_seed(7);
        let names: Vec<&str> = super::super::DIRECTIVES.iter().map(|d| d.name).collect();
        let words = [
            "yes",
            "no",
            "\"\"",
            "0",
            "1",
            "-1",
            "100",
            "1gb",
            "10%",
            "a b",
            "\"x y\"",
            "'",
            "\"\\x00\"",
            "KEA",
            "normal 1 2 3",
            "save",
            "\\",
            "\0",
            "é",
            "127.0.0.1",
            "{title}",
            "50 99",
            "\"1 2 3\"",
            "everysec",
        ];
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..1 + rng.below(4) {
                text += names[rng.below(names.len() as u64) as usize];
                for _ in 0..rng.below(4) {
                    text.push(' ');
                    text += words[rng.below(words.len() as u64) as usize];
                }
                text.push('\n');
            }
            fuzz_config(text.as_bytes());
        }
    }
}
