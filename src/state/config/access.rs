//! CONFIG GET and CONFIG SET over the table, without side effects of their own.
//!
//! A SET of several directives holds or fails as one. Whatever must happen outside (sockets, limits) is done by the
//! caller's `apply`, which may refuse: then it is asked to go back to the old values and the old values stay.

use std::sync::LazyLock;

use super::choices::ProtectedAction;
use super::file::set_words;
use super::secret;
use super::setting::Origin;
use super::table::{
    Config, DENY_LOADING, DIRECTIVES, Directive, HIDDEN, IMMUTABLE, Key, MULTI, PROTECTED,
    SENSITIVE, VOLATILE,
};
use crate::base::glob;

/// Every name and alias with its directive, sorted by name.
static NAMES: LazyLock<Vec<(&'static str, &'static Directive)>> = LazyLock::new(|| {
    let mut names: Vec<_> = DIRECTIVES
        .iter()
        .flat_map(|directive| {
            let alias = directive.alias.map(|alias| (alias, directive));
            std::iter::once((directive.name, directive)).chain(alias)
        })
        .collect();
    names.sort_unstable_by_key(|(name, _)| *name);
    names
});

impl Directive {
    /// The directive of this name or alias, in either case.
    pub fn find(name: &[u8]) -> Option<&'static Directive> {
        let name = name.to_ascii_lowercase();
        let at = NAMES
            .binary_search_by_key(&name.as_slice(), |(known, _)| known.as_bytes())
            .ok()?;
        Some(NAMES[at].1)
    }

    /// The directive that sets this field.
    pub fn of(key: Key) -> &'static Directive {
        &DIRECTIVES[key as usize]
    }

    /// True if values of this name are secrets: they are masked wherever commands are logged.
    pub fn is_secret(name: &[u8]) -> bool {
        Directive::find(name).is_some_and(|directive| directive.is(SENSITIVE))
    }
}

impl Config {
    /// The directives that are set to something, although they have no effect here, and why.
    pub fn without_effect(&self) -> Vec<(&'static Directive, &'static str)> {
        Changed::between(&Config::default(), self)
            .iter()
            .filter_map(|directive| Some((directive, directive.unused?)))
            .collect()
    }
}

/// A set of directives whose values have changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Changed([u64; 4]);

// One bit for each directive.
const _: () = assert!(DIRECTIVES.len() <= 256);

impl Changed {
    /// Every directive that differs between two configurations.
    pub fn between(old: &Config, new: &Config) -> Changed {
        let mut changed = Changed::default();
        for directive in DIRECTIVES {
            if directive.show(old) != directive.show(new) {
                changed.insert(directive.key);
            }
        }
        changed
    }

    /// Adds one.
    pub fn insert(&mut self, key: Key) {
        self.0[key as usize / 64] |= 1 << (key as usize % 64);
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: &Changed) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    /// True if this one has changed.
    pub fn has(&self, key: Key) -> bool {
        self.0[key as usize / 64] & (1 << (key as usize % 64)) != 0
    }

    /// True if any of these has changed.
    pub fn any(&self, keys: &[Key]) -> bool {
        keys.iter().any(|key| self.has(*key))
    }

    /// True if nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// What has changed, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = &'static Directive> {
        DIRECTIVES
            .iter()
            .filter(move |directive| self.has(directive.key))
    }
}

/// Who asks for a change, as far as that matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Caller {
    /// The connection comes from this machine.
    pub local: bool,
    /// A dataset is being loaded.
    pub loading: bool,
    /// In a transaction: more is done before anybody else is served.
    pub transaction: bool,
}

/// What makes a change take hold outside: old values, new values, what differs. An error names the directive that
/// could not be applied and why; `apply` must then also be ready to be called the other way round.
pub type Apply<'a> = dyn FnMut(&Config, &Config, &Changed) -> Result<(), (Key, String)> + 'a;

/// For changes that nothing outside can refuse.
pub fn always(_: &Config, _: &Config, _: &Changed) -> Result<(), (Key, String)> {
    Ok(())
}

/// CONFIG SET of several names and values. The error is the whole error reply without its leading `-`.
pub fn set(
    config: &mut Config,
    pairs: &[(&[u8], &[u8])],
    caller: Caller,
    apply: &mut Apply<'_>,
) -> Result<Changed, String> {
    let directives = admit(config, pairs, caller)?;
    let mut new = config.clone();
    let (mut named, mut changed) = (Changed::default(), Changed::default());
    for (directive, (name, value)) in directives.into_iter().zip(pairs) {
        let words: Vec<&[u8]> = match directive.is(MULTI) {
            true if value.is_empty() => Vec::new(),
            true => value.split(|byte| *byte == b' ').collect(),
            false => vec![value],
        };
        set_words(directive, &mut new, &words, Origin::Command).map_err(|reason| {
            let name = String::from_utf8_lossy(name).to_ascii_lowercase();
            failed(&name, &reason)
        })?;
        named.insert(directive.key);
    }
    let read = secret::read_files(&mut new, |key| named.has(key))
        .map_err(|(key, reason)| failed(Directive::of(key).name, &reason))?;
    read.into_iter().for_each(|key| named.insert(key));
    for directive in named.iter() {
        if directive.is(VOLATILE) || directive.show(config) != directive.show(&new) {
            changed.insert(directive.key);
        }
    }
    if let Err((key, reason)) = apply(config, &new, &changed) {
        // The old values held before, so going back to them is not expected to fail; if it does, the values that
        // are shown are still the ones that were asked for last and held.
        let _ = apply(&new, config, &changed);
        return Err(failed(Directive::of(key).name, &reason));
    }
    *config = new;
    Ok(changed)
}

fn failed(name: &str, reason: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
}

/// Looks every name up and checks that it may be set at all. The first fault counts.
fn admit(
    config: &Config,
    pairs: &[(&[u8], &[u8])],
    caller: Caller,
) -> Result<Vec<&'static Directive>, String> {
    let protected = match config.enable_protected_configs {
        ProtectedAction::Yes => true,
        ProtectedAction::Local => caller.local,
        ProtectedAction::No => false,
    };
    let mut directives = Vec::with_capacity(pairs.len());
    for (at, (name, _)) in pairs.iter().enumerate() {
        let shown = String::from_utf8_lossy(name);
        let Some(directive) = Directive::find(name) else {
            return Err(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{shown}'"
            ));
        };
        if directive.is(IMMUTABLE) {
            return Err(failed(&shown, "can't set immutable config"));
        }
        if directive.is(PROTECTED) && !protected {
            return Err(failed(&shown, "can't set protected config"));
        }
        if directive.is(DENY_LOADING) && caller.loading {
            return Err("LOADING Redis is loading the dataset in memory".to_owned());
        }
        // A name and its alias are not taken for the same one; the later value holds.
        let earlier = pairs[..at].iter();
        if earlier
            .into_iter()
            .any(|(other, _)| other.eq_ignore_ascii_case(name))
        {
            return Err(failed(&shown, "duplicate parameter"));
        }
        directives.push(directive);
    }
    Ok(directives)
}

/// CONFIG GET: names and values for several patterns, each name once. A name without wildcards is looked up, finds
/// hidden directives too, and is answered as it was written.
pub fn get(config: &Config, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |name: &[u8], directive: &Directive| {
        if !found
            .iter()
            .any(|(seen, _)| seen.eq_ignore_ascii_case(name))
        {
            let value = match secret::is_hidden(config, directive.key) {
                true => Vec::new(),
                false => directive.show(config),
            };
            found.push((name.to_vec(), value));
        }
    };
    for pattern in patterns {
        if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
            if let Some(directive) = Directive::find(pattern) {
                add(pattern, directive);
            }
            continue;
        }
        for (name, directive) in NAMES.iter() {
            if !directive.is(HIDDEN) && glob::matches(pattern, name.as_bytes(), true) {
                add(name.as_bytes(), directive);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::config::file::{self, LoadError, Lookups};

    fn try_set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<Changed, String> {
        let pairs: Vec<(&[u8], &[u8])> = pairs
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        set(config, &pairs, Caller::default(), &mut always)
    }

    fn shown(config: &Config, name: &str) -> String {
        let found = get(config, &[name.as_bytes()]);
        found
            .first()
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .unwrap_or_default()
    }

    /// Every answer that a real server gave must be ours.
    #[test]
    fn answers_as_redis_does() {
        let facts = include_str!("../../../tests/assets/config-oracle.tsv");
        let (mut seen, mut faults) = (0, Vec::new());
        let mut compare = |what: String, ours: String, theirs: &str| {
            seen += 1;
            if ours != theirs {
                faults.push(format!("{what}: {ours:?} instead of {theirs:?}"));
            }
        };
        for line in facts.lines().filter(|line| !line.starts_with('#')) {
            let fact: Vec<&str> = line.split('\t').collect();
            let (names, fact) = fact.split_last().expect("a line has columns");
            for name in names.split(' ') {
                let config = &mut Config::default();
                match *fact {
                    ["D", default] => {
                        let directive = Directive::find(name.as_bytes());
                        assert!(directive.is_some_and(|d| !d.is(HIDDEN)), "{name}");
                        compare(format!("default of {name}"), shown(config, name), default);
                    }
                    ["F", words, outcome] => {
                        let line = format!("{name} {words}");
                        let ours = match file::load(config, line.as_bytes(), Lookups::ANY) {
                            Ok(()) => "OK".to_owned(),
                            Err(LoadError::Line { reason, .. }) => reason,
                            Err(other) => other.to_string(),
                        };
                        compare(line, ours, outcome);
                    }
                    ["S", value, outcome, after] => {
                        let what = format!("CONFIG SET {name} {value:?}");
                        let ours = try_set(config, &[(name, value)]);
                        let ours = ours.map_or_else(|reason| reason, |_| "OK".to_owned());
                        compare(what.clone(), ours, &outcome.replace("NAME", name));
                        if outcome == "OK" {
                            compare(format!("after {what}"), shown(config, name), after);
                        }
                    }
                    _ => panic!("not a line of facts: {line}"),
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        assert!(seen > 1000, "the table of facts is there: {seen}");
    }

    #[test]
    fn every_name_stands_once_and_in_lower_case() {
        for pair in NAMES.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{}", pair[1].0);
        }
        for (name, directive) in NAMES.iter() {
            assert_eq!(*name, name.to_ascii_lowercase());
            assert_eq!(
                Directive::find(name.to_ascii_uppercase().as_bytes()).map(|d| d.key),
                Some(directive.key)
            );
        }
        for (at, directive) in DIRECTIVES.iter().enumerate() {
            assert_eq!(directive.key as usize, at);
        }
    }

    #[test]
    fn what_get_shows_set_accepts() {
        let mut config = Config::default();
        for (name, value) in get(&config.clone(), &[b"*"]) {
            let directive = Directive::find(&name).expect("GET only names directives");
            let pair = [(name.as_slice(), value.as_slice())];
            let outcome = set(&mut config, &pair, Caller::default(), &mut always);
            if directive.is(IMMUTABLE) || directive.is(PROTECTED) {
                assert!(outcome.is_err());
            } else {
                let changed = outcome.unwrap_or_else(|e| panic!("{e}"));
                let same = !directive.is(VOLATILE);
                assert_eq!(changed.is_empty(), same, "{}", directive.name);
            }
        }
    }

    #[test]
    fn several_are_set_or_none() {
        let mut config = Config::default();
        let changed = try_set(
            &mut config,
            &[("maxmemory", "10000001"), ("save", "3000 5"), ("hz", "10")],
        );
        let changed = changed.expect("all are right");
        let names: Vec<_> = changed.iter().map(|directive| directive.name).collect();
        assert_eq!(names, ["save", "maxmemory"], "hz was 10 before");
        assert!(changed.any(&[Key::hz, Key::maxmemory]) && !changed.has(Key::hz));

        let outcome = try_set(
            &mut config,
            &[
                ("maxmemory", "5"),
                ("maxmemory-clients", "200%"),
                ("hz", "x"),
            ],
        );
        assert_eq!(
            outcome.unwrap_err(),
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-clients') - \
             percentage argument must be less or equal to 100"
        );
        assert_eq!(config.maxmemory, 10_000_001);
    }

    #[test]
    fn a_refused_apply_is_taken_back() {
        let mut config = Config::default();
        let mut calls = Vec::new();
        let pairs: [(&[u8], &[u8]); 2] = [(b"maxmemory", b"1mb"), (b"port", b"80")];
        let outcome = set(
            &mut config,
            &pairs,
            Caller::default(),
            &mut |old, new, changed| {
                assert!(changed.has(Key::port) && changed.has(Key::maxmemory));
                calls.push((old.port, new.port));
                Err((
                    Key::port,
                    "Unable to listen on this port. Check server logs.".to_owned(),
                ))
            },
        );
        assert_eq!(
            outcome.unwrap_err(),
            "ERR CONFIG SET failed (possibly related to argument 'port') - \
             Unable to listen on this port. Check server logs."
        );
        assert_eq!(calls, [(6379, 80), (80, 6379)]);
        assert_eq!((config.port, config.maxmemory), (6379, 0));
    }

    #[test]
    fn protected_and_loading_refuse() {
        let pair: [(&[u8], &[u8]); 1] = [(b"dbfilename", b"x.rdb")];
        for (action, local, allowed) in [
            (ProtectedAction::No, true, false),
            (ProtectedAction::Local, false, false),
            (ProtectedAction::Local, true, true),
            (ProtectedAction::Yes, false, true),
        ] {
            let mut config = Config {
                enable_protected_configs: action,
                ..Config::default()
            };
            let caller = Caller {
                local,
                loading: false,
                ..Caller::default()
            };
            assert_eq!(
                set(&mut config, &pair, caller, &mut always).is_ok(),
                allowed
            );
        }
        let caller = Caller {
            local: true,
            loading: true,
            ..Caller::default()
        };
        let pair: [(&[u8], &[u8]); 1] = [(b"appendonly", b"yes")];
        let outcome = set(&mut Config::default(), &pair, caller, &mut always);
        assert_eq!(
            outcome.unwrap_err(),
            "LOADING Redis is loading the dataset in memory"
        );
    }

    #[test]
    fn patterns_find_names_and_aliases_once() {
        let config = Config::default();
        let found = get(
            &config,
            &[b"maxmemory", b"maxmemory*", b"bind", b"*OF", b"MAXMEMORY"],
        );
        let names: Vec<&[u8]> = found.iter().map(|(name, _)| name.as_slice()).collect();
        let expected: [&[u8]; 8] = [
            b"maxmemory",
            b"maxmemory-clients",
            b"maxmemory-eviction-tenacity",
            b"maxmemory-policy",
            b"maxmemory-samples",
            b"bind",
            b"replicaof",
            b"slaveof",
        ];
        assert_eq!(names, expected);
        assert_eq!(get(&config, &[b"SAVE"])[0].0, b"SAVE");
        assert!(get(&config, &[b"key-load-dela?"]).is_empty());
        assert_eq!(get(&config, &[b"key-load-delay"])[0].1, b"0");
        assert!(get(&config, &[b"nothing"]).is_empty());
    }
}
