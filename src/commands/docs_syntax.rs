//! Syntax of a command's arguments, as `docs/*.txt` write it, taken apart for COMMAND DOCS.
//!
//! ```text
//! key value            arguments by name; the type follows from the name, or is said: start=integer
//! EX seconds           an argument behind its token
//! NX                   a token alone; NX@name where it is called otherwise; 'yes' if not upper case
//! <NX|XX>@condition    one of several
//! <field value>@pair   several together; behind a token the name may be left out
//! [..]                 optional
//! ..  ...   &...       several times; several times with its token; {TOKEN name}... as a whole
//! key#1                the key spec it belongs to, where it is not the next one (#-: none)
//! ```

/// An argument, or a group of arguments.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arg<'t> {
    /// A token's name may be in upper case here.
    pub name: &'t str,
    pub kind: Kind,
    pub token: Option<&'t str>,
    pub key_spec: Option<i64>,
    pub optional: bool,
    pub multiple: bool,
    pub multiple_token: bool,
    pub args: Vec<Arg<'t>>,
}

/// Type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl Kind {
    const ALL: &[(&str, Kind)] = &[
        ("string", Kind::String),
        ("integer", Kind::Integer),
        ("double", Kind::Double),
        ("key", Kind::Key),
        ("pattern", Kind::Pattern),
        ("unix-time", Kind::UnixTime),
        ("pure-token", Kind::PureToken),
        ("oneof", Kind::OneOf),
        ("block", Kind::Block),
    ];

    /// As COMMAND DOCS shows it.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    /// What an argument of this name is, unless it says.
    fn of_name(name: &str) -> Kind {
        const INTEGERS: &[&str] = &[
            "seconds",
            "milliseconds",
            "count",
            "numkeys",
            "offset",
            "len",
            "bit",
            "port",
            "db",
            "slot",
            "cursor",
            "index",
            "version",
            "protover",
            "decrement",
            "increment",
            "ttl",
            "frequency",
            "timeout",
            "limit",
            "rank",
            "num-matches",
            "numreplicas",
            "numlocal",
            "destination-db",
            "client-id",
            "start-slot",
            "end-slot",
            "weight",
            "index1",
            "index2",
        ];
        const KEYS: &[&str] = &[
            "key",
            "source",
            "destination",
            "newkey",
            "destkey",
            "key1",
            "key2",
            "sourcekey",
            "src",
            "dst",
        ];
        const DOUBLES: &[&str] = &[
            "longitude",
            "latitude",
            "radius",
            "width",
            "height",
            "score",
        ];
        match name {
            name if INTEGERS.contains(&name) => Kind::Integer,
            name if KEYS.contains(&name) => Kind::Key,
            name if DOUBLES.contains(&name) => Kind::Double,
            name if name.starts_with("unix-time") => Kind::UnixTime,
            "pattern" => Kind::Pattern,
            _ => Kind::String,
        }
    }
}

/// Takes a syntax apart; none if it is not well-formed, which a test rules out.
pub fn parse(text: &str) -> Option<Vec<Arg<'_>>> {
    let mut parser = Parser {
        text,
        at: 0,
        next_key: 0,
    };
    let mut args = Vec::new();
    while parser.at < text.len() {
        args.push(parser.arg()?);
        if parser.at < text.len() {
            parser.expect(' ')?;
        }
    }
    Some(args)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    /// Key spec of the next key.
    next_key: i64,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len();
        }
        found
    }

    fn expect(&mut self, c: char) -> Option<()> {
        (self.peek()? == c).then(|| self.at += c.len_utf8())
    }

    /// The longest run of characters that belong to a word.
    fn word(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let len = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    fn name(&mut self) -> &'t str {
        self.word(|c| c.is_ascii_alphanumeric() || "_:/-".contains(c))
    }

    /// One argument with all that belongs to it.
    fn arg(&mut self) -> Option<Arg<'t>> {
        let (open, close) = match self.peek()? {
            '[' => ('[', ']'),
            '{' => ('{', '}'),
            _ => {
                let mut arg = self.plain()?;
                self.times(&mut arg);
                return Some(arg);
            }
        };
        self.expect(open)?;
        let mut arg = self.arg()?;
        self.expect(close)?;
        arg.optional |= open == '[';
        self.times(&mut arg);
        Some(arg)
    }

    fn times(&mut self, arg: &mut Arg<'t>) {
        if self.take("&...") {
            (arg.multiple, arg.multiple_token) = (true, true);
        } else if self.take("...") {
            arg.multiple = true;
        }
    }

    fn plain(&mut self) -> Option<Arg<'t>> {
        match self.peek()? {
            '<' => self.group(),
            c if c.is_ascii_lowercase() => Some(self.named()),
            _ => self.token(),
        }
    }

    /// A token, alone or before its argument.
    fn token(&mut self) -> Option<Arg<'t>> {
        let token = if self.take("'") {
            let token = self.word(|c| c != '\'');
            self.expect('\'')?;
            token
        } else {
            self.word(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || "_-+=~*$#.".contains(c))
        };
        let mut pure = Arg {
            name: token,
            kind: Kind::PureToken,
            token: Some(token),
            ..Arg::default()
        };
        if self.take("@") {
            pure.name = self.name();
            return Some(pure);
        }
        let behind = self.rest().strip_prefix(' ').and_then(|r| r.chars().next());
        if !behind.is_some_and(|c| c.is_ascii_lowercase() || c == '<' || c == '{') {
            return (!token.is_empty()).then_some(pure);
        }
        self.expect(' ')?;
        let mut arg = self.plain()?;
        arg.token = Some(token);
        if arg.name.is_empty() {
            arg.name = token;
        }
        Some(arg)
    }

    fn named(&mut self) -> Arg<'t> {
        let name = self.name();
        let mut spec = None;
        if self.take("#") {
            spec = Some(self.word(|c| c.is_ascii_digit() || c == '-'));
        }
        let mut kind = Kind::of_name(name);
        if self.take("=") {
            let known = self.name();
            kind = Kind::ALL
                .iter()
                .find(|(name, _)| *name == known)
                .map_or(Kind::String, |(_, kind)| *kind);
        }
        let key_spec = match spec {
            Some(spec) => spec.parse().ok(),
            None => (kind == Kind::Key).then_some(self.next_key),
        };
        if kind == Kind::Key
            && let Some(spec) = key_spec
        {
            self.next_key = spec + 1;
        }
        Arg {
            name,
            kind,
            key_spec,
            ..Arg::default()
        }
    }

    /// `<a|b>` or `<a b>`, with its name.
    fn group(&mut self) -> Option<Arg<'t>> {
        self.expect('<')?;
        let mut args = Vec::new();
        let mut between = None;
        loop {
            args.push(self.arg()?);
            match self.peek()? {
                c @ ('|' | ' ') if between.is_none_or(|b| b == c) => {
                    between = Some(c);
                    self.expect(c)?;
                    // A group of one says by its end what it is.
                    if self.take(">") {
                        break;
                    }
                }
                '>' => {
                    self.expect('>')?;
                    break;
                }
                _ => return None,
            }
        }
        let name = if self.take("@") { self.name() } else { "" };
        Some(Arg {
            name,
            kind: if between == Some('|') {
                Kind::OneOf
            } else {
                Kind::Block
            },
            args,
            ..Arg::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Arguments in a form that fits on a line.
    fn shown(args: &[Arg<'_>]) -> String {
        let one = |arg: &Arg<'_>| {
            let token = arg.token.map_or(String::new(), |t| format!("{t}:"));
            let key = arg.key_spec.map_or(String::new(), |k| format!("#{k}"));
            let args = if arg.args.is_empty() {
                String::new()
            } else {
                format!("({})", shown(&arg.args))
            };
            let mut flags = String::new();
            for (set, mark) in [
                (arg.optional, '?'),
                (arg.multiple, '+'),
                (arg.multiple_token, '&'),
            ] {
                flags.extend(set.then_some(mark));
            }
            format!("{token}{} {}{key}{args}{flags}", arg.name, arg.kind.name())
        };
        args.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn syntax_is_understood() {
        for (syntax, wanted) in [
            ("", ""),
            ("key value", "key key#0, value string"),
            (
                "key1 key2#0 other=key",
                "key1 key#0, key2 key#0, other key#1",
            ),
            ("key#-", "key key"),
            ("[NX]", "NX:NX pure-token?"),
            (
                "[<NX|XX>@condition] [LIMIT <offset count>]",
                "condition oneof(NX:NX pure-token, XX:XX pure-token)?, \
                 LIMIT:LIMIT block(offset integer, count integer)?",
            ),
            ("[GET pattern#1]&...", "GET:pattern pattern#1?+&"),
            (
                "<field value>@pair...",
                "pair block(field string, value string)+",
            ),
            (
                "STREAMS <key... id...>",
                "STREAMS:STREAMS block(key key#0+, id string+)",
            ),
            (
                "<NO ONE>@no-one",
                "no-one block(NO:NO pure-token, ONE:ONE pure-token)",
            ),
            ("ID <client-id... >", "ID:ID block(client-id integer+)"),
            (
                "<*@auto_id|id>@id",
                "id oneof(*:auto_id pure-token, id string)",
            ),
            ("<key|''@empty>@x", "x oneof(key key#0, :empty pure-token)"),
            (
                "['yes'] {GET name}...",
                "yes:yes pure-token?, GET:name string+",
            ),
        ] {
            let args = parse(syntax).unwrap_or_else(|| panic!("not understood: {syntax}"));
            assert_eq!(shown(&args), wanted, "{syntax}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for syntax in ["[key", "<a|b c>", "key]", "<", "<>", "[]", "'a"] {
            assert_eq!(parse(syntax), None, "{syntax}");
        }
    }
}
