//! Patterns of keys and channels in the rules of a user.
//!
//! Most patterns are a word, or a word and a star: those are compared, not matched.
use crate::base::glob;

/// How a request uses a key, or what a pattern lets it do: bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(pub u8);

impl Access {
    /// Neither: what only asks whether there is a key, which either right allows.
    pub const NONE: Access = Access(0);
    pub const READ: Access = Access(1);
    pub const WRITE: Access = Access(2);
    pub const BOTH: Access = Access(3);

    /// The rights of whoever reads, changes, or both.
    #[inline]
    pub fn of(reads: bool, changes: bool) -> Self {
        Access((u8::from(reads) * Self::READ.0) | (u8::from(changes) * Self::WRITE.0))
    }

    /// Is all of this in the other?
    #[inline]
    pub fn is_within(self, other: Access) -> bool {
        self.0 & !other.0 == 0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// No byte of it is special.
    Word,
    /// A word and a star behind it.
    Prefix,
    Glob,
}

/// A glob pattern whose common shapes cost no matching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<[u8]>,
    shape: Shape,
}

impl Pattern {
    /// From what a rule says.
    pub fn new(text: &[u8]) -> Self {
        let plain = |part: &[u8]| !part.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'));
        let shape = match text {
            _ if plain(text) => Shape::Word,
            [word @ .., b'*'] if !word.is_empty() && plain(word) => Shape::Prefix,
            _ => Shape::Glob,
        };
        Self {
            text: text.into(),
            shape,
        }
    }

    /// As the rule says it.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Does it match all of this?
    #[inline]
    pub fn matches(&self, bytes: &[u8]) -> bool {
        match self.shape {
            Shape::Word => *self.text == *bytes,
            Shape::Prefix => bytes.starts_with(&self.text[..self.text.len() - 1]),
            Shape::Glob => glob::matches(&self.text, bytes, false),
        }
    }
}

/// Patterns of which one is enough, each with what it grants; or everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns<G> {
    all: bool,
    patterns: Vec<(Pattern, G)>,
}

/// The keys that may be used.
pub type KeyPatterns = Patterns<Access>;
/// The channels that may be used.
pub type ChannelPatterns = Patterns<()>;

impl<G> Default for Patterns<G> {
    fn default() -> Self {
        Self {
            all: false,
            patterns: Vec::new(),
        }
    }
}

impl<G> Patterns<G> {
    /// `~*`, `&*`.
    pub fn allow_all(&mut self) {
        self.all = true;
        self.patterns.clear();
    }

    /// `resetkeys`, `resetchannels`.
    pub fn deny_all(&mut self) {
        *self = Self::default();
    }

    /// May everything be used in every way?
    pub fn allows_all(&self) -> bool {
        self.all
    }

    /// The patterns in the order in which they came.
    pub fn patterns(&self) -> &[(Pattern, G)] {
        &self.patterns
    }

    fn granted(&mut self, text: &[u8]) -> Option<&mut G> {
        let mut known = self.patterns.iter_mut();
        let found = known.find(|(known, _)| known.text() == text);
        found.map(|(_, grants)| grants)
    }
}

impl KeyPatterns {
    /// Adds a pattern, or what it lets one do.
    pub fn add(&mut self, text: &[u8], access: Access) {
        match self.granted(text) {
            Some(known) => known.0 |= access.0,
            None => self.patterns.push((Pattern::new(text), access)),
        }
    }

    /// May this key be used so? One pattern has to allow all of it; what needs neither right needs any pattern.
    #[inline]
    pub fn allow(&self, key: &[u8], access: Access) -> bool {
        self.all
            || self
                .patterns
                .iter()
                .any(|(pattern, allowed)| access.is_within(*allowed) && pattern.matches(key))
    }

    /// May every key there is be read (SORT BY and GET reach any)?
    pub fn allow_all_reads(&self) -> bool {
        let every = |(pattern, allowed): &(Pattern, Access)| {
            Access::READ.is_within(*allowed) && pattern.text() == b"*"
        };
        self.all || self.patterns.iter().any(every)
    }
}

impl ChannelPatterns {
    /// Adds a pattern.
    pub fn add(&mut self, text: &[u8]) {
        if self.granted(text).is_none() {
            self.patterns.push((Pattern::new(text), ()));
        }
    }

    /// May this channel be used?
    pub fn allow_channel(&self, name: &[u8]) -> bool {
        let mut patterns = self.patterns.iter();
        self.all || patterns.any(|(pattern, ())| pattern.matches(name))
    }

    /// May somebody subscribe to this pattern? It has to stand in the rules as it is.
    pub fn allow_pattern(&self, pattern: &[u8]) -> bool {
        let mut patterns = self.patterns.iter();
        self.all || patterns.any(|(known, ())| known.text() == pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_match_as_globs_do() {
        for text in [
            "a", "a*", "*", "*a", "a?", "[a]*", "\\*", "\\a*", "", "a**", "ab*",
        ] {
            let pattern = Pattern::new(text.as_bytes());
            for key in ["", "a", "ab", "b", "*", "aab", "abc", "\\a"] {
                assert_eq!(
                    pattern.matches(key.as_bytes()),
                    glob::matches(text.as_bytes(), key.as_bytes(), false),
                    "{text} against {key}"
                );
            }
        }
    }

    #[test]
    fn rights_add_up_for_one_pattern_only() {
        let mut keys = KeyPatterns::default();
        keys.add(b"a*", Access::READ);
        keys.add(b"*b", Access::WRITE);
        assert!(keys.allow(b"ab", Access::READ) && keys.allow(b"ab", Access::WRITE));
        assert!(!keys.allow(b"ab", Access::BOTH));
        assert!(keys.allow(b"ab", Access::NONE) && !keys.allow(b"c", Access::NONE));
        keys.add(b"a*", Access::WRITE);
        assert!(keys.allow(b"ab", Access::BOTH));
        assert_eq!(keys.patterns().len(), 2);
    }
}
