//! All rows of all families, numbered, and the lookup of a request's name among them.
//!
//! The list of families is `server::registry`'s; this is the structure it fills. Lookup is a perfect
//! hash over two folded words of the name, found by search when the registry is built.
use super::command::{Command, acl, flag};
use crate::resp::argv::Argv;
use crate::state::State;
use crate::state::client::Client;
use crate::state::groups::GroupId;
use std::borrow::Cow;

/// Position of a row in the registry: what state keeps instead of a reference to a row.
pub use crate::state::stats::RowNumber as CommandId;

/// The rows of one module.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Group as COMMAND DOCS names it.
    pub group: &'static str,
    /// ACL category that every row of the family belongs to (0: none).
    pub acl: u32,
    pub commands: &'static [Command],
}

/// A numbered row.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub id: CommandId,
    pub cmd: &'static Command,
    /// Group of its family.
    pub group: &'static str,
    /// All its ACL categories, derived and written.
    pub acl: u32,
    /// The container's id for a subcommand, else its own.
    pub parent: CommandId,
    /// First id of its subcommands (they are numbered in a row).
    pub first_sub: u16,
}

/// Writes a client's line for who is in a group, without its end; the request is the one it runs just now.
pub type Describe = fn(&State, &Registry, &Client, GroupId, Option<Argv<'_>>, &mut String);

/// Every command the server knows.
pub struct Registry {
    /// Writes the line by which logs show a client; from a floor above.
    pub describe: Describe,
    rows: Vec<Row>,
    names: Vec<Box<str>>,
    top: Vec<CommandId>,
    index: Vec<u16>,
    multiplier: u64,
    shift: u32,
}

const EMPTY: u16 = u16::MAX;

/// The first and the last eight bytes of a name, folded to lower case, mixed with its length.
#[inline]
fn fold(name: &[u8]) -> u64 {
    let n = name.len();
    let (a, b) = if n >= 8 {
        (word(&name[..8]), word(&name[n - 8..]))
    } else if n >= 4 {
        (
            u64::from(word4(&name[..4])),
            u64::from(word4(&name[n - 4..])),
        )
    } else {
        let mut a = 0u64;
        for &c in name {
            a = a << 8 | u64::from(c);
        }
        (a, 0)
    };
    // Setting bit 5 folds letters; that other bytes fold together too is harmless, since the
    // name found is compared whole.
    let a = a | 0x2020_2020_2020_2020;
    let b = b | 0x2020_2020_2020_2020;
    a ^ b.rotate_left(23) ^ (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

#[inline]
fn word(b: &[u8]) -> u64 {
    u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]])
}

#[inline]
fn word4(b: &[u8]) -> u32 {
    u32::from_le_bytes([b[0], b[1], b[2], b[3]])
}

impl Registry {
    /// Numbers the rows and builds the lookup. `rename` maps a command to its name in force (empty:
    /// the command is gone), as `rename-command` asks.
    pub fn new(families: &[&Family], rename: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        let mut names: Vec<Box<str>> = Vec::new();
        let mut top = Vec::new();
        for family in families {
            for cmd in family.commands {
                let id = CommandId(rows.len() as u16);
                let name = rename(cmd.name).unwrap_or_else(|| cmd.name.to_string());
                top.push(id);
                rows.push(Row {
                    id,
                    cmd,
                    group: family.group,
                    acl: categories(cmd, family.acl),
                    parent: id,
                    first_sub: id.0 + 1,
                });
                names.push(name.into_boxed_str());
                for sub in cmd.subs {
                    let sub_id = CommandId(rows.len() as u16);
                    rows.push(Row {
                        id: sub_id,
                        cmd: sub,
                        group: family.group,
                        acl: categories(sub, family.acl),
                        parent: id,
                        first_sub: 0,
                    });
                    names.push(format!("{}|{}", cmd.name, sub.name).into_boxed_str());
                }
            }
        }
        let mut registry = Self {
            describe: super::acl::no_line,
            rows,
            names,
            top,
            index: Vec::new(),
            multiplier: 0,
            shift: 0,
        };
        registry.build_index();
        registry
    }

    /// Searches a multiplier under which no two names meet; the table grows when none is found.
    fn build_index(&mut self) {
        let named: Vec<(u64, u16)> = self
            .top
            .iter()
            .filter(|id| !self.names[id.0 as usize].is_empty())
            .map(|id| (fold(self.names[id.0 as usize].as_bytes()), id.0))
            .collect();
        let mut bits = (named.len().max(1) * 4)
            .next_power_of_two()
            .trailing_zeros();
        let mut multiplier = 0x9E37_79B9_7F4A_7C15u64;
        loop {
            // Which try last took a place: nothing is to be cleared between two tries.
            let mut taken = vec![0u32; 1 << bits];
            for attempt in 1..=20_000 {
                let place = |word: u64| (word.wrapping_mul(multiplier) >> (64 - bits)) as usize;
                let fits = named.iter().all(|&(word, _)| {
                    std::mem::replace(&mut taken[place(word)], attempt) != attempt
                });
                if fits {
                    let mut index = vec![EMPTY; 1 << bits];
                    named.iter().for_each(|&(word, id)| index[place(word)] = id);
                    self.index = index;
                    self.multiplier = multiplier;
                    self.shift = 64 - bits;
                    return;
                }
                multiplier = multiplier
                    .wrapping_mul(0x5851_F42D_4C95_7F2D)
                    .wrapping_add(2)
                    | 1;
            }
            bits += 1;
        }
    }

    /// The command of this name, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Row> {
        let at = (fold(name).wrapping_mul(self.multiplier) >> self.shift) as usize;
        let id = self.index[at];
        if id == EMPTY {
            return None;
        }
        let known = self.names[id as usize].as_bytes();
        known
            .eq_ignore_ascii_case(name)
            .then(|| &self.rows[id as usize])
    }

    /// The subcommand of a container, in any case.
    pub fn find_sub(&self, parent: &Row, name: &[u8]) -> Option<&Row> {
        let at = parent
            .cmd
            .subs
            .iter()
            .position(|s| s.name.as_bytes().eq_ignore_ascii_case(name))?;
        Some(&self.rows[parent.first_sub as usize + at])
    }

    /// Finds `name` or `container|sub`, as ACL rules and COMMAND arguments write it.
    pub fn find_full(&self, name: &[u8]) -> Option<&Row> {
        match memchr::memchr(b'|', name) {
            None => self.find(name),
            Some(at) => self.find_sub(self.find(&name[..at])?, &name[at + 1..]),
        }
    }

    /// The same by the names that the commands have in Redis, whatever they were renamed to: as ACL rules name them.
    pub fn find_original(&self, name: &[u8]) -> Option<&Row> {
        let (name, sub) = match memchr::memchr(b'|', name) {
            None => (name, None),
            Some(at) => (&name[..at], Some(&name[at + 1..])),
        };
        let same = |id: &&CommandId| {
            let row = self.row(**id);
            row.cmd.name.as_bytes().eq_ignore_ascii_case(name)
        };
        let row = self.row(*self.top.iter().find(same)?);
        match sub {
            None => Some(row),
            Some(sub) => self.find_sub(row, sub),
        }
    }

    /// The command of a request in a log of changes: clients' requests are there as they came, those that
    /// servers write have the names of Redis, whatever this one calls them.
    #[inline]
    pub fn find_logged(&self, name: &[u8]) -> Option<&Row> {
        self.find(name).or_else(|| self.find_original(name))
    }

    /// The name of a row in Redis, whatever it was renamed to.
    pub fn original_name(&self, id: CommandId) -> Cow<'static, str> {
        let row = self.row(id);
        match row.parent == id {
            true => Cow::Borrowed(row.cmd.name),
            false => Cow::Owned(format!(
                "{}|{}",
                self.row(row.parent).cmd.name,
                row.cmd.name
            )),
        }
    }

    /// The row of an id handed out by this registry.
    #[inline]
    pub fn row(&self, id: CommandId) -> &Row {
        &self.rows[id.0 as usize]
    }

    /// The name in force; a subcommand's is `container|sub`.
    pub fn name(&self, id: CommandId) -> &str {
        &self.names[id.0 as usize]
    }

    /// Every row, subcommands behind their container.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The commands that are no subcommands and still have a name.
    pub fn commands(&self) -> impl Iterator<Item = &Row> {
        self.top
            .iter()
            .filter(|id| !self.names[id.0 as usize].is_empty())
            .map(|id| &self.rows[id.0 as usize])
    }

    /// The subcommands of a container.
    pub fn subs(&self, row: &Row) -> &[Row] {
        let first = row.first_sub as usize;
        if row.parent != row.id {
            &[]
        } else {
            &self.rows[first..first + row.cmd.subs.len()]
        }
    }
}

/// A row's ACL categories: what its flags say, its family's, its own exceptions.
fn categories(cmd: &Command, family: u32) -> u32 {
    let family = if cmd.is(flag::CONTAINER) { 0 } else { family };
    let mut cats = cmd.acl | family;
    if cmd.is(flag::WRITE) {
        cats |= acl::WRITE;
    }
    // Commands of scripts and transactions are marked readonly nowhere but where they read keys.
    if cmd.is(flag::READONLY) && family & (acl::SCRIPTING | acl::TRANSACTION) == 0 {
        cats |= acl::READ;
    }
    if cmd.is(flag::ADMIN) {
        cats |= acl::ADMIN | acl::DANGEROUS;
    }
    if cmd.is(flag::PUBSUB) {
        cats |= acl::PUBSUB;
    }
    if cmd.is(flag::BLOCKING) {
        cats |= acl::BLOCKING;
    }
    cats | if cmd.is(flag::FAST) {
        acl::FAST
    } else {
        acl::SLOW
    }
}
