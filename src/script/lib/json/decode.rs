//! cjson.decode. Null is a light userdata, numbers may be spelled as C takes them unless that is turned off.
use super::{DECODE_DEPTH, DECODE_INVALID};
use crate::script::lib::number;
use crate::script::lib::stack::{Buffer, Fault, Outcome, Settings, Stack};

#[derive(Clone, Copy, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// A string, which is in the buffer.
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    /// What it is called in errors.
    fn name(self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(why) => why,
        }
    }
}

pub(super) fn decode(stack: &mut Stack<'_>) -> Outcome {
    if stack.top() != 1 {
        return Err(Fault::Argument(1, c"expected 1 argument"));
    }
    let text = stack.check_bytes(1)?;
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        let why = c"JSON parser does not support UTF-16 or UTF-32";
        return Err(Fault::Text(why));
    }
    let mut input = Input {
        settings: stack.settings(),
        text,
        at: 0,
        token_at: 0,
        string: stack.buffer(0),
        levels: stack.buffer(1),
        depth: 0,
    };
    input.document(stack)?;
    input.string.done(stack);
    input.levels.done(stack);
    Ok(1)
}

struct Input<'a> {
    settings: Settings,
    text: &'a [u8],
    /// Where the next token is looked for.
    at: usize,
    /// Where the last one began.
    token_at: usize,
    string: Buffer,
    /// Of each open table four bytes: how many items an array has, or `OBJECT`.
    levels: Buffer,
    depth: u32,
}

/// No array has so many items: each takes two bytes of the text.
const OBJECT: u32 = u32::MAX;

impl Input<'_> {
    fn document(&mut self, stack: &mut Stack<'_>) -> Result<(), Fault> {
        let mut token = self.token(stack)?;
        loop {
            // A value begins with `token`; an empty or closed table goes on below as a value that is whole.
            match token {
                Token::ObjectBegin => {
                    // The table, a key, a value.
                    self.descend(stack, 3)?;
                    token = self.token(stack)?;
                    if token != Token::ObjectEnd {
                        self.levels.put(stack, &OBJECT.to_le_bytes())?;
                        token = self.key(stack, token)?;
                        continue;
                    }
                    self.depth -= 1;
                }
                Token::ArrayBegin => {
                    self.descend(stack, 2)?;
                    token = self.token(stack)?;
                    if token != Token::ArrayEnd {
                        self.levels.put(stack, &0_u32.to_le_bytes())?;
                        continue;
                    }
                    self.depth -= 1;
                }
                Token::String => stack.push_bytes(self.string.bytes()),
                Token::Number(value) => stack.push_number(value),
                Token::Boolean(value) => stack.push_boolean(value),
                Token::Null => stack.push_null(),
                _ => return Err(self.expected(stack, "value", token)),
            }
            match self.close(stack)? {
                Some(next) => token = next,
                None => break,
            }
        }
        token = self.token(stack)?;
        match token {
            Token::End => Ok(()),
            _ => Err(self.expected(stack, "the end", token)),
        }
    }

    /// Puts the value on top into the tables that it ends: the token the next value begins with, or nothing
    /// when the outermost is whole.
    fn close(&mut self, stack: &mut Stack<'_>) -> Result<Option<Token>, Fault> {
        while let Some(level) = self.levels.take() {
            let level = u32::from_le_bytes(level);
            let array = level != OBJECT;
            if array {
                stack.raw_set_item(-2, level + 1);
            } else {
                stack.raw_set(-3);
            }
            let token = self.token(stack)?;
            match token {
                Token::ArrayEnd if array => self.depth -= 1,
                Token::ObjectEnd if !array => self.depth -= 1,
                Token::Comma => {
                    let next = if array { level + 1 } else { level };
                    self.levels.put(stack, &next.to_le_bytes())?;
                    let token = self.token(stack)?;
                    return match array {
                        true => Ok(Some(token)),
                        false => self.key(stack, token).map(Some),
                    };
                }
                _ if array => return Err(self.expected(stack, "comma or array end", token)),
                _ => return Err(self.expected(stack, "comma or object end", token)),
            }
        }
        Ok(None)
    }

    /// Pushes the key that `token` has to be; the token of its value.
    fn key(&mut self, stack: &mut Stack<'_>, token: Token) -> Result<Token, Fault> {
        if token != Token::String {
            return Err(self.expected(stack, "object key string", token));
        }
        stack.push_bytes(self.string.bytes());
        let token = self.token(stack)?;
        if token != Token::Colon {
            return Err(self.expected(stack, "colon", token));
        }
        self.token(stack)
    }

    fn descend(&mut self, stack: &mut Stack<'_>, slots: i32) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > self.settings[DECODE_DEPTH] || !stack.room(slots) {
            let (depth, at) = (self.depth, self.at);
            return Err(stack.told(format_args!(
                "Found too many nested data structures ({depth}) at character {at}"
            )));
        }
        stack.push_table(0, 0);
        Ok(())
    }

    #[cold]
    fn expected(&self, stack: &mut Stack<'_>, what: &str, found: Token) -> Fault {
        let (name, at) = (found.name(), self.token_at + 1);
        stack.told(format_args!(
            "Expected {what} but found {name} at character {at}"
        ))
    }

    /// The byte at a place; a zero behind the end, as a zero in the text ends it.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn starts_with(&self, word: &[u8]) -> bool {
        self.text[self.at..].starts_with(word)
    }

    fn token(&mut self, stack: &mut Stack<'_>) -> Result<Token, Fault> {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.token_at = self.at;
        let single = match self.byte(self.at) {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b',' => Token::Comma,
            b':' => Token::Colon,
            // Nothing is behind the end.
            0 => return Ok(Token::End),
            b'"' => return self.read_string(stack),
            first => return Ok(self.word(first)),
        };
        self.at += 1;
        Ok(single)
    }

    /// A number or one of the three words.
    fn word(&mut self, first: u8) -> Token {
        let loose = self.settings[DECODE_INVALID] != 0;
        let (token, len) = match first {
            b'-' | b'0'..=b'9' => {
                if !loose && self.is_loose() {
                    return Token::Error("invalid number");
                }
                return self.number();
            }
            b't' if self.starts_with(b"true") => (Token::Boolean(true), 4),
            b'f' if self.starts_with(b"false") => (Token::Boolean(false), 5),
            b'n' if self.starts_with(b"null") => (Token::Null, 4),
            b'+' | b'i' | b'I' | b'n' | b'N' if loose && self.is_loose() => return self.number(),
            _ => return Token::Error("invalid token"),
        };
        self.at += len;
        token
    }

    fn number(&mut self) -> Token {
        match number::read(&self.text[self.at..]) {
            Some((value, len)) => {
                self.at += len;
                Token::Number(value)
            }
            None => Token::Error("invalid number"),
        }
    }

    /// A number that JSON does not know: with a plus, a leading zero, in hexadecimal, infinite or none.
    fn is_loose(&self) -> bool {
        let at = match self.byte(self.at) {
            b'+' => return true,
            b'-' => self.at + 1,
            _ => self.at,
        };
        match self.byte(at) {
            b'0' => matches!(self.byte(at + 1), b'x' | b'X' | b'0'..=b'9'),
            ..=b'9' => false,
            _ => self.text.get(at..at + 3).is_some_and(|word| {
                word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
            }),
        }
    }

    /// Reads a string into the buffer.
    fn read_string(&mut self, stack: &mut Stack<'_>) -> Result<Token, Fault> {
        self.string.clear();
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let plain = memchr::memchr3(b'"', b'\\', 0, rest).unwrap_or(rest.len());
            self.string.put(stack, &rest[..plain])?;
            self.at += plain;
            match self.byte(self.at) {
                b'"' => {
                    self.at += 1;
                    return Ok(Token::String);
                }
                b'\\' => {}
                _ => return Ok(self.error("unexpected end of string")),
            }
            let letter = match self.byte(self.at + 1) {
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'f' => 12,
                b'r' => b'\r',
                byte @ (b'"' | b'\\' | b'/') => byte,
                b'u' => {
                    let Some((code, len)) = self.code() else {
                        return Ok(self.error("invalid unicode escape code"));
                    };
                    let mut utf8 = [0; 4];
                    let bytes = code.encode_utf8(&mut utf8).as_bytes();
                    self.string.put(stack, bytes)?;
                    self.at += len;
                    continue;
                }
                _ => return Ok(self.error("invalid escape code")),
            };
            self.string.put(stack, &[letter])?;
            self.at += 2;
        }
    }

    fn error(&mut self, why: &'static str) -> Token {
        self.token_at = self.at;
        Token::Error(why)
    }

    /// The character of `\uXXXX`, or of two of them that are a pair, and how long they are.
    fn code(&self) -> Option<(char, usize)> {
        let first = self.unit(self.at)?;
        if let Some(code) = char::from_u32(first.into()) {
            return Some((code, 6));
        }
        let pair = [first, self.unit(self.at + 6)?];
        let code = char::decode_utf16(pair).next()?.ok()?;
        Some((code, 12))
    }

    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let value = |sum: Option<u16>, digit: &u8| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(sum? << 4 | digit as u16)
        };
        digits.iter().fold(Some(0), value)
    }
}
