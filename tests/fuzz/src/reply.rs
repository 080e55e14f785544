//! The decoder of replies: a verdict never changes when more bytes come, and what was read can be
//! written and read again.

use redvault::resp::reply::Writer;
use redvault::resp::value::{Value, decode};

/// The bytes are one reply, or the beginning of one, or none.
pub fn run(data: &[u8]) {
    let verdict = decode(data);
    let used = match &verdict {
        Ok(Some((_, used))) => *used,
        _ => data.len(),
    };
    assert!(used <= data.len());
    // A few prefixes are enough; all of them would be quadratic.
    for cut in (0..used).step_by(1 + used / 32) {
        match decode(&data[..cut]) {
            Ok(None) => {}
            early => assert_eq!(early, verdict, "decided at {cut} already"),
        }
    }
    if let Ok(Some((value, _))) = verdict {
        let mut out = Writer::new(true);
        write(&value, &mut out);
        let again = decode(&out.buf)
            .expect("what was written is sound")
            .expect("and whole");
        // Compared as text, since a NaN equals nothing.
        assert_eq!(format!("{:?}", (&value, out.len())), format!("{again:?}"));
    }
}

fn write(value: &Value, out: &mut Writer) {
    let line = |out: &mut Writer, mark: u8, text: &[u8]| {
        // Not by `simple` and `error`: those would clean a lone line feed away.
        out.raw(&[&[mark], text, b"\r\n"].concat());
    };
    match value {
        Value::Simple(text) => line(out, b'+', text),
        Value::Error(text) => {
            line(out, b'!', text.len().to_string().as_bytes());
            out.raw(&[text, &b"\r\n"[..]].concat());
        }
        Value::Int(n) => out.int(*n),
        Value::Bulk(text) => out.bulk(text),
        Value::NullBulk => out.raw(b"$-1\r\n"),
        Value::NullArray => out.raw(b"*-1\r\n"),
        Value::Null => out.null(),
        Value::Bool(truth) => out.bool(*truth),
        Value::Double(n) => out.double(*n),
        Value::BigNumber(digits) => out.big_number(digits),
        Value::Verbatim(kind, text) => {
            line(out, b'=', (text.len() + 4).to_string().as_bytes());
            out.raw(&[kind, &b":"[..], text, b"\r\n"].concat());
        }
        Value::Array(values) => {
            out.array(values.len());
            values.iter().for_each(|value| write(value, out));
        }
        Value::Set(values) => {
            // Through a hole, so that closing is tried on everything too.
            let hole = out.open();
            values.iter().for_each(|value| write(value, out));
            out.close_set(hole, values.len());
        }
        Value::Push(values) => {
            out.push(values.len());
            values.iter().for_each(|value| write(value, out));
        }
        Value::Map(pairs) => {
            let hole = out.open();
            pairs.iter().for_each(|(key, value)| {
                write(key, out);
                write(value, out);
            });
            out.close_map(hole, pairs.len());
        }
        Value::Attribute(pairs, of) => {
            assert!(out.attribute(pairs.len()));
            pairs.iter().for_each(|(key, value)| {
                write(key, out);
                write(value, out);
            });
            write(of, out);
        }
    }
}
