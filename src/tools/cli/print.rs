//! Replies as text, in the forms that redis-cli has: scripts and eyes know them.
use crate::base::num::{fmt_f64, push_i64};
use crate::resp::value::Value;

/// How replies are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For a person: types and positions are told, texts quoted.
    Standard,
    /// For a program: the texts alone.
    Raw,
    Csv,
    Json,
    /// JSON whose texts are quoted first, so that it is ASCII whatever they hold.
    QuotedJson,
}

/// Appends a reply for a person, with its line end.
pub fn standard(value: &Value, out: &mut Vec<u8>) {
    lines(value, 0, out);
}

/// `indent`: where the reply's second and later lines begin.
fn lines(value: &Value, indent: usize, out: &mut Vec<u8>) {
    match value {
        Value::Error(text) => push(out, &[b"(error) ", text]),
        Value::Simple(text) | Value::Verbatim(_, text) => out.extend_from_slice(text),
        Value::Int(int) => push(out, &[b"(integer) ", int.to_string().as_bytes()]),
        Value::Double(double) => {
            out.extend_from_slice(b"(double) ");
            fmt_f64(*double, out);
        }
        Value::BigNumber(digits) => push(out, &[b"(big number) ", digits]),
        Value::Bulk(text) => quote(text, out),
        Value::NullBulk | Value::NullArray | Value::Null => out.extend_from_slice(b"(nil)"),
        Value::Bool(truth) => out.extend_from_slice(if *truth { b"(true)" } else { b"(false)" }),
        Value::Array(items) | Value::Push(items) => return elements(items, b')', indent, out),
        Value::Set(items) => return elements(items, b'~', indent, out),
        Value::Map(pairs) => return entries(pairs, indent, out),
        Value::Attribute(_, value) => return lines(value, indent, out),
    }
    out.push(b'\n');
}

fn elements(items: &[Value], mark: u8, indent: usize, out: &mut Vec<u8>) {
    if items.is_empty() {
        let what: &[u8] = if mark == b'~' { b"set" } else { b"array" };
        return push(out, &[b"(empty ", what, b")\n"]);
    }
    let width = digits(items.len());
    for (i, item) in items.iter().enumerate() {
        number(i, width, mark, indent, out);
        lines(item, indent + width + 2, out);
    }
}

fn entries(pairs: &[(Value, Value)], indent: usize, out: &mut Vec<u8>) {
    if pairs.is_empty() {
        return out.extend_from_slice(b"(empty hash)\n");
    }
    let width = digits(pairs.len());
    let inner = indent + width + 2;
    for (i, (key, value)) in pairs.iter().enumerate() {
        number(i, width, b'#', indent, out);
        lines(key, inner, out);
        out.pop();
        out.extend_from_slice(b" => ");
        let start = out.len();
        lines(value, inner, out);
        // What takes more than a line begins on one of its own.
        if out[start..out.len() - 1].contains(&b'\n') {
            let head = [vec![b'\n'], vec![b' '; inner]].concat();
            out.splice(start..start, head);
        }
    }
}

/// The position of an element; the first one stands where the aggregate begins.
fn number(i: usize, width: usize, mark: u8, indent: usize, out: &mut Vec<u8>) {
    if i > 0 {
        out.resize(out.len() + indent, b' ');
    }
    out.resize(out.len() + width - digits(i + 1), b' ');
    push_i64(out, i as i64 + 1);
    out.extend_from_slice(&[mark, b' ']);
}

fn digits(number: usize) -> usize {
    number.max(1).ilog10() as usize + 1
}

/// Appends a reply as its texts alone, divided by `between`. No line end.
pub fn raw(value: &Value, between: &[u8], out: &mut Vec<u8>) {
    match value {
        Value::Error(text) => push(out, &[text, b"\n"]),
        Value::Simple(text)
        | Value::Bulk(text)
        | Value::BigNumber(text)
        | Value::Verbatim(_, text) => out.extend_from_slice(text),
        Value::Int(int) => push_i64(out, *int),
        Value::Double(double) => fmt_f64(*double, out),
        Value::NullBulk | Value::NullArray | Value::Null => {}
        Value::Bool(truth) => out.extend_from_slice(if *truth { b"(true)" } else { b"(false)" }),
        Value::Array(items) | Value::Push(items) | Value::Set(items) => {
            joined(items, between, out, |item, out| raw(item, between, out));
        }
        Value::Map(pairs) => joined(pairs, between, out, |(key, value), out| {
            raw(key, between, out);
            out.push(b' ');
            raw(value, between, out);
        }),
        Value::Attribute(_, value) => raw(value, between, out),
    }
}

/// Appends a reply as values divided by commas. No line end.
pub fn csv(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Error(text) => {
            out.extend_from_slice(b"ERROR,");
            quote(text, out);
        }
        Value::Simple(text) | Value::Bulk(text) | Value::Verbatim(_, text) => quote(text, out),
        Value::BigNumber(digits) => out.extend_from_slice(digits),
        Value::Int(int) => push_i64(out, *int),
        Value::Double(double) => fmt_f64(*double, out),
        Value::NullBulk | Value::NullArray | Value::Null => out.extend_from_slice(b"NULL"),
        Value::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Value::Array(items) | Value::Push(items) | Value::Set(items) => {
            joined(items, b",", out, csv);
        }
        Value::Map(pairs) => joined(pairs, b",", out, |(key, value), out| {
            csv(key, out);
            out.push(b',');
            csv(value, out);
        }),
        Value::Attribute(_, value) => csv(value, out),
    }
}

/// Appends a reply as JSON. No line end. Bytes that are no UTF-8 stay as they are, unless `quoted`.
pub fn json(value: &Value, quoted: bool, out: &mut Vec<u8>) {
    match value {
        Value::Error(text) => {
            out.extend_from_slice(b"error:");
            json_text(text, quoted, out);
        }
        Value::Simple(text) | Value::Bulk(text) | Value::Verbatim(_, text) => {
            json_text(text, quoted, out);
        }
        Value::BigNumber(digits) => out.extend_from_slice(digits),
        Value::Int(int) => push_i64(out, *int),
        // JSON knows no infinity.
        Value::Double(double) if !double.is_finite() => {
            out.push(b'"');
            fmt_f64(*double, out);
            out.push(b'"');
        }
        Value::Double(double) => fmt_f64(*double, out),
        Value::NullBulk | Value::NullArray | Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
        Value::Array(items) | Value::Push(items) | Value::Set(items) => {
            out.push(b'[');
            joined(items, b",", out, |item, out| json(item, quoted, out));
            out.push(b']');
        }
        Value::Map(pairs) => {
            out.push(b'{');
            joined(pairs, b",", out, |(key, value), out| {
                json_key(key, quoted, out);
                out.push(b':');
                json(value, quoted, out);
            });
            out.push(b'}');
        }
        Value::Attribute(_, value) => json(value, quoted, out),
    }
}

/// A key of an object is a text, whatever it was.
fn json_key(key: &Value, quoted: bool, out: &mut Vec<u8>) {
    let mut text = Vec::new();
    json(key, quoted, &mut text);
    if text.starts_with(b"\"") {
        out.extend_from_slice(&text);
    } else {
        json_text(&text, false, out);
    }
}

fn json_text(text: &[u8], quoted: bool, out: &mut Vec<u8>) {
    let mut shown = Vec::new();
    let mut text = text;
    if quoted {
        quote(text, &mut shown);
        text = &shown[1..shown.len() - 1];
    }
    out.push(b'"');
    for byte in text {
        if escaped(*byte, out) {
            continue;
        }
        match byte {
            0x0c => out.extend_from_slice(b"\\f"),
            0..0x20 => push(out, &[b"\\u00", &hex(*byte)]),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

/// A text in double quotes, with everything that is not plain ASCII escaped.
pub fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        if escaped(*byte, out) {
            continue;
        }
        match byte {
            0x07 => out.extend_from_slice(b"\\a"),
            0x20..0x7f => out.push(*byte),
            _ => push(out, &[b"\\x", &hex(*byte)]),
        }
    }
    out.push(b'"');
}

/// Appends what JSON and our quotes escape alike; false for all other bytes.
fn escaped(byte: u8, out: &mut Vec<u8>) -> bool {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        _ => return false,
    };
    out.extend_from_slice(&[b'\\', short]);
    true
}

fn hex(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)])
}

fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn joined<T>(
    items: &[T],
    between: &[u8],
    out: &mut Vec<u8>,
    mut one: impl FnMut(&T, &mut Vec<u8>),
) {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(between);
        }
        one(item, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::value::decode;

    fn shown(reply: &[u8], form: Form) -> String {
        let (value, _) = decode(reply).expect("sound").expect("whole");
        let mut out = Vec::new();
        match form {
            Form::Standard => standard(&value, &mut out),
            Form::Raw => raw(&value, b"\n", &mut out),
            Form::Csv => csv(&value, &mut out),
            Form::Json => json(&value, false, &mut out),
            Form::QuotedJson => json(&value, true, &mut out),
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// What redis-cli 7.0.15 prints of the same replies.
    #[test]
    fn replies_look_as_they_do_in_redis_cli() {
        use Form::*;
        let ten =
            b"*10\r\n:0\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n*1\r\n*1\r\n+x\r\n";
        let text = b"$9\r\na\tb\\\"\x01\xff\n\x08\r\n";
        for (reply, form, expected) in [
            (&b"+OK\r\n"[..], Standard, "OK\n"),
            (b"-ERR no\r\n", Standard, "(error) ERR no\n"),
            (b"-ERR no\r\n", Raw, "ERR no\n"),
            (b"-ERR no\r\n", Csv, "ERROR,\"ERR no\""),
            (b"-ERR no\r\n", Json, "error:\"ERR no\""),
            (b":7\r\n", Standard, "(integer) 7\n"),
            (text, Standard, "\"a\\tb\\\\\\\"\\x01\\xff\\n\\b\"\n"),
            (text, Json, "\"a\\tb\\\\\\\"\\u0001\u{fffd}\\n\\b\""),
            (b"$2\r\n\xf0e\r\n", QuotedJson, "\"\\\\xf0e\""),
            (b"=6\r\ntxt:ab\r\n", Standard, "ab\n"),
            (b"$-1\r\n", Standard, "(nil)\n"),
            (b"$-1\r\n", Raw, ""),
            (b"$-1\r\n", Csv, "NULL"),
            (b",3.141\r\n", Standard, "(double) 3.141\n"),
            (b"#f\r\n", Raw, "(false)"),
            (b"*0\r\n", Standard, "(empty array)\n"),
            (b"~0\r\n", Standard, "(empty set)\n"),
            (b"%0\r\n", Standard, "(empty hash)\n"),
            (b"%1\r\n$1\r\na\r\n*0\r\n", Json, "{\"a\":[]}"),
            (
                b"%2\r\n:1\r\n$1\r\na\r\n:2\r\n#t\r\n",
                Json,
                "{\"1\":\"a\",\"2\":true}",
            ),
            (b"%2\r\n:1\r\n$1\r\na\r\n:2\r\n#t\r\n", Raw, "1 a\n2 (true)"),
            (
                b"%2\r\n:1\r\n$1\r\na\r\n:2\r\n#t\r\n",
                Csv,
                "1,\"a\",2,true",
            ),
            (b"%1\r\n+a\r\n%1\r\n+b\r\n~2\r\n:1\r\n:2\r\n", Standard, {
                "1# a => \n   1# b => \n      1~ (integer) 1\n      2~ (integer) 2\n"
            }),
            (
                b"%1\r\n+a\r\n%1\r\n+b\r\n:1\r\n",
                Standard,
                "1# a => 1# b => (integer) 1\n",
            ),
            (
                b"*2\r\n*2\r\n+a\r\n+b\r\n~1\r\n+c\r\n",
                Standard,
                "1) 1) a\n   2) b\n2) 1~ c\n",
            ),
            (b"*2\r\n:1\r\n*2\r\n+a\r\n*0\r\n", Raw, "1\na\n"),
            (b"*2\r\n:1\r\n*2\r\n+a\r\n*0\r\n", Csv, "1,\"a\","),
        ] {
            assert_eq!(shown(reply, form), expected, "{}", reply.escape_ascii());
        }
        let last = shown(ten, Standard);
        assert!(last.starts_with(" 1) (integer) 0\n"), "{last}");
        assert!(last.ends_with("\n10) 1) 1) x\n"), "{last}");
    }
}
