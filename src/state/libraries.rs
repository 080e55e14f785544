//! Function libraries: their sources, by name.
//!
//! Nothing is compiled here and nothing runs: this keeps what files and payloads bring, so that whatever is
//! saved holds it again. What a source says of itself stands in its first line, `#!engine name=library`; a
//! source whose first line says it wrongly is not taken, in the words that clients know.
use std::collections::BTreeMap;

use crate::base::glob;
use crate::codec::{Fault, Sink, Source, rdb};
use crate::resp::argv::{Argv, Span};
use crate::resp::words::split_words;

/// The only engine.
pub const ENGINE: &str = "LUA";

/// The longest first line. Names are short; what is longer is not taken apart.
const HEAD_MAX: usize = 1 << 20;

/// Why a library is not taken: bytes, because some texts show what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub Vec<u8>);

impl Refusal {
    fn new(text: &str) -> Refusal {
        Refusal(text.as_bytes().to_vec())
    }

    fn showing(before: &str, bytes: &[u8], after: &str) -> Refusal {
        Refusal([before.as_bytes(), bytes, after.as_bytes()].concat())
    }
}

/// A source that names its library and an engine that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Letters, digits and underscores.
    name: Box<str>,
    code: Box<[u8]>,
}

impl Library {
    /// Reads the first line of a source.
    pub fn parse(code: Vec<u8>) -> Result<Library, Refusal> {
        if !code.starts_with(b"#!") {
            return Err(Refusal::new("Missing library metadata"));
        }
        let broken = || Refusal::new("Invalid library metadata");
        let end = memchr::memchr2(b'\n', 0, &code)
            .filter(|end| code[*end] == b'\n' && *end <= HEAD_MAX)
            .ok_or_else(broken)?;
        let mut line = code[..end].to_vec();
        let mut spans: Vec<Span> = Vec::new();
        split_words(&mut line, 0, &mut spans).ok_or_else(broken)?;
        let words = Argv::new(&line, &spans);
        let mut name = None;
        for word in words.iter().skip(1) {
            let value = word
                .split_at_checked(5)
                .filter(|(field, _)| field.eq_ignore_ascii_case(b"name="));
            match value {
                Some((_, value)) if name.is_none() => name = Some(value),
                Some(_) => {
                    return Err(Refusal::new(
                        "Invalid metadata value, name argument was given multiple times",
                    ));
                }
                None => {
                    return Err(Refusal::showing("Invalid metadata value given: ", word, ""));
                }
            }
        }
        let name = name.ok_or_else(|| Refusal::new("Library name was not given"))?;
        let sound = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| !name.is_empty() && name.as_bytes().iter().all(sound))
            .ok_or_else(|| {
                Refusal::new(
                    "Library names can only contain letters, numbers, or underscores(_) and must \
                     be at least one character long",
                )
            })?;
        let engine = &words.get(0)[2..];
        if !engine.eq_ignore_ascii_case(ENGINE.as_bytes()) {
            return Err(Refusal::showing("Engine '", engine, "' not found"));
        }
        Ok(Library {
            name: name.into(),
            code: code.into(),
        })
    }
}

/// The source in a record behind its opcode. What an old one says beside it is put into the first line.
pub fn read_code(opcode: u8, source: &mut Source<'_>) -> Result<Vec<u8>, Fault> {
    if opcode == rdb::FUNCTION {
        return Ok(source.string()?.into_vec());
    }
    let (name, engine) = (source.string()?.into_vec(), source.string()?.into_vec());
    if source.len()? != 0 {
        source.skip_string()?;
    }
    let body = source.string()?.into_vec();
    Ok([b"#!", &engine[..], b" name=", &name, b"\n", &body].concat())
}

/// All libraries, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Libraries {
    codes: BTreeMap<Box<str>, Box<[u8]>>,
}

impl Libraries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Bytes of memory that they take, about.
    pub fn heap_bytes(&self) -> usize {
        /// Two lengths and two places, and what the allocator adds.
        const EACH: usize = 64;
        let all = self.codes.iter();
        all.map(|(name, code)| name.len() + code.len() + EACH).sum()
    }

    /// Names and sources.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.codes.iter().map(|(name, code)| (&**name, &**code))
    }

    /// The same of those whose name matches a glob pattern, in any case.
    pub fn matching(&self, pattern: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
        self.iter()
            .filter(move |(name, _)| glob::matches(pattern, name.as_bytes(), true))
    }

    /// Adds a library; one of its name is in its way unless it is to be replaced.
    pub fn add(&mut self, library: Library, replace: bool) -> Result<(), Refusal> {
        if !replace && self.codes.contains_key(&library.name) {
            let name = library.name.as_bytes();
            return Err(Refusal::showing("Library '", name, "' already exists"));
        }
        self.codes.insert(library.name, library.code);
        Ok(())
    }

    /// Adds all of `others`, or none.
    pub fn join(&mut self, mut others: Libraries, replace: bool) -> Result<(), Refusal> {
        let taken = others
            .codes
            .keys()
            .find(|name| self.codes.contains_key(*name));
        if let Some(name) = taken
            && !replace
        {
            return Err(Refusal::showing(
                "Library ",
                name.as_bytes(),
                " already exists",
            ));
        }
        self.codes.append(&mut others.codes);
        Ok(())
    }

    /// Removes a library; was it there?
    pub fn remove(&mut self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| self.codes.remove(name).is_some())
    }

    /// Writes them as the records of a file, which are the body of a payload, too.
    pub fn save(&self, sink: &mut Sink<'_>) {
        for code in self.codes.values() {
            sink.byte(rdb::FUNCTION);
            sink.string(code);
        }
    }

    /// Reads a payload's body.
    pub fn load(body: &[u8]) -> Result<Libraries, Refusal> {
        let mut source = Source::new(body);
        let mut libraries = Libraries::default();
        while !source.is_empty() {
            let opcode = source.byte().unwrap_or_default();
            if !matches!(opcode, rdb::FUNCTION | rdb::FUNCTION_PRE_GA) {
                return Err(Refusal::new("given type is not a function"));
            }
            let code = read_code(opcode, &mut source)
                .map_err(|_| Refusal::new("Failed loading library payload"))?;
            libraries.add(Library::parse(code)?, false)?;
        }
        Ok(libraries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(code: &[u8]) -> Result<String, String> {
        let text = |Refusal(text)| String::from_utf8_lossy(&text).into_owned();
        let library = Library::parse(code.to_vec()).map_err(text)?;
        assert_eq!(&*library.code, code);
        Ok(library.name.into())
    }

    /// What redis-server 7.0.15 answered to FUNCTION LOAD.
    #[test]
    fn the_first_line_names_engine_and_library() {
        for (code, name) in [
            (&b"#!lua name=mylib\nx"[..], "mylib"),
            (b"#!LUA  NAME=\"q_1\"  \n", "q_1"),
            (b"#!lua name=q\r\n", "q"),
            (b"#!lua 'name=q3'\n\xff\0", "q3"),
            (b"#!lua\tname=_\n", "_"),
            (b"#!\"lua\" name=q6\n", "q6"),
        ] {
            assert_eq!(parsed(code).as_deref(), Ok(name));
        }
        let names = "Library names can only contain letters, numbers, or underscores(_) and must be \
                     at least one character long";
        for (code, text) in [
            (&b""[..], "Missing library metadata"),
            (b"#", "Missing library metadata"),
            (b" #!lua name=a\n", "Missing library metadata"),
            (b"#!lua name=a", "Invalid library metadata"),
            (b"#!lua name=\"a\n", "Invalid library metadata"),
            (b"#!lua name=a\0b\n", "Invalid library metadata"),
            (b"#!\n", "Library name was not given"),
            (b"#!xx\n", "Library name was not given"),
            (b"#! lua name=a\n", "Invalid metadata value given: lua"),
            (b"#!lua x=a- name=-\n", "Invalid metadata value given: x=a-"),
            (
                b"#!lua name=a name=b\n",
                "Invalid metadata value, name argument was given multiple times",
            ),
            (b"#!lua name=\n", names),
            (b"#!lua name=a-b\n", names),
            (b"#!lua name=\xc3\xa4\n", names),
            (b"#!xx name=-\n", names),
            (b"#!foo name=a\n", "Engine 'foo' not found"),
            (b"#! name=a\n", "Engine '' not found"),
        ] {
            assert_eq!(
                parsed(code),
                Err(text.to_owned()),
                "{}",
                code.escape_ascii()
            );
        }
        let long = [&b"#!lua name="[..], &[b'a'; HEAD_MAX], b"\n"].concat();
        assert!(parsed(&long).is_err());
    }

    fn libraries(codes: &[&str]) -> Libraries {
        let mut libraries = Libraries::default();
        for code in codes {
            let library = Library::parse(code.as_bytes().to_vec()).unwrap();
            libraries.add(library, false).unwrap();
        }
        libraries
    }

    #[test]
    fn libraries_are_added_joined_and_found_by_name() {
        let mut all = libraries(&["#!lua name=b\n1", "#!lua name=B\n2", "#!lua name=a\n3"]);
        let names = |all: &Libraries| all.iter().map(|(name, _)| name.to_owned()).collect();
        let before: Vec<String> = names(&all);
        assert_eq!(before, ["B", "a", "b"]);
        assert_eq!(all.matching(b"B*").count(), 2);
        let again = Library::parse(b"#!lua name=b\nother".to_vec()).unwrap();
        let refused = all.add(again.clone(), false).unwrap_err();
        assert_eq!(refused.0, b"Library 'b' already exists");
        all.add(again, true).unwrap();

        let others = libraries(&["#!lua name=a\nnew", "#!lua name=z\n"]);
        let kept = all.clone();
        let refused = all.join(others.clone(), false).unwrap_err();
        assert_eq!(
            (refused.0, &all),
            (b"Library a already exists".to_vec(), &kept)
        );
        all.join(others, true).unwrap();
        let codes: Vec<_> = all
            .iter()
            .map(|(_, code)| code.escape_ascii().to_string())
            .collect();
        assert!(
            codes[1].ends_with("new") && codes[2].ends_with("other"),
            "{codes:?}"
        );
        assert!(all.remove(b"B") && !all.remove(b"B") && !all.remove(b"\xff"));
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn a_payload_is_taken_as_a_whole() {
        let all = libraries(&["#!lua name=b\nfunctions", "#!lua name=a\n"]);
        for compress in [false, true] {
            let mut sink = Sink::to_memory(compress);
            all.save(&mut sink);
            let body = sink.into_vec();
            assert_eq!(Libraries::load(&body).as_ref(), Ok(&all));
            for at in 1..body.len() {
                let _ = Libraries::load(&body[..at]);
            }
            let refused = |body: &[u8]| Libraries::load(body).unwrap_err().0;
            let twice = [&body[..], &body].concat();
            assert_eq!(refused(&twice), b"Library 'a' already exists");
            assert_eq!(
                refused(&[&body[..], b"x"].concat()),
                b"given type is not a function"
            );
            assert_eq!(refused(b"\xf5\x05a"), b"Failed loading library payload");
            assert_eq!(refused(b"\xf5\x03abc"), b"Missing library metadata");
        }
        assert_eq!(Libraries::load(b""), Ok(Libraries::default()));
        // As 7.0.15 takes them, without and with a description.
        let old = b"\xf6\x01b\x03lua\0\x09functions\xf6\x01a\x03lua\x01\x04desc\0";
        assert_eq!(Libraries::load(old), Ok(all));
    }
}
