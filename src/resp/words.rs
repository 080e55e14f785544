//! A line of words, as a person types it: inline requests, and the lines of a configuration file.
//!
//! Words are divided by spaces; `"..."` knows escapes (`\n`, `\x41`), `'...'` only `\'`. The result
//! is never longer than the text, so words are unescaped where they stand and nothing is allocated:
//! the writing end never overtakes the reading one.

use super::argv::Span;
use crate::base::num::is_c_space;

/// Splits `line[at..]` into words and unescapes each where it stands, appending their places in
/// `line`. `None`: unbalanced quotes; the line and the spans are then spoilt.
pub fn split_words(line: &mut [u8], mut at: usize, spans: &mut Vec<Span>) -> Option<()> {
    loop {
        while at < line.len() && is_c_space(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return Some(());
        }
        let word = at;
        let mut out = at;
        while at < line.len() {
            match line[at] {
                // Only these end a word, though \v and \f are skipped between words.
                b' ' | b'\n' | b'\r' | b'\t' => break,
                quote @ (b'"' | b'\'') => {
                    (at, out) = unquote(line, at + 1, out, quote)?;
                    // A closing quote ends the word.
                    break;
                }
                byte => {
                    line[out] = byte;
                    at += 1;
                    out += 1;
                }
            }
        }
        spans.push(Span {
            at: word as u32,
            len: (out - word) as u32,
        });
    }
}

/// Copies quoted text from `at` to `out` up to its closing quote, behind which must be a space or
/// the end of the line. Gives both positions behind it.
fn unquote(line: &mut [u8], mut at: usize, mut out: usize, quote: u8) -> Option<(usize, usize)> {
    loop {
        let (byte, used) = match line.get(at..)? {
            [] => return None,
            [b, rest @ ..] if *b == quote => {
                return rest
                    .first()
                    .is_none_or(|b| is_c_space(*b))
                    .then_some((at + 1, out));
            }
            [b'\\', b'\'', ..] if quote == b'\'' => (b'\'', 2),
            [b'\\', b'x', high, low, ..] if quote == b'"' => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, 4),
                _ => (b'x', 2),
            },
            [b'\\', b, ..] if quote == b'"' => {
                let byte = match b {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                };
                (byte, 2)
            }
            [b, ..] => (*b, 1),
        };
        line[out] = byte;
        at += used;
        out += 1;
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &[u8]) -> Option<Vec<String>> {
        let (mut line, mut spans) = (text.to_vec(), Vec::new());
        split_words(&mut line, 0, &mut spans)?;
        let word = |span: &Span| &line[span.at as usize..][..span.len as usize];
        Some(
            spans
                .iter()
                .map(|span| word(span).escape_ascii().to_string())
                .collect(),
        )
    }

    /// Each asked of redis-server 7.0.15.
    #[test]
    fn inline_words_and_quotes() {
        for (line, words) in [
            (&b"PING\n"[..], &["PING"][..]),
            (b"PING\r\r\n", &["PING"]),
            (b"  PING  \r\n", &["PING"]),
            (b"PING\rX\n", &["PING", "X"]),
            (b"ECHO\ta\r\n", &["ECHO", "a"]),
            (b"ECHO\x0ba\r\n", &["ECHO\\x0ba"]),
            (b"ECHO \x0ba\r\n", &["ECHO", "a"]),
            (b"ECHO \"a b\" ''\r\n", &["ECHO", "a b", ""]),
            (
                b"ECHO \"a\\x41\\n\\r\\t\\b\\a\\q\\\"\"\r\n",
                &["ECHO", "aA\\n\\r\\t\\x08\\x07q\\\""],
            ),
            (b"ECHO 'a\\'b\\n'\r\n", &["ECHO", "a\\\'b\\\\n"]),
            (b"ECHO a\"b c\" d\r\n", &["ECHO", "ab c", "d"]),
            (b"ECHO \"\\x4\"\r\n", &["ECHO", "x4"]),
            (b"ECHO \"\\xzz\"\r\n", &["ECHO", "xzz"]),
            (b"ECHO \"\\x00\"\r\n", &["ECHO", "\\x00"]),
            (b"ECHO \"a\"\tb\r\n", &["ECHO", "a", "b"]),
            (b"ECHO \"a\"\x0b\r\n", &["ECHO", "a"]),
            (b"ECHO \xe9\xa0\r\n", &["ECHO", "\\xe9\\xa0"]),
        ] {
            let got = split(line).expect("the quotes are balanced");
            assert_eq!(got, words, "{}", line.escape_ascii());
        }
        for line in [
            &b"ECHO \"a\"b\r\n"[..],
            b"ECHO 'a'b\r\n",
            b"ECHO \"a\r\n",
            b"ECHO 'a\r\n",
            b"ECHO a\"b\r\n",
            b"ECHO a'b'd\r\n",
            b"ECHO \"a\\\r\n",
            b"ECHO \"a\\\"\r\n",
            b"ECHO 'a\\\\'\r\n",
        ] {
            assert_eq!(split(line), None, "{}", line.escape_ascii());
        }
    }
}
