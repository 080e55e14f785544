//! Writing to listpacks: every edit is one replacement of a run of bytes.
//!
//! All functions take the `Vec<u8>` that holds exactly the pack. Values go in as text and are
//! stored as integers where the text is a canonical one, as Redis does. Positions are checked: an
//! edit at a position that holds no element does nothing. Who lets a pack grow keeps it under
//! [`BYTES_MAX`](super::BYTES_MAX).

use super::{
    COUNT_UNKNOWN, EMPTY, END, HEADER, Pack, Val, after, back_len, body_len, canonical_int,
    stored_count,
};

/// On which side of a position an element goes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before the element at the position.
    Before,
    /// Behind the element at the position.
    After,
}

/// An empty pack.
pub fn new() -> Vec<u8> {
    EMPTY.to_vec()
}

/// Adds an element at the end; returns its position.
pub fn push_back(pack: &mut Vec<u8>, text: &[u8]) -> usize {
    push_back_val(pack, Val::of(text))
}

/// Adds an integer at the end; returns its position.
pub fn push_back_int(pack: &mut Vec<u8>, int: i64) -> usize {
    push_back_val(pack, Val::Int(int))
}

/// Adds an element at the end in the form given; returns its position.
pub fn push_back_val(pack: &mut Vec<u8>, val: Val<'_>) -> usize {
    make_sound(pack);
    let head = Head::of(val);
    let text: &[u8] = if let Val::Str(text) = val { text } else { b"" };
    let body = head.bytes().len() + text.len();

    // What `put` does, without moving anything: most elements of a pack come in here.
    make_room(pack, body + back_len(body));
    pack.pop();
    let at = pack.len();
    match head.bytes() {
        [only] => pack.push(*only),
        bytes => pack.extend_from_slice(bytes),
    }
    pack.extend_from_slice(text);
    back_bytes(body).for_each(|byte| pack.push(byte));
    pack.push(END);
    set_count(pack, 1);
    at
}

/// Adds the elements that `fill` gives at the end; the header learns of all of them at once. Room
/// is made as the vector makes it: who wants it spared reserves before.
pub fn push_back_all(pack: &mut Vec<u8>, fill: impl FnOnce(&mut Tail<'_>)) {
    make_sound(pack);
    pack.pop();
    let mut tail = Tail { pack, added: 0 };
    fill(&mut tail);
    let added = tail.added;
    pack.push(END);
    set_count(pack, added);
}

/// The end of a pack, open for more elements; see [`push_back_all`].
pub struct Tail<'a> {
    pack: &'a mut Vec<u8>,
    added: usize,
}

impl Tail<'_> {
    /// Adds an element.
    #[inline]
    pub fn text(&mut self, text: &[u8]) {
        match canonical_int(text) {
            Some(int) => self.int(int),
            None => self.val(Val::Str(text)),
        }
    }

    /// Adds an integer.
    #[inline]
    pub fn int(&mut self, int: i64) {
        if let small @ 0..=127 = int {
            self.pack.extend_from_slice(&[small as u8, 1]);
            self.added += 1;
        } else {
            self.val(Val::Int(int));
        }
    }

    /// Adds an element in the form given.
    #[inline]
    pub fn val(&mut self, val: Val<'_>) {
        let head = Head::of(val);
        let text: &[u8] = if let Val::Str(text) = val { text } else { b"" };
        let body = head.bytes().len() + text.len();
        match head.bytes() {
            [only] => self.pack.push(*only),
            bytes => self.pack.extend_from_slice(bytes),
        }
        self.pack.extend_from_slice(text);
        match body {
            0..=127 => self.pack.push(body as u8),
            _ => back_bytes(body).for_each(|byte| self.pack.push(byte)),
        }
        self.added += 1;
    }
}

/// Adds an element at the front.
pub fn push_front(pack: &mut Vec<u8>, text: &[u8]) {
    put(pack, HEADER, HEADER, Val::of(text), 1);
}

/// Adds an integer at the front.
pub fn push_front_int(pack: &mut Vec<u8>, int: i64) {
    put(pack, HEADER, HEADER, Val::Int(int), 1);
}

/// Adds an element beside the one at `at`; returns its position.
pub fn insert(pack: &mut Vec<u8>, at: usize, side: Side, text: &[u8]) -> Option<usize> {
    insert_val(pack, at, side, Val::of(text))
}

/// Adds an integer beside the one at `at`; returns its position.
pub fn insert_int(pack: &mut Vec<u8>, at: usize, side: Side, int: i64) -> Option<usize> {
    insert_val(pack, at, side, Val::Int(int))
}

fn insert_val(pack: &mut Vec<u8>, at: usize, side: Side, val: Val<'_>) -> Option<usize> {
    let behind = end_of(pack, at)?;
    let at = if side == Side::Before { at } else { behind };
    Some(put(pack, at, at, val, 1))
}

/// Puts `text` in the place of the element at `at`, which keeps its position.
pub fn replace(pack: &mut Vec<u8>, at: usize, text: &[u8]) {
    if let Some(end) = end_of(pack, at) {
        put(pack, at, end, Val::of(text), 0);
    }
}

/// Puts an integer in the place of the element at `at`, which keeps its position.
pub fn replace_int(pack: &mut Vec<u8>, at: usize, int: i64) {
    if let Some(end) = end_of(pack, at) {
        put(pack, at, end, Val::Int(int), 0);
    }
}

/// The same where the integer takes as many bytes as what is there; else nothing is done, and false
/// returned.
pub fn replace_int_in_place(pack: &mut [u8], at: usize, int: i64) -> bool {
    let head = Head::of_int(int);
    let fits = end_of(pack, at).is_some() && body_len(pack, at) == Some(head.bytes().len());
    if fits {
        pack[at..at + head.bytes().len()].copy_from_slice(head.bytes());
    }
    fits
}

/// Removes the element at `at`; what followed it is at `at` then.
pub fn delete(pack: &mut Vec<u8>, at: usize) {
    delete_run(pack, at, 1);
}

/// Removes up to `count` elements from the position `at` on; returns how many there were.
pub fn delete_run(pack: &mut Vec<u8>, at: usize, count: usize) -> usize {
    let (mut end, mut gone) = (at, 0);
    while gone < count {
        let Some(next) = end_of(pack, end) else { break };
        end = next;
        gone += 1;
    }
    if gone > 0 {
        pack.drain(at..end);
        set_count(pack, gone.wrapping_neg());
    }
    gone
}

/// Removes up to `count` elements from number `index` on (negative: from the end); returns how
/// many there were.
pub fn delete_range(pack: &mut Vec<u8>, index: i64, count: usize) -> usize {
    match Pack::new(pack).seek(index) {
        Some(at) => delete_run(pack, at, count),
        None => 0,
    }
}

/// Appends all elements of `other`.
pub fn merge(pack: &mut Vec<u8>, other: &[u8]) {
    let Some(elements) = other.get(HEADER..other.len().saturating_sub(1)) else {
        return;
    };
    let count = Pack::new(other).len();
    make_sound(pack);
    let end = pack.len().saturating_sub(1).max(HEADER);
    open(pack, end, end, elements.len()).copy_from_slice(elements);
    set_count(pack, count);
}

/// Removes up to `max` elements equal to `text`, the last ones if `from_back`; returns how many.
/// What stays is moved once, however many go.
pub fn delete_equal(pack: &mut Vec<u8>, text: &[u8], max: usize, from_back: bool) -> usize {
    let view = Pack::new(pack);
    let mut gone: Vec<usize> = Vec::new();
    let mut at = HEADER;
    while let Some(found) = view.find(at, text, 0) {
        if gone.len() == max && !from_back {
            break;
        }
        gone.push(found);
        let Some(next) = view.next(found) else { break };
        at = next;
    }
    let gone = &gone[gone.len().saturating_sub(max)..];
    let Some(mut to) = gone.first().copied() else {
        return 0;
    };
    for (n, &at) in gone.iter().enumerate() {
        let from = end_of(pack, at).unwrap_or(pack.len());
        let until = gone.get(n + 1).copied().unwrap_or(pack.len());
        pack.copy_within(from..until, to);
        to += until - from;
    }
    let count = gone.len();
    pack.truncate(to);
    set_count(pack, count.wrapping_neg());
    count
}

/// Where the element at `at` ends; `None` where no element can be.
fn end_of(pack: &[u8], at: usize) -> Option<usize> {
    if at < HEADER { None } else { after(pack, at) }
}

/// Fewer bytes than an empty pack has are no pack at all: start one.
fn make_sound(pack: &mut Vec<u8>) {
    if pack.len() < EMPTY.len() {
        pack.clear();
        pack.extend_from_slice(&EMPTY);
    }
}

/// Writes `val` over the bytes `from..to` and brings the header up to date.
fn put(pack: &mut Vec<u8>, from: usize, to: usize, val: Val<'_>, added: usize) -> usize {
    make_sound(pack);
    let head = Head::of(val);
    let text: &[u8] = if let Val::Str(text) = val { text } else { b"" };
    let head = head.bytes();
    let body = head.len() + text.len();

    let gap = open(pack, from, to, body + back_len(body));
    let (gap_head, rest) = gap.split_at_mut(head.len());
    let (gap_text, gap_back) = rest.split_at_mut(text.len());
    gap_head.copy_from_slice(head);
    gap_text.copy_from_slice(text);
    gap_back
        .iter_mut()
        .zip(back_bytes(body))
        .for_each(|(gap, byte)| *gap = byte);
    set_count(pack, added);
    from
}

/// The trailing length of an element whose head and text take `body` bytes: seven bits a byte, the
/// highest first; all but the first carry the "more before me" bit.
#[inline]
fn back_bytes(body: usize) -> impl Iterator<Item = u8> {
    let len = back_len(body);
    (0..len).map(move |index| {
        let bits = (body >> (7 * (len - 1 - index)) & 0x7F) as u8;
        if index == 0 { bits } else { bits | 0x80 }
    })
}

/// Makes sure that `grow` more bytes need no allocation. Room for an eighth more than asked: packs
/// are many, so doubling would waste too much, and long, so a copy for each edit would cost too
/// much.
#[inline]
fn make_room(pack: &mut Vec<u8>, grow: usize) {
    if pack.capacity() - pack.len() < grow {
        pack.reserve_exact(grow + (pack.len() + grow) / 8);
    }
}

/// Makes the bytes `from..to` a gap of `len` bytes and returns it.
fn open(pack: &mut Vec<u8>, from: usize, to: usize, len: usize) -> &mut [u8] {
    let old_len = pack.len();
    if len > to - from {
        let grow = len - (to - from);
        make_room(pack, grow);
        pack.resize(old_len + grow, 0);
        pack.copy_within(to..old_len, to + grow);
    } else {
        pack.copy_within(to.., from + len);
        pack.truncate(old_len - (to - from - len));
    }
    &mut pack[from..from + len]
}

/// Brings the header up to date after an edit that added `added` elements (wrapping: a removal
/// adds a negative number). A count that is not known stays unknown.
fn set_count(pack: &mut [u8], added: usize) {
    let count = match stored_count(pack) {
        COUNT_UNKNOWN => COUNT_UNKNOWN,
        count => {
            let count = usize::from(count).wrapping_add(added);
            u16::try_from(count).unwrap_or(COUNT_UNKNOWN)
        }
    };
    let total = u32::try_from(pack.len()).unwrap_or(u32::MAX);
    pack[..4].copy_from_slice(&total.to_le_bytes());
    pack[4..HEADER].copy_from_slice(&count.to_le_bytes());
}

/// One element as it will lie in a pack, for owners of bytes that are not a plain `Vec`.
pub struct Element<'a> {
    head: Head,
    text: &'a [u8],
    len: usize,
}

impl<'a> Element<'a> {
    /// The element that holds this value.
    #[inline]
    pub fn new(val: Val<'a>) -> Element<'a> {
        let head = Head::of(val);
        let text: &[u8] = if let Val::Str(text) = val { text } else { b"" };
        let body = usize::from(head.len) + text.len();
        Element {
            head,
            text,
            len: body + back_len(body),
        }
    }

    /// Bytes it takes, never zero.
    #[allow(clippy::len_without_is_empty)]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Writes it into exactly as many bytes.
    #[inline]
    pub fn write(&self, room: &mut [u8]) {
        let head = self.head.bytes();
        let body = head.len() + self.text.len();
        if let ([first], true) = (head, body < 128) {
            // Nearly every element: one byte on either side of the text.
            room[0] = *first;
            room[1..body].copy_from_slice(self.text);
            room[body] = body as u8;
            return;
        }
        room[..head.len()].copy_from_slice(head);
        room[head.len()..body].copy_from_slice(self.text);
        let back = room[body..].iter_mut();
        back.zip(back_bytes(body)).for_each(|(to, byte)| *to = byte);
    }
}

/// The header of a pack of that many bytes, of which it is one, and elements.
#[inline]
pub fn header(total: usize, count: usize) -> [u8; HEADER] {
    let [a, b, c, d] = u32::try_from(total).unwrap_or(u32::MAX).to_le_bytes();
    let count = u16::try_from(count).unwrap_or(COUNT_UNKNOWN);
    let [e, f] = count.to_le_bytes();
    [a, b, c, d, e, f]
}

/// The bytes of an element before its text; all of it but the trailing length, for an integer.
struct Head {
    bytes: [u8; 9],
    len: u8,
}

impl Head {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    #[inline]
    fn new(first: u8, rest: u64, rest_len: u8) -> Head {
        let mut bytes = [first; 9];
        bytes[1..].copy_from_slice(&rest.to_le_bytes());
        Head {
            bytes,
            len: 1 + rest_len,
        }
    }

    #[inline]
    fn of(val: Val<'_>) -> Head {
        match val {
            Val::Int(int) => Head::of_int(int),
            Val::Str(text) => match text.len() as u64 {
                len @ 0..=63 => Head::new(0x80 | len as u8, 0, 0),
                len @ 64..=4095 => Head::new(0xE0 | (len >> 8) as u8, len, 1),
                len => Head::new(0xF0, len, 4),
            },
        }
    }

    #[inline]
    fn of_int(int: i64) -> Head {
        let bits = int.cast_unsigned();
        match int {
            0..=127 => Head::new(bits as u8, 0, 0),
            -4096..=4095 => Head::new(0xC0 | (bits >> 8 & 0x1F) as u8, bits, 1),
            -0x8000..=0x7FFF => Head::new(0xF1, bits, 2),
            -0x80_0000..=0x7F_FFFF => Head::new(0xF2, bits, 3),
            -0x8000_0000..=0x7FFF_FFFF => Head::new(0xF3, bits, 4),
            _ => Head::new(0xF4, bits, 8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pack: &[u8]) -> Vec<Vec<u8>> {
        Pack::new(pack).iter().map(Val::to_vec).collect()
    }

    #[test]
    fn elements_have_redis_bytes() {
        // As `redis-cli --no-raw DUMP` shows them.
        let cases: &[(&[u8], &[u8])] = &[
            (b"0", &[0x00, 1]),
            (b"127", &[0x7F, 1]),
            (b"128", &[0xC0, 0x80, 2]),
            (b"-1", &[0xDF, 0xFF, 2]),
            (b"4095", &[0xCF, 0xFF, 2]),
            (b"-4096", &[0xD0, 0x00, 2]),
            (b"4096", &[0xF1, 0x00, 0x10, 3]),
            (b"-32768", &[0xF1, 0x00, 0x80, 3]),
            (b"32768", &[0xF2, 0x00, 0x80, 0x00, 4]),
            (b"-8388608", &[0xF2, 0x00, 0x00, 0x80, 4]),
            (b"8388608", &[0xF3, 0x00, 0x00, 0x80, 0x00, 5]),
            (b"2147483648", &[0xF4, 0, 0, 0, 0x80, 0, 0, 0, 0, 9]),
            (
                b"-9223372036854775808",
                &[0xF4, 0, 0, 0, 0, 0, 0, 0, 0x80, 9],
            ),
            (b"9223372036854775808", b"\x939223372036854775808\x14"),
            (b"", &[0x80, 1]),
            (b"01", b"\x8201\x03"),
            (b"abc", b"\x83abc\x04"),
        ];
        for (text, bytes) in cases {
            let mut pack = new();
            push_back(&mut pack, text);
            let mut whole = vec![(7 + bytes.len()) as u8, 0, 0, 0, 1, 0];
            whole.extend_from_slice(bytes);
            whole.push(0xFF);
            assert_eq!(pack, whole, "{}", text.escape_ascii());
            assert_eq!(
                Pack::new(&pack).get(0).map(Val::to_vec).as_deref(),
                Some(*text)
            );
            assert_eq!(Pack::new(&pack).get(0).map(Val::len), Some(text.len()));
        }
    }

    #[test]
    fn trailing_lengths_grow_where_redis_grows_them() {
        // Text length, then the trailing length that redis-server 7.0.15 wrote.
        let cases: &[(usize, &[u8])] = &[
            (63, &[64]),
            (64, &[66]),
            (125, &[127]),
            (126, &[1, 0x80]),
            (4095, &[0x20, 0x81]),
            (4096, &[0x20, 0x85]),
            (16_377, &[0x7F, 0xFE]),
            (16_378, &[0x00, 0xFF, 0xFF]),
            (16_379, &[0x01, 0x80, 0x80]),
        ];
        for &(len, back) in cases {
            let mut pack = new();
            push_back(&mut pack, &vec![b'x'; len]);
            push_back(&mut pack, b"tail");
            let end = pack.len() - 7;
            assert_eq!(&pack[end - back.len()..end], back, "{len}");
            assert_eq!(pack[end - back.len() - 1], b'x');
            assert_eq!(
                Pack::new(&pack)
                    .iter()
                    .rev()
                    .map(Val::len)
                    .collect::<Vec<_>>(),
                [4, len]
            );
        }
    }

    #[test]
    fn edits_keep_the_rest() {
        let mut pack = new();
        for text in [&b"b"[..], b"2", b"d"] {
            push_back(&mut pack, text);
        }
        push_front(&mut pack, b"a");
        let d = Pack::new(&pack).find(HEADER, b"d", 0).expect("d is there");
        let c = insert(&mut pack, d, Side::Before, b"c").expect("d is there");
        insert_int(&mut pack, c, Side::After, 1000).expect("c is there");
        assert_eq!(texts(&pack), [&b"a"[..], b"b", b"2", b"c", b"1000", b"d"]);
        replace(&mut pack, c, &[b'C'; 300]);
        assert_eq!(Pack::new(&pack).get(-1), Some(Val::Str(b"d")));
        replace_int(&mut pack, c, -7);
        delete(&mut pack, HEADER);
        assert_eq!(texts(&pack), [&b"b"[..], b"2", b"-7", b"1000", b"d"]);
        assert_eq!(delete_range(&mut pack, -2, 9), 2);
        assert_eq!(delete_range(&mut pack, 7, 9), 0);
        let copy = pack.clone();
        merge(&mut pack, &copy);
        assert_eq!(texts(&pack), [&b"b"[..], b"2", b"-7", b"b", b"2", b"-7"]);
        assert!(Pack::new(&pack).validate(true).is_ok());
        assert_eq!(delete_range(&mut pack, 0, 6), 6);
        assert_eq!(pack, EMPTY);
    }

    #[test]
    fn many_at_once_are_the_same_as_one_by_one() {
        let words: Vec<Vec<u8>> = (0..300usize)
            .map(|n| match n % 4 {
                0 => n.to_string().into_bytes(),
                1 => vec![b'x'; n * n / 4],
                2 => b"-7".to_vec(),
                _ => Vec::new(),
            })
            .collect();
        let (mut all, mut each) = (Vec::new(), new());
        push_back_all(&mut all, |tail| {
            words.iter().for_each(|word| tail.text(word))
        });
        words.iter().for_each(|word| _ = push_back(&mut each, word));
        assert_eq!(all, each);
        push_back_all(&mut all, |tail| tail.int(1000));
        push_back_int(&mut each, 1000);
        assert_eq!(all, each);

        let at = Pack::new(&all).last().expect("not empty");
        assert!(replace_int_in_place(&mut all, at, -1) && !replace_int_in_place(&mut all, at, 127));
        assert_eq!(Pack::new(&all).get(-1), Some(Val::Int(-1)));
        assert!(!replace_int_in_place(&mut all, 3, 1));
        assert!(Pack::new(&all).validate(true).is_ok());
    }

    #[test]
    fn counts_beyond_the_header_are_walked() {
        let mut pack = new();
        for number in 0..65_534 {
            push_back_int(&mut pack, number % 100);
        }
        assert_eq!(pack[4..6], [0xFE, 0xFF]);
        push_back_int(&mut pack, 1);
        push_back_int(&mut pack, 2);
        assert_eq!(
            (pack[4..6].to_vec(), Pack::new(&pack).len()),
            (vec![0xFF, 0xFF], 65_536)
        );
        assert_eq!(Pack::new(&pack).get(-1), Some(Val::Int(2)));
        assert_eq!(Pack::new(&pack).get(65_536), None);
        assert!(Pack::new(&pack).validate(true).is_ok());
        let copy = pack.clone();
        merge(&mut pack, &copy);
        assert_eq!(Pack::new(&pack).len(), 131_072);
    }
}
