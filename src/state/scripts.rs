//! Scripts and functions as the rest of the server sees them: what runs, what it may still be told, and the
//! memory that the engines take. The engines themselves are `script`'s; here they are boxes.
//!
//! Each group has engines of its own: an interpreter tells its scripts how much memory it uses, keeps what
//! they left behind and is emptied by SCRIPT FLUSH, none of which is another group's affair.
use std::any::Any;

use super::groups::GroupId;
use super::per_group::{Divided, PerGroup};
use crate::resp::argv::OwnedArgv;
use crate::state::State;

/// An engine with what it has compiled.
pub trait Engine: Any {
    /// Memory that the interpreter holds.
    fn vm_bytes(&self) -> usize;
    /// How many scripts or functions it knows, and the memory of their texts and places.
    fn known(&self) -> (usize, usize);
    /// The limit of `script-memory-limit`; 0: none.
    fn limit(&mut self, bytes: usize);
    /// Goes on collecting garbage for a short time; true while there is more.
    fn tend(&mut self) -> bool;
}

/// What the server lends while something runs that may take long: whoever runs it calls it now and then, so
/// that clients are answered (with BUSY, mostly).
pub trait Host: Any {
    /// Looks once, without waiting, for what clients sent.
    fn serve(&mut self, state: &mut State);
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    Script,
    Function,
}

/// How a running script was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SCRIPT KILL or FUNCTION KILL.
    Killed,
    /// The server ends: nothing of it counts.
    Shutdown,
}

/// The script or function that runs.
#[derive(Debug, Default)]
pub struct Running {
    pub kind: Kind,
    /// Whose it is.
    pub group: GroupId,
    /// When it began, in ticks.
    pub started: u64,
    /// It ran a command that writes: it can no longer be stopped without leaving half of its work.
    pub wrote: bool,
    /// It has run for longer than `busy-reply-threshold`.
    pub busy: bool,
    pub end: Option<End>,
    /// The function's name and the request that called it; known when it is busy.
    pub name: Vec<u8>,
    pub request: OwnedArgv,
}

/// Memory that one engine takes, when it was last seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub vm_bytes: usize,
    pub known: usize,
    pub known_bytes: usize,
}

/// One engine's place. It is empty before the first script, and while one runs.
#[derive(Default)]
pub struct Place {
    engine: Option<Box<dyn Engine>>,
    seen: Figures,
}

impl Divided for Place {
    fn fresh(&self) -> Place {
        Place::default()
    }
}

impl Place {
    /// Takes the engine out to run something.
    #[inline]
    pub fn take(&mut self) -> Option<Box<dyn Engine>> {
        self.note();
        self.engine.take()
    }

    /// The engine goes, with all that it knows.
    pub fn clear(&mut self) {
        *self = Place::default();
    }

    /// What it takes, for those who ask while it is away.
    pub fn note(&mut self) {
        self.seen = self.figures();
    }

    /// Puts it back.
    #[inline]
    pub fn put(&mut self, engine: Box<dyn Engine>) {
        self.engine = Some(engine);
    }

    /// The engine, unless it is away.
    pub fn engine(&mut self) -> Option<&mut dyn Engine> {
        self.engine.as_deref_mut()
    }

    /// The same to look at.
    pub fn engine_ref(&self) -> Option<&dyn Engine> {
        self.engine.as_deref()
    }

    /// What it takes.
    pub fn figures(&self) -> Figures {
        self.engine.as_deref().map_or(self.seen, figures)
    }
}

fn figures(engine: &dyn Engine) -> Figures {
    let (known, known_bytes) = engine.known();
    Figures {
        vm_bytes: engine.vm_bytes(),
        known,
        known_bytes,
    }
}

/// Everything about scripts.
#[derive(Default)]
pub struct Scripts {
    /// EVAL's engines.
    pub eval: PerGroup<Place>,
    /// The engines of functions.
    pub functions: PerGroup<Place>,
    pub running: Option<Running>,
    pub host: Option<Box<dyn Host>>,
    /// The place whose garbage is looked at first.
    tended: usize,
}

impl Scripts {
    fn places(&mut self) -> impl Iterator<Item = &mut Place> {
        let (eval, functions) = (&mut self.eval, &mut self.functions);
        let places = eval.iter_mut().chain(functions.iter_mut());
        places.map(|(_, place)| place)
    }

    /// `script-memory-limit` has changed.
    pub fn limit(&mut self, bytes: usize) {
        for engine in self.places().filter_map(Place::engine) {
            engine.limit(bytes);
        }
    }

    /// Notes what the engines take, for those who ask while one is away.
    pub fn note(&mut self) {
        self.places().for_each(Place::note);
    }

    /// Goes on collecting garbage that no script waits for; true while there is more.
    pub fn tend(&mut self) -> bool {
        // Each time another one is first: garbage of one does not keep that of the others waiting.
        let first = self.tended;
        let count = self.places().count();
        let mut tend = |skip: usize, take: usize| {
            let places = self.places().enumerate().skip(skip).take(take);
            let mut engines = places.filter_map(|(at, place)| Some((at, place.engine()?)));
            engines.find_map(|(at, engine)| engine.tend().then_some(at))
        };
        let found = tend(first, count).or_else(|| tend(0, first));
        self.tended = found.map_or(0, |at| at + 1);
        found.is_some()
    }

    /// A group goes, and its engines do.
    pub(super) fn forget(&mut self, group: GroupId) {
        self.eval.take(group);
        self.functions.take(group);
    }

    /// What a group's engines take: EVAL's, and that of functions.
    pub fn figures_of(&self, group: GroupId) -> (Figures, Figures) {
        let (eval, functions) = (self.eval.of(group), self.functions.of(group));
        (eval.figures(), functions.figures())
    }

    /// What all engines take that are there or were seen when one was away: EVAL's, and those of functions.
    pub fn figures(&self) -> (Figures, Figures) {
        let sum = |places: &PerGroup<Place>| {
            let each = places.iter().map(|(_, place)| place.figures());
            each.fold(Figures::default(), |all, one| Figures {
                vm_bytes: all.vm_bytes + one.vm_bytes,
                known: all.known + one.known,
                known_bytes: all.known_bytes + one.known_bytes,
            })
        };
        (sum(&self.eval), sum(&self.functions))
    }

    /// Memory that the interpreters hold.
    pub fn vm_bytes(&self) -> usize {
        let (eval, functions) = self.figures();
        eval.vm_bytes + functions.vm_bytes
    }

    /// What others are told while something is busy.
    pub fn busy_error(&self) -> &'static str {
        match &self.running {
            Some(running) if running.kind == Kind::Function => {
                "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
            }
            _ => {
                "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
            }
        }
    }

    /// A script runs that has run for too long.
    pub fn is_busy(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.busy)
    }
}
