//! Packed elements as replies.

use crate::ds::listpack::Val;
use crate::resp::reply::Writer;

/// An element as a bulk string, or null for none.
#[inline]
pub fn reply(out: &mut Writer, val: Option<Val<'_>>) {
    match val {
        Some(Val::Str(text)) => out.bulk(text),
        Some(Val::Int(int)) => out.bulk_int(int),
        None => out.null(),
    }
}
