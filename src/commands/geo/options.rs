//! What the searches are asked for: GEORADIUS and its kin by position, GEOSEARCH by words.

use super::{parse_point, parse_unit, place};
use crate::base::num;
use crate::ds::geohash::{Form, Point, Search};
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX};
use crate::resp::request::Argv;
use crate::types::zset::ZsetRef;

const NO_MEMBER: CmdError = CmdError::new("ERR could not decode requested zset member");
const COUNT_POSITIVE: CmdError = CmdError::new("ERR COUNT must be > 0");
const RADIUS_NUMERIC: CmdError = CmdError::new("ERR need numeric radius");
const RADIUS_NEGATIVE: CmdError = CmdError::new("ERR radius cannot be negative");
const WIDTH_NUMERIC: CmdError = CmdError::new("ERR need numeric width");
const HEIGHT_NUMERIC: CmdError = CmdError::new("ERR need numeric height");
const BOX_NEGATIVE: CmdError = CmdError::new("ERR height or width cannot be negative");
const ANY_ALONE: CmdError = CmdError::new("ERR the ANY argument requires COUNT argument");

/// Which command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// GEORADIUS: a place and a radius; `stores`: it has STORE and STOREDIST.
    Radius { stores: bool },
    /// GEORADIUSBYMEMBER: a member and a radius.
    RadiusByMember { stores: bool },
    /// GEOSEARCH.
    Search,
    /// GEOSEARCHSTORE.
    SearchStore,
}

impl Shape {
    fn is_search(self) -> bool {
        matches!(self, Shape::Search | Shape::SearchStore)
    }

    fn stores(self) -> bool {
        matches!(
            self,
            Shape::Radius { stores: true } | Shape::RadiusByMember { stores: true }
        )
    }
}

/// In which order places are replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they are found.
    Found,
    NearFirst,
    FarFirst,
}

/// What a reply shows of each place besides its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct With {
    pub distance: bool,
    pub hash: bool,
    pub place: bool,
}

impl With {
    /// How many things that are.
    pub fn count(self) -> usize {
        usize::from(self.distance) + usize::from(self.hash) + usize::from(self.place)
    }
}

/// A search's options.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    pub with: With,
    pub order: Order,
    /// At most so many places; 0: all.
    pub count: u64,
    /// Any places will do, not the nearest.
    pub any: bool,
    /// Where the result goes, if it is stored.
    pub target: Option<&'a [u8]>,
    /// Distances are stored, not hashes.
    pub store_distances: bool,
    /// Absent when there is no such sorted set.
    pub search: Option<Search>,
}

/// What is collected while a request is read, in its order.
struct Reader<'a, 's> {
    argv: Argv<'a>,
    shape: Shape,
    zset: Option<ZsetRef<'s>>,
    options: Options<'a>,
    named: Center,
    /// Not known when a member was named and the sorted set is absent.
    center: Option<Point>,
    form: Option<(Form, f64)>,
}

/// How GEOSEARCH's centre was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Center {
    Missing,
    Member,
    Place,
}

/// Reads a request. Errors come in the order in which Redis looks at things.
pub fn parse<'a>(
    argv: Argv<'a>,
    shape: Shape,
    zset: Option<ZsetRef<'_>>,
) -> Result<Options<'a>, CmdError> {
    let mut reader = Reader {
        argv,
        shape,
        zset,
        options: Options {
            with: With::default(),
            order: Order::Found,
            count: 0,
            any: false,
            target: None,
            store_distances: false,
            search: None,
        },
        named: Center::Missing,
        center: None,
        form: None,
    };
    let from = reader.fixed()?;
    reader.words(from)?;
    reader.finish()
}

impl<'a> Reader<'a, '_> {
    /// The arguments that stand at fixed places; where the words begin.
    fn fixed(&mut self) -> Result<usize, CmdError> {
        let argv = self.argv;
        match self.shape {
            Shape::Radius { .. } => {
                self.center = Some(parse_point(argv.get(2), argv.get(3))?);
                self.radius(4)?;
                Ok(6)
            }
            Shape::RadiusByMember { .. } => {
                // Of an absent sorted set nothing can be said about the member, nor is the radius read.
                if self.zset.is_some() {
                    self.center = Some(self.member(2)?);
                    self.radius(3)?;
                }
                Ok(5)
            }
            Shape::Search => Ok(2),
            Shape::SearchStore => {
                self.options.target = Some(argv.get(1));
                Ok(3)
            }
        }
    }

    fn words(&mut self, from: usize) -> Result<(), CmdError> {
        let (argv, shape) = (self.argv, self.shape);
        let mut at = from;
        while at < argv.len() {
            let is = |word: &str| argv.get(at).eq_ignore_ascii_case(word.as_bytes());
            let left = argv.len() - at - 1;
            at += 1 + if is("withdist") {
                self.options.with.distance = true;
                0
            } else if is("withhash") {
                self.options.with.hash = true;
                0
            } else if is("withcoord") {
                self.options.with.place = true;
                0
            } else if is("any") {
                self.options.any = true;
                0
            } else if is("asc") {
                self.options.order = Order::NearFirst;
                0
            } else if is("desc") {
                self.options.order = Order::FarFirst;
                0
            } else if is("count") && left >= 1 {
                let count = num::parse_i64(argv.get(at + 1)).ok_or(NOT_INTEGER)?;
                self.options.count = u64::try_from(count).unwrap_or(0);
                if self.options.count == 0 {
                    return Err(COUNT_POSITIVE);
                }
                1
            } else if shape.stores() && left >= 1 && (is("store") || is("storedist")) {
                self.options.target = Some(argv.get(at + 1));
                self.options.store_distances = is("storedist");
                1
            } else if shape == Shape::SearchStore && is("storedist") {
                self.options.store_distances = true;
                0
            } else if shape.is_search() {
                self.search_word(at)?
            } else {
                return Err(SYNTAX);
            };
        }
        Ok(())
    }

    /// A word that says where GEOSEARCH searches; how many arguments belong to it. A word may come again, a
    /// word of the other kind not.
    fn search_word(&mut self, at: usize) -> Result<usize, CmdError> {
        let argv = self.argv;
        let is = |word: &str| argv.get(at).eq_ignore_ascii_case(word.as_bytes());
        let left = argv.len() - at - 1;
        let is_box = matches!(self.form, Some((Form::Box { .. }, _)));
        let is_circle = matches!(self.form, Some((Form::Circle { .. }, _)));
        if is("frommember") && left >= 1 && self.named != Center::Place {
            self.named = Center::Member;
            if self.zset.is_some() {
                self.center = Some(self.member(at + 1)?);
            }
            Ok(1)
        } else if is("fromlonlat") && left >= 2 && self.named != Center::Member {
            self.named = Center::Place;
            self.center = Some(parse_point(argv.get(at + 1), argv.get(at + 2))?);
            Ok(2)
        } else if is("byradius") && left >= 2 && !is_box {
            self.radius(at + 1)?;
            Ok(2)
        } else if is("bybox") && left >= 3 && !is_circle {
            self.width_and_height(at + 1)?;
            Ok(3)
        } else {
            Err(SYNTAX)
        }
    }

    fn member(&self, at: usize) -> Result<Point, CmdError> {
        place(self.zset, self.argv.get(at)).ok_or(NO_MEMBER)
    }

    fn radius(&mut self, at: usize) -> Result<(), CmdError> {
        let radius = num::parse_f64(self.argv.get(at)).ok_or(RADIUS_NUMERIC)?;
        if radius < 0.0 {
            return Err(RADIUS_NEGATIVE);
        }
        let unit = parse_unit(self.argv.get(at + 1))?;
        self.form = Some((Form::Circle { radius }, unit));
        Ok(())
    }

    fn width_and_height(&mut self, at: usize) -> Result<(), CmdError> {
        let width = num::parse_f64(self.argv.get(at)).ok_or(WIDTH_NUMERIC)?;
        let height = num::parse_f64(self.argv.get(at + 1)).ok_or(HEIGHT_NUMERIC)?;
        if width < 0.0 || height < 0.0 {
            return Err(BOX_NEGATIVE);
        }
        let unit = parse_unit(self.argv.get(at + 2))?;
        self.form = Some((Form::Box { width, height }, unit));
        Ok(())
    }

    /// What does not fit together, and the search itself.
    fn finish(mut self) -> Result<Options<'a>, CmdError> {
        let (options, shape) = (&mut self.options, self.shape);
        if options.target.is_some() && options.with != With::default() {
            let name = match shape {
                Shape::SearchStore => "GEOSEARCHSTORE",
                _ => "STORE option in GEORADIUS",
            };
            return Err(CmdError::owned(format!(
                "ERR {name} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        if shape.is_search() {
            let missing = |what: &str| {
                let text = format!("ERR exactly one of {what} can be specified for ");
                Err(CmdError::showing(&text, self.argv.get(0), ""))
            };
            if self.named == Center::Missing {
                return missing("FROMMEMBER or FROMLONLAT");
            }
            if self.form.is_none() {
                return missing("BYRADIUS and BYBOX");
            }
        }
        if options.any && options.count == 0 {
            return Err(ANY_ALONE);
        }
        // Without an order, the nearest are meant.
        if options.count > 0 && !options.any && options.order == Order::Found {
            options.order = Order::NearFirst;
        }
        if self.zset.is_some()
            && let (Some(center), Some((form, unit))) = (self.center, self.form)
        {
            options.search = Some(Search::new(center, form, unit));
        }
        Ok(self.options)
    }
}
