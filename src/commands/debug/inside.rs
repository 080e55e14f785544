//! What DEBUG writes to the log about a value's inside, and its look at patterns and sizes.
use crate::base::glob;
use crate::base::num::parse_i64;
use crate::base::rng::Rng;
use crate::ds::quicklist::Saved;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NO_SUCH_KEY};
use crate::keyspace::EntryRef;
use crate::types::list::ListRef;
use crate::types::{Part, ValueRef};

const NOT_LISTPACK: CmdError = CmdError::new("ERR Not a listpack encoded object.");
const NOT_QUICKLIST: CmdError = CmdError::new("ERR Not a quicklist encoded object.");

/// Elements and nodes written to the log; of an element, so many bytes.
const LINES_MAX: usize = 1000;
const SHOWN_MAX: usize = 60;

/// Elements, a line each, as far as a log can hold them.
struct Lines {
    text: String,
    count: usize,
}

impl Lines {
    fn new(head: String) -> Lines {
        Lines {
            text: head,
            count: 0,
        }
    }

    fn add(&mut self, line: std::fmt::Arguments<'_>) {
        if self.count < LINES_MAX {
            self.text += &format!("\n{}) {line}", self.count);
        } else if self.count == LINES_MAX {
            self.text.push_str("\n...");
        }
        self.count += 1;
    }

    fn add_parts(&mut self, entry: EntryRef<'_>) {
        entry.value().parts(&mut |part| match part {
            Part::Item(item) | Part::Member(item) => self.add(format_args!("{}", shown(item))),
            Part::Pair(field, value) => {
                self.add(format_args!("{} = {}", shown(field), shown(value)));
            }
            Part::Scored(member, score) => {
                self.add(format_args!("{} = {score}", shown(member)));
            }
        });
    }
}

fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN_MAX { "..." } else { "" };
    let bytes = &bytes[..bytes.len().min(SHOWN_MAX)];
    format!("\"{}\"{more}", bytes.escape_ascii())
}

/// DEBUG LISTPACK.
pub(super) fn listpack(ctx: &mut Ctx<'_>) -> CmdResult {
    let (db, key) = (ctx.db, ctx.arg(2));
    let entry = ctx.state.peek(db, key).ok_or(NO_SUCH_KEY)?;
    if entry.encoding() != "listpack" {
        return Err(NOT_LISTPACK);
    }
    let mut lines = Lines::new(format!("Listpack of {} bytes:", entry.mem_bytes()));
    lines.add_parts(entry);
    log::warn!("{}", lines.text);
    ctx.out.simple("Listpack structure printed on stdout");
    Ok(Outcome::Done)
}

/// DEBUG QUICKLIST.
pub(super) fn quicklist(ctx: &mut Ctx<'_>) -> CmdResult {
    let (db, key) = (ctx.db, ctx.arg(2));
    let elements = ctx.argc() > 3 && parse_i64(ctx.arg(3)).unwrap_or(0) != 0;
    let entry = ctx.state.peek(db, key).ok_or(NO_SUCH_KEY)?;
    let ValueRef::List(ListRef::Quick(quick)) = entry.value() else {
        return Err(NOT_QUICKLIST);
    };
    let head = format!(
        "Quicklist of {} elements in {} nodes:",
        quick.len(),
        quick.nodes()
    );
    let mut lines = Lines::new(head);
    for node in quick.saved() {
        match node {
            Saved::Pack(bytes) => lines.add(format_args!("listpack, {} bytes", bytes.len())),
            Saved::Plain(bytes) => lines.add(format_args!("plain, {} bytes", bytes.len())),
            Saved::Folded { plain, bytes, len } => {
                let kind = if plain { "plain" } else { "listpack" };
                let folded = bytes.len();
                lines.add(format_args!("{kind}, {len} bytes compressed to {folded}"));
            }
        }
    }
    if elements {
        lines.add_parts(entry);
    }
    log::warn!("{}", lines.text);
    ctx.out.simple("Quicklist structure printed on stdout");
    Ok(Outcome::Done)
}

/// DEBUG STRINGMATCH-LEN.
pub(super) fn matches(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.int(glob::matches(ctx.arg(3), ctx.arg(2), false).into())
}

/// DEBUG STRINGMATCH-TEST: that it comes back is what it shows.
pub(super) fn match_at_random(ctx: &mut Ctx<'_>) -> CmdResult {
    const ALPHABET: &[u8; 16] = b"ab*?[]^-\\*\0\xff*?ab";
    let mut rng = Rng::from_seed(ctx.state.rng.next_u64());
    let (mut text, mut pattern) = ([0; 32], [0; 32]);
    for _ in 0..20_000 {
        for bytes in [&mut text, &mut pattern] {
            rng.fill(bytes);
            for byte in bytes.iter_mut() {
                *byte = ALPHABET[usize::from(*byte & 15)];
            }
        }
        let (t, p) = (rng.below(33) as usize, rng.below(33) as usize);
        glob::matches(&pattern[..p], &text[..t], p % 2 == 0);
    }
    ctx.out
        .simple("Apparently Redis did not crash: test passed");
    Ok(Outcome::Done)
}

/// DEBUG STRUCTSIZE: an entry's head is what an object and its place in a dictionary are there.
pub(super) fn sizes(ctx: &mut Ctx<'_>) -> CmdResult {
    let value = size_of::<crate::types::Value>();
    let line = format!("bits:{} entry:8 bound:8 value:{value}", usize::BITS);
    ctx.out.simple(&line);
    Ok(Outcome::Done)
}
