//! Packed elements as replies.

use std::ops::ControlFlow;

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

/// For replies of any length: is it worth going on? Not once the reply has outgrown the limit of the
/// client's output: then it is lost, and the client is closed.
#[inline]
pub fn go_on(out: &Writer) -> ControlFlow<()> {
    if out.is_lost() {
        return ControlFlow::Break(());
    }
    ControlFlow::Continue(())
}
