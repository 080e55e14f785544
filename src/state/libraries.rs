//! Function libraries: their sources by name, and the functions that each has registered.
//!
//! Nothing is compiled here and nothing runs: the engine, a floor of `script`, says which functions a source
//! registers and knows each by a handle; which handles it may forget stands in `released`. What a source says of
//! itself stands in its first line, `#!engine name=library`; a source whose first line says it wrongly is not
//! taken, in the words that clients know.
use std::collections::{BTreeMap, HashMap, HashSet};

use super::per_group::Divided;
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
    /// A text.
    pub fn new(text: &str) -> Refusal {
        Refusal(text.as_bytes().to_vec())
    }

    /// A text that shows bytes.
    pub fn showing(before: &str, bytes: &[u8], after: &str) -> Refusal {
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
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its source, the first line included.
    pub fn code(&self) -> &[u8] {
        &self.code
    }

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
        let name = sound_name(name).ok_or_else(|| Refusal::new(BAD_NAME))?;
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

/// What libraries and functions may be called.
pub const BAD_NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be at \
                            least one character long";

/// A name of letters, digits and underscores.
pub fn sound_name(name: &[u8]) -> Option<&str> {
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let name = std::str::from_utf8(name).ok()?;
    (!name.is_empty() && name.as_bytes().iter().all(sound)).then_some(name)
}

/// A function that a library has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: Box<str>,
    pub description: Option<Box<[u8]>>,
    /// Flags of scripts.
    pub flags: u32,
    /// What the engine knows it by.
    pub handle: u32,
}

/// A library that is in force.
#[derive(Debug)]
pub struct Loaded {
    pub name: Box<str>,
    pub code: Box<[u8]>,
    /// In the order in which they were registered.
    pub functions: Vec<Function>,
}

/// All libraries of a group, in the order of their names.
#[derive(Debug, Default)]
pub struct Libraries {
    all: BTreeMap<Box<str>, Loaded>,
    /// The library of each function, by the function's name in lower case.
    functions: HashMap<Box<str>, Box<str>>,
    /// What they take.
    bytes: usize,
    /// Functions that are gone, which the engine may forget.
    pub released: Vec<u32>,
}

impl Loaded {
    /// Bytes of memory that it takes, about.
    fn heap_bytes(&self) -> usize {
        /// Lengths and places, and what the allocator adds.
        const EACH: usize = 64;
        let functions = self.functions.iter().map(|function| {
            let description = function.description.as_ref().map_or(0, |text| text.len());
            2 * EACH + 3 * function.name.len() + description
        });
        EACH + 2 * self.name.len() + self.code.len() + functions.sum::<usize>()
    }
}

impl Divided for Libraries {
    fn fresh(&self) -> Libraries {
        Libraries::default()
    }
}

/// The same sources: handles are the engine's own affair.
impl PartialEq for Libraries {
    fn eq(&self, other: &Libraries) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Libraries {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many functions they have.
    pub fn functions(&self) -> usize {
        self.functions.len()
    }

    /// Bytes of memory that they take, about.
    pub fn heap_bytes(&self) -> usize {
        self.bytes
    }

    /// Names and sources.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let all = self.all.values();
        all.map(|library| (&*library.name, &*library.code))
    }

    /// Those whose name matches a glob pattern, in any case.
    pub fn matching(&self, pattern: &[u8]) -> impl Iterator<Item = &Loaded> {
        let all = self.all.values();
        all.filter(move |library| glob::matches(pattern, library.name.as_bytes(), true))
    }

    /// A function by its name, in any case.
    pub fn function(&self, name: &[u8]) -> Option<&Function> {
        let folded = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        let library = self.all.get(&**self.functions.get(&*folded)?)?;
        let found = |f: &&Function| f.name.eq_ignore_ascii_case(&folded);
        library.functions.iter().find(found)
    }

    /// May a library of this name be added?
    pub fn check(&self, name: &str, replace: bool) -> Result<(), Refusal> {
        if !replace && self.all.contains_key(name) {
            let name = name.as_bytes();
            return Err(Refusal::showing("Library '", name, "' already exists"));
        }
        Ok(())
    }

    /// Adds a library with what it has registered. One of its name, and functions of theirs in others, are in
    /// its way; the former not if it is to be replaced. What is not added is released.
    pub fn add(
        &mut self,
        library: Library,
        functions: Vec<Function>,
        replace: bool,
    ) -> Result<(), Refusal> {
        let taken = functions
            .iter()
            .find(|function| self.is_taken(function, |owner| owner == &*library.name));
        let refused = self
            .check(&library.name, replace)
            .err()
            .or_else(|| taken.map(function_exists));
        if let Some(refusal) = refused {
            self.released.extend(functions.iter().map(|f| f.handle));
            return Err(refusal);
        }
        self.remove(library.name.as_bytes());
        self.insert(library, functions);
        Ok(())
    }

    /// Is a function of this name there, of a library that stays?
    fn is_taken(&self, function: &Function, goes: impl Fn(&str) -> bool) -> bool {
        let owner = self.functions.get(&*function.name.to_ascii_lowercase());
        owner.is_some_and(|owner| !goes(owner))
    }

    fn insert(&mut self, library: Library, functions: Vec<Function>) {
        for function in &functions {
            let folded = function.name.to_ascii_lowercase().into();
            self.functions.insert(folded, library.name.clone());
        }
        let loaded = Loaded {
            name: library.name.clone(),
            code: library.code,
            functions,
        };
        self.bytes += loaded.heap_bytes();
        self.all.insert(library.name, loaded);
    }

    /// Adds all of these, or none, which are released then.
    pub fn join(
        &mut self,
        others: Vec<(Library, Vec<Function>)>,
        replace: bool,
    ) -> Result<(), Refusal> {
        if let Err(refusal) = self.may_join(&others, replace) {
            let functions = others.iter().flat_map(|(_, functions)| functions);
            self.released.extend(functions.map(|f| f.handle));
            return Err(refusal);
        }
        for (library, _) in &others {
            self.remove(library.name.as_bytes());
        }
        for (library, functions) in others {
            self.insert(library, functions);
        }
        Ok(())
    }

    fn may_join(&self, others: &[(Library, Vec<Function>)], replace: bool) -> Result<(), Refusal> {
        // Before anybody else they may be in each other's way.
        let mut names = HashSet::new();
        let mut functions = others.iter().flat_map(|(_, functions)| functions);
        if let Some(twice) = functions.find(|f| !names.insert(f.name.to_ascii_lowercase())) {
            return Err(function_exists(twice));
        }
        if !replace {
            let taken = others
                .iter()
                .find(|(library, _)| self.all.contains_key(&library.name));
            if let Some((library, _)) = taken {
                let name = library.name.as_bytes();
                return Err(Refusal::showing("Library ", name, " already exists"));
            }
        }
        let goes = |owner: &str| others.iter().any(|(library, _)| &*library.name == owner);
        let mut functions = others.iter().flat_map(|(_, functions)| functions);
        match functions.find(|function| self.is_taken(function, goes)) {
            Some(function) => Err(function_exists(function)),
            None => Ok(()),
        }
    }

    /// Removes a library; was it there?
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let name = std::str::from_utf8(name).ok();
        let Some(library) = name.and_then(|name| self.all.remove(name)) else {
            return false;
        };
        self.bytes -= library.heap_bytes();
        for function in &library.functions {
            self.functions.remove(&*function.name.to_ascii_lowercase());
            self.released.push(function.handle);
        }
        true
    }

    /// Removes all of them, and gives them to whoever frees their memory.
    pub fn clear(&mut self) -> BTreeMap<Box<str>, Loaded> {
        self.functions.clear();
        self.bytes = 0;
        let all = std::mem::take(&mut self.all);
        let functions = all.values().flat_map(|library| &library.functions);
        self.released.extend(functions.map(|f| f.handle));
        all
    }

    /// Writes them as the records of a file, which are the body of a payload, too.
    pub fn save(&self, sink: &mut Sink<'_>) {
        for (_, code) in self.iter() {
            sink.byte(rdb::FUNCTION);
            sink.string(code);
        }
    }
}

fn function_exists(function: &Function) -> Refusal {
    Refusal::showing("Function ", function.name.as_bytes(), " already exists")
}

/// Reads a payload's body: sources, each named once.
pub fn read_payload(body: &[u8]) -> Result<Vec<Library>, Refusal> {
    let mut source = Source::new(body);
    let mut libraries: BTreeMap<Box<str>, Library> = BTreeMap::new();
    while !source.is_empty() {
        let opcode = source.byte().unwrap_or_default();
        if !matches!(opcode, rdb::FUNCTION | rdb::FUNCTION_PRE_GA) {
            return Err(Refusal::new("given type is not a function"));
        }
        let code = read_code(opcode, &mut source)
            .map_err(|_| Refusal::new("Failed loading library payload"))?;
        let library = Library::parse(code)?;
        if libraries.contains_key(&library.name) {
            let name = library.name.as_bytes();
            return Err(Refusal::showing("Library '", name, "' already exists"));
        }
        libraries.insert(library.name.clone(), library);
    }
    Ok(libraries.into_values().collect())
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

    /// A library with functions of these names.
    fn library(code: &str, functions: &[&str], first: u32) -> (Library, Vec<Function>) {
        let function = |(handle, name): (u32, &&str)| Function {
            name: (*name).into(),
            description: None,
            flags: 0,
            handle,
        };
        let library = Library::parse(code.as_bytes().to_vec()).unwrap();
        (library, (first..).zip(functions).map(function).collect())
    }

    fn names(all: &Libraries) -> Vec<&str> {
        all.iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn libraries_are_added_joined_and_found_by_name() {
        let mut all = Libraries::default();
        let mut add = |code, functions: &[&str], first, replace| {
            let (library, functions) = library(code, functions, first);
            let refused = all.add(library, functions, replace).err();
            let names = names(&all).join(" ");
            (
                names,
                refused.map(|Refusal(text)| String::from_utf8(text).unwrap()),
            )
        };
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(
            add("#!lua name=b\n1", &["f", "g"], 0, false),
            ("b".into(), None)
        );
        assert_eq!(
            add("#!lua name=B\n2", &["h"], 2, false),
            ("B b".into(), None)
        );
        let refused = told("Library 'b' already exists");
        assert_eq!(
            add("#!lua name=b\n3", &["i"], 3, false),
            ("B b".into(), refused)
        );
        let refused = told("Function F already exists");
        assert_eq!(
            add("#!lua name=c\n", &["j", "F"], 4, true),
            ("B b".into(), refused)
        );
        // Its own functions are in no way.
        assert_eq!(
            add("#!lua name=b\n4", &["g", "k"], 6, true),
            ("B b".into(), None)
        );
        all.released.sort_unstable();
        assert_eq!(all.released, [0, 1, 3, 4, 5]);
        assert_eq!((all.len(), all.functions()), (2, 3));
        assert_eq!(all.function(b"G").map(|f| f.handle), Some(6));
        assert!(all.function(b"f").is_none() && all.function(b"\xff").is_none());

        let mut join = |others: Vec<_>, replace| {
            let refused = all.join(others, replace).err();
            let names = names(&all).join(" ");
            (
                names,
                refused.map(|Refusal(text)| String::from_utf8(text).unwrap()),
            )
        };
        let z = || library("#!lua name=z\n", &["z"], 10);
        let b = || library("#!lua name=b\n5", &["h"], 11);
        let refused = told("Library b already exists");
        assert_eq!(join(vec![z(), b()], false), ("B b".into(), refused));
        let refused = told("Function h already exists");
        assert_eq!(join(vec![z(), b()], true), ("B b".into(), refused));
        // Neither may two that come together have a function of one name: what is saved has to load again.
        let twice = || vec![z(), library("#!lua name=b\n5", &["Z"], 11)];
        let refused = told("Function Z already exists");
        assert_eq!(join(twice(), true), ("B b".into(), refused.clone()));
        assert_eq!(join(twice(), false), ("B b".into(), refused));
        let b = library("#!lua name=b\n6", &["K"], 12);
        assert_eq!(join(vec![z(), b], true), ("B b z".into(), None));
        assert!(!all.remove(b"nope") && !all.remove(b"\xff") && all.remove(b"z"));
        let matching: Vec<_> = all.matching(b"[b]*").map(|l| &*l.name).collect();
        assert_eq!(matching, ["B", "b"], "in any case");
        assert_eq!((all.clear().len(), all.functions(), all.len()), (2, 0, 0));
    }

    #[test]
    fn what_was_saved_is_read_again() {
        let mut all = Libraries::default();
        for code in ["#!lua name=b\nfunctions", "#!lua name=a\n"] {
            let (library, functions) = library(code, &[], 0);
            all.add(library, functions, false).unwrap();
        }
        let read = |body: &[u8]| read_payload(body);
        for compress in [false, true] {
            let mut sink = Sink::to_memory(compress);
            all.save(&mut sink);
            let body = sink.into_vec();
            let libraries = read(&body).unwrap();
            let codes: Vec<_> = libraries.iter().map(|l| (l.name(), l.code())).collect();
            assert_eq!(codes, all.iter().collect::<Vec<_>>());
            for at in 0..body.len() {
                let _ = read(&body[..at]);
            }
            let refused = |body: &[u8]| read(body).unwrap_err().0;
            let twice = [&body[..], &body].concat();
            assert_eq!(refused(&twice), b"Library 'a' already exists");
            let key = [&body[..], b"\0\x01k\x01v"].concat();
            assert_eq!(refused(&key), b"given type is not a function");
            assert_eq!(refused(b"\xf5\x05a"), b"Failed loading library payload");
            assert_eq!(refused(b"\xf5\x03abc"), b"Missing library metadata");
        }
        assert_eq!(read(b""), Ok(Vec::new()));
        // As 7.0.15 takes them, without and with a description.
        let old = b"\xf6\x01b\x03lua\0\x09functions\xf6\x01a\x03lua\x01\x04desc\0";
        let libraries = read(old).unwrap();
        let codes: Vec<_> = libraries.iter().map(|l| (l.name(), l.code())).collect();
        assert_eq!(codes, all.iter().collect::<Vec<_>>());
    }
}
