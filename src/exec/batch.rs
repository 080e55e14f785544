//! Requests that were parsed together, and what of the memory they need is fetched before the first runs.
//!
//! For everything that has several requests before it at once: a client's pipeline, an append only file. In
//! a large keyspace a batch costs one overlapped cache miss instead of several in a row for each request.
use super::registry::{CommandId, Registry, Row};
use crate::keyspace::databases::Databases;
use crate::resp::request::{Argv, Span};

/// Stands for a name that is no command's.
pub const NO_ROW: u16 = u16::MAX;

/// Room for this many arguments is kept from one batch to the next.
const SPANS_KEPT: usize = 8192;

/// A parsed request: where its spans are, where it ends.
#[derive(Clone, Copy, Default)]
pub struct Parsed {
    /// Number of its row; `NO_ROW` where no command has the name.
    pub row: u16,
    pub first: u32,
    pub argc: u32,
    /// Offset behind its last byte.
    pub end: u32,
    /// Its first key's number in the batch.
    pub hint: u8,
}

/// Requests that are parsed and run together.
#[derive(Default)]
pub struct Batch {
    pub spans: Vec<Span>,
    pub requests: Vec<Parsed>,
}

impl Batch {
    /// Forgets the requests. One of very many arguments is no reason to keep the room for them.
    #[inline]
    pub fn clear(&mut self) {
        self.spans.clear();
        self.requests.clear();
        if self.spans.capacity() > SPANS_KEPT {
            self.spans = Vec::new();
        }
    }

    /// The spans of a request.
    #[inline]
    pub fn spans_of(&self, parsed: &Parsed) -> &[Span] {
        &self.spans[parsed.first as usize..][..parsed.argc as usize]
    }

    /// The arguments of a request in the buffer that was parsed.
    #[inline]
    pub fn argv<'a>(&'a self, buf: &'a [u8], parsed: &Parsed) -> Argv<'a> {
        Argv::new(buf, self.spans_of(parsed))
    }
}

/// Notes a request's keys in the batch, which hashes them and fetches their buckets. Returns the
/// number of the first one.
#[inline(always)]
pub fn hint_keys(dbs: &mut Databases, db: usize, row: &Row, buf: &[u8], spans: &[Span]) -> u8 {
    let first = dbs.hinted() as u8;
    let cmd = row.cmd;
    let mut at = cmd.first_key as usize;
    if at == 0 || at >= spans.len() {
        return first;
    }
    let end = if cmd.last_key >= 0 {
        cmd.last_key as usize
    } else {
        spans
            .len()
            .saturating_sub(cmd.last_key.unsigned_abs() as usize)
    };
    loop {
        let span = spans[at];
        let noted = dbs.hint(db, &buf[span.at as usize..][..span.len as usize]);
        at += cmd.key_step as usize;
        if at > end || at >= spans.len() || !noted || cmd.key_step == 0 {
            return first;
        }
    }
}

/// Fetches what requests of a batch need of the collections at their keys.
#[inline]
pub fn prefetch_members(
    dbs: &Databases,
    table: &Registry,
    buf: &[u8],
    (spans, requests): (&[Span], &[Parsed]),
) {
    let requests = requests.iter().filter(|parsed| parsed.row != NO_ROW);
    dbs.prefetch_members(requests.flat_map(|parsed| {
        let cmd = table.row(CommandId(parsed.row)).cmd;
        let spans = &spans[parsed.first as usize..][..parsed.argc as usize];
        let (first, step) = (cmd.first_member as usize, cmd.member_step as usize);
        let end = match (first, step) {
            (0, _) => 0,
            (_, 0) => first + 1,
            _ => spans.len(),
        };
        spans[first.min(spans.len())..end.min(spans.len())]
            .iter()
            .step_by(step.max(1))
            .map(|span| {
                let member = &buf[span.at as usize..][..span.len as usize];
                (parsed.hint as usize, member)
            })
    }));
}
