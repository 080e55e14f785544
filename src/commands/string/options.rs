//! The options of SET, GETEX and MSETEX: conditions, deadlines, and which command takes which.
use crate::base::num::parse_i64;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX, invalid_expire};
use crate::keyspace::Ttl;
use crate::resp::request::Argv;

/// The command whose options are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    Set,
    GetEx,
    MSetEx,
}

/// When SET stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    Always,
    /// NX: the key is not there.
    Absent,
    /// XX: the key is there.
    Present,
    /// IFEQ: the value is this one.
    Equal(&'a [u8]),
    /// IFNE: the value is another one, or the key is not there.
    Differs(&'a [u8]),
}

impl Condition<'_> {
    /// Is it one that servers before Redis 8.4 and Valkey 8.1 do not know?
    pub fn is_recent(self) -> bool {
        matches!(self, Condition::Equal(_) | Condition::Differs(_))
    }
}

/// Unit of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// The deadline that was asked for; the number is not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry<'a> {
    /// Not mentioned: SET clears it.
    Unsaid,
    /// KEEPTTL.
    Keep,
    /// EX, PX.
    In(&'a [u8], Unit),
    /// EXAT, PXAT.
    At(&'a [u8], Unit),
}

impl<'a> Expiry<'a> {
    /// What becomes of the key's deadline; `name` is the command's, for its error.
    pub fn ttl(self, now_ms: i64, name: &'static str) -> Result<Ttl, CmdError> {
        let (number, unit, base) = match self {
            Expiry::Unsaid => return Ok(Ttl::Clear),
            Expiry::Keep => return Ok(Ttl::Keep),
            Expiry::In(number, unit) => (number, unit, now_ms),
            Expiry::At(number, unit) => (number, unit, 0),
        };
        let number = parse_i64(number).ok_or(NOT_INTEGER)?;
        let factor = match unit {
            Unit::Seconds => 1000,
            Unit::Milliseconds => 1,
        };
        let at = (number > 0)
            .then(|| number.checked_mul(factor)?.checked_add(base))
            .flatten();
        Ok(Ttl::At(at.ok_or_else(|| invalid_expire(name))?))
    }

    /// Would it mean something else when it is run again later, or in another unit?
    pub fn is_relative(self) -> bool {
        matches!(self, Expiry::In(..) | Expiry::At(_, Unit::Seconds))
    }

    /// Is it the moment itself?
    pub fn is_at_ms(self) -> bool {
        matches!(self, Expiry::At(_, Unit::Milliseconds))
    }

    /// The option of that name with its argument.
    fn of(name: &[u8], number: &'a [u8]) -> Option<Self> {
        let is = |wanted: &[u8]| name.eq_ignore_ascii_case(wanted);
        Some(match () {
            () if is(b"ex") => Expiry::In(number, Unit::Seconds),
            () if is(b"px") => Expiry::In(number, Unit::Milliseconds),
            () if is(b"exat") => Expiry::At(number, Unit::Seconds),
            () if is(b"pxat") => Expiry::At(number, Unit::Milliseconds),
            () => return None,
        })
    }

    /// Is it the same option, whatever its number?
    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Expiry::In(_, a), Expiry::In(_, b)) | (Expiry::At(_, a), Expiry::At(_, b)) => a == b,
            _ => self == other,
        }
    }
}

/// The options, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options<'a> {
    pub condition: Condition<'a>,
    /// GET: the reply is the old value.
    pub get: bool,
    pub expiry: Expiry<'a>,
    /// PERSIST.
    pub persist: bool,
}

impl<'a> Options<'a> {
    /// Reads options up to the last argument. The same one may come twice; then the last counts.
    pub fn parse(args: Argv<'a>, whose: For) -> Result<Self, CmdError> {
        let mut options = Self {
            condition: Condition::Always,
            get: false,
            expiry: Expiry::Unsaid,
            persist: false,
        };
        let mut i = 0;
        while i < args.len() {
            let word = args.get(i);
            let next = (i + 1 < args.len()).then(|| args.get(i + 1));
            i += options.take(word, next, whose).ok_or(SYNTAX)?;
        }
        Ok(options)
    }

    /// Takes one option; the number of arguments it used.
    fn take(&mut self, word: &'a [u8], next: Option<&'a [u8]>, whose: For) -> Option<usize> {
        use Condition::{Absent, Always, Differs, Equal, Present};
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let conditional = whose != For::GetEx;
        if let Some(number) = next
            && let Some(expiry) = Expiry::of(word, number)
        {
            let fits = self.expiry == Expiry::Unsaid || self.expiry.is_like(expiry);
            self.expiry = expiry;
            return (fits && !self.persist).then_some(2);
        }
        if conditional && is(b"nx") && matches!(self.condition, Always | Absent) {
            self.condition = Absent;
        } else if conditional && is(b"xx") && matches!(self.condition, Always | Present) {
            self.condition = Present;
        } else if conditional
            && is(b"keepttl")
            && matches!(self.expiry, Expiry::Unsaid | Expiry::Keep)
        {
            self.expiry = Expiry::Keep;
        } else if whose == For::GetEx && is(b"persist") && self.expiry == Expiry::Unsaid {
            self.persist = true;
        } else if whose == For::Set && is(b"get") {
            self.get = true;
        } else if whose == For::Set && self.condition == Always && is(b"ifeq") {
            self.condition = Equal(next?);
            return Some(2);
        } else if whose == For::Set && self.condition == Always && is(b"ifne") {
            self.condition = Differs(next?);
            return Some(2);
        } else {
            return None;
        }
        Some(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::request::OwnedArgv;

    fn parsed(line: &str, whose: For) -> Result<String, CmdError> {
        let owned: OwnedArgv = line.split_whitespace().map(str::as_bytes).collect();
        Options::parse(owned.argv(), whose).map(|o| {
            let ttl = o.expiry.ttl(1_000_000, "set");
            let condition = match o.condition {
                Condition::Equal(v) => format!("== {}", v.escape_ascii()),
                Condition::Differs(v) => format!("!= {}", v.escape_ascii()),
                other => format!("{other:?}"),
            };
            let ttl = ttl.map_or_else(
                |e| String::from_utf8_lossy(e.text()).into_owned(),
                |ttl| format!("{ttl:?}"),
            );
            format!("{condition} {ttl} {} {}", o.get, o.persist)
        })
    }

    #[test]
    fn options_may_come_twice_but_not_contradict_each_other() {
        for (line, expected) in [
            ("", "Always Clear false false"),
            ("nx NX", "Absent Clear false false"),
            ("xx get keepttl get KEEPTTL", "Present Keep true false"),
            ("ex 10 EX 20", "Always At(1020000) false false"),
            ("pxat 5 nx", "Absent At(5) false false"),
            ("exat 5", "Always At(5000) false false"),
            ("ifeq get get px 1", "== get At(1000001) true false"),
            ("ifne nx", "!= nx Clear false false"),
        ] {
            assert_eq!(parsed(line, For::Set), Ok(expected.into()), "{line}");
        }
        for line in [
            "nx xx",
            "xx nx",
            "ex",
            "ex 1 px 1",
            "ex 1 exat 1",
            "ex 1 keepttl",
            "keepttl ex 1",
            "persist",
            "ifeq",
            "ifeq a ifeq b",
            "ifeq a nx",
            "nx ifne a",
            "what",
        ] {
            assert_eq!(parsed(line, For::Set), Err(SYNTAX), "{line}");
        }
        for line in [
            "nx",
            "get",
            "keepttl",
            "persist ex 1",
            "ex 1 persist",
            "ifeq a",
        ] {
            assert_eq!(parsed(line, For::GetEx), Err(SYNTAX), "{line}");
        }
        let persist = parsed("persist persist", For::GetEx);
        assert_eq!(persist, Ok("Always Clear false true".into()));
        assert_eq!(parsed("get", For::MSetEx), Err(SYNTAX));
        assert_eq!(parsed("ifeq a", For::MSetEx), Err(SYNTAX));
    }

    #[test]
    fn deadlines_that_do_not_fit_are_refused() {
        let invalid = "Always ERR invalid expire time in 'set' command false false";
        for line in [
            "ex 0",
            "px -1",
            "exat 9223372036854776",
            "px 9223372036854775807",
        ] {
            assert_eq!(parsed(line, For::Set), Ok(invalid.into()), "{line}");
        }
        let last = parsed("pxat 9223372036854775807", For::Set);
        assert_eq!(
            last,
            Ok("Always At(9223372036854775807) false false".into())
        );
    }
}
