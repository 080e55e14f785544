//! Lists in RDB files and dumps: nodes of a quicklist, each a listpack or one large element.

use super::{End, Limits, List, ListRef, Quicklist, Saved};
use crate::codec::{Commands, Fault, Sink, Source, rdb};
use crate::ds::listpack::{OVERHEAD_MAX, Pack, Val};
use crate::types::Collection;
use crate::types::saved::{self, Loading};

/// What a node is: one element as it is, or a listpack.
const PLAIN: u64 = 1;
const PACKED: u64 = 2;

pub(super) const RDB_TYPES: &[u8] = &[
    rdb::LIST,
    rdb::LIST_ZIPLIST,
    rdb::LIST_QUICKLIST,
    rdb::LIST_QUICKLIST_2,
];

pub(super) fn save(view: ListRef<'_>, sink: &mut Sink<'_>) {
    let quick = match view {
        ListRef::Pack(pack) => {
            sink.len(1);
            sink.len(PACKED);
            return sink.string(pack.bytes());
        }
        ListRef::Quick(quick) => quick,
    };
    sink.len(quick.nodes() as u64);
    for node in quick.saved() {
        match node {
            Saved::Pack(pack) => {
                sink.len(PACKED);
                sink.string(pack);
            }
            Saved::Plain(text) => {
                sink.len(PLAIN);
                sink.string(text);
            }
            Saved::Folded { plain, bytes, len } => {
                sink.len(if plain { PLAIN } else { PACKED });
                sink.lzf_string(bytes, len);
            }
        }
    }
}

pub(super) fn rewrite(view: ListRef<'_>, key: &[u8], out: &mut Commands<'_, '_>) {
    let mut items = out.items("RPUSH", key, view.len(), 1);
    view.each(0, usize::MAX, |val| saved::argument(val, items.item()));
}

pub(super) fn load(rdb_type: u8, source: &mut Source<'_>, how: &Loading) -> Result<List, Fault> {
    let mut list = match rdb_type {
        rdb::LIST => load_elements(source, &how.list)?,
        rdb::LIST_ZIPLIST => List::Pack(saved::ziplist(source)?),
        rdb::LIST_QUICKLIST => load_nodes(source, &how.list, |_| Ok(PACKED), saved::ziplist)?,
        rdb::LIST_QUICKLIST_2 => load_nodes(source, &how.list, Source::len, saved::listpack)?,
        _ => return Err(source.bad(saved::UNKNOWN)),
    };
    if list.is_empty() {
        return Ok(List::new());
    }
    list.choose_encoding(&how.list);
    Ok(list)
}

fn load_elements(source: &mut Source<'_>, limits: &Limits) -> Result<List, Fault> {
    let count = source.count(1)?;
    let mut list = List::new();
    let mut room = [0; 20];
    for _ in 0..count {
        let text = source.string()?;
        let text = text.bytes(&mut room);
        list.expect(text.len() + OVERHEAD_MAX, 1, limits);
        list.push(End::Back, Val::of(text), limits);
    }
    Ok(list)
}

fn load_nodes<'a>(
    source: &mut Source<'a>,
    limits: &Limits,
    container: impl Fn(&mut Source<'a>) -> Result<u64, Fault>,
    pack: impl Fn(&mut Source<'a>) -> Result<Vec<u8>, Fault>,
) -> Result<List, Fault> {
    let count = source.count(1)?;
    let mut quick = Quicklist::new(limits.fill, limits.depth);
    for _ in 0..count {
        match container(source)? {
            PLAIN => {
                let text = source.string()?.into_vec();
                if text.is_empty() {
                    return Err(source.bad("a list's node without bytes"));
                }
                if text.len() >= limits.huge {
                    quick.append_plain(text);
                } else {
                    quick.push(End::Back, Val::of(&text), limits.huge);
                }
            }
            PACKED => {
                let pack = pack(source)?;
                if count == 1 {
                    return Ok(List::Pack(pack));
                }
                if !Pack::new(&pack).is_empty() {
                    quick.append_pack(pack);
                }
            }
            _ => return Err(source.bad("a list's node of an unknown kind")),
        }
    }
    Ok(List::Quick(Box::new(quick)))
}
