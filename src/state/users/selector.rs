//! One set of rules of a user: commands, keys, channels and databases that go together.
use super::pattern::{Access, ChannelPatterns, KeyPatterns};
use crate::state::stats::RowNumber;

/// Which commands may be run: a bit for each row of the table, subcommands included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    bits: Box<[u64]>,
    rows: usize,
    /// Rows that may be run with certain first arguments only: those, lower case.
    first_args: Vec<(RowNumber, Vec<Box<[u8]>>)>,
    /// What the rules start from: `+@all`, else `-@all`. Commands still to come are allowed with the first.
    pub from_all: bool,
    /// What was said since, in the form in which it is shown.
    pub rules: Vec<CommandRule>,
}

/// `+name`, `-name`, `+@category`, `+name|argument`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRule {
    pub allow: bool,
    /// What stands behind the sign.
    pub text: Box<[u8]>,
}

impl Commands {
    fn new(rows: usize) -> Self {
        Self {
            bits: vec![0; rows.div_ceil(64)].into(),
            rows,
            first_args: Vec::new(),
            from_all: false,
            rules: Vec::new(),
        }
    }

    /// `+@all`.
    pub fn allow_all(&mut self) {
        *self = Self::new(self.rows);
        self.from_all = true;
        (0..self.rows).for_each(|row| self.set(RowNumber(row as u16), true));
    }

    /// `-@all`.
    pub fn deny_all(&mut self) {
        *self = Self::new(self.rows);
    }

    /// May this row be run with any arguments?
    #[inline]
    pub fn allows(&self, row: RowNumber) -> bool {
        let at = row.0 as usize;
        self.bits
            .get(at / 64)
            .is_some_and(|word| word >> (at % 64) & 1 != 0)
    }

    /// Allows or forbids a row, with whatever arguments.
    pub fn set(&mut self, row: RowNumber, allow: bool) {
        let at = row.0 as usize;
        if let Some(word) = self.bits.get_mut(at / 64) {
            *word = *word & !(1 << (at % 64)) | u64::from(allow) << (at % 64);
        }
        self.first_args.retain(|(known, _)| *known != row);
    }

    /// Allows a row with this first argument.
    pub fn allow_first_arg(&mut self, row: RowNumber, arg: &[u8]) {
        let arg = arg.to_ascii_lowercase().into_boxed_slice();
        match self.first_args.iter_mut().find(|(known, _)| *known == row) {
            Some((_, args)) if args.contains(&arg) => {}
            Some((_, args)) => args.push(arg),
            None => self.first_args.push((row, vec![arg])),
        }
    }

    /// Keeps what was said for showing it: what it overrides is forgotten. Names are shown in lower case.
    pub fn note(&mut self, text: &[u8], allow: bool) {
        let text = text.to_ascii_lowercase().into_boxed_slice();
        self.rules
            .retain(|rule| match rule.text.strip_prefix(&*text) {
                Some(rest) => !(rest.is_empty() || rest.starts_with(b"|")),
                None => true,
            });
        self.rules.push(CommandRule { allow, text });
    }

    /// May this row, which `allows` does not allow, be run with this first argument?
    pub fn allows_first_arg(&self, row: RowNumber, arg: &[u8]) -> bool {
        let args = self.first_args.iter().find(|(known, _)| *known == row);
        args.is_some_and(|(_, args)| args.iter().any(|known| known.eq_ignore_ascii_case(arg)))
    }

    /// May every row be run?
    pub fn allows_all(&self) -> bool {
        (0..self.rows).all(|row| self.allows(RowNumber(row as u16)))
    }
}

/// Which databases may be used, by the numbers that the user's group gives them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dbs {
    All,
    /// In order, each once.
    These(Vec<u32>),
}

impl Dbs {
    /// May this database be used?
    #[inline]
    pub fn allows(&self, db: u32) -> bool {
        match self {
            Dbs::All => true,
            Dbs::These(dbs) => dbs.binary_search(&db).is_ok(),
        }
    }
}

/// Rules that go together: a request is allowed if one selector allows all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    pub commands: Commands,
    pub keys: KeyPatterns,
    pub channels: ChannelPatterns,
    pub dbs: Dbs,
}

impl Selector {
    /// Allows nothing, but that in all databases.
    pub fn new(rows: usize) -> Self {
        Self {
            commands: Commands::new(rows),
            keys: KeyPatterns::default(),
            channels: ChannelPatterns::default(),
            dbs: Dbs::All,
        }
    }

    /// Does it allow everything?
    pub fn is_unrestricted(&self) -> bool {
        self.keys.allows_all()
            && self.channels.allows_all()
            && self.dbs == Dbs::All
            && self.commands.allows_all()
    }

    /// May this key be used so?
    #[inline]
    pub fn allows_key(&self, key: &[u8], access: Access) -> bool {
        self.keys.allow(key, access)
    }
}
