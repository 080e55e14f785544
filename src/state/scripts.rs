//! Scripts and functions as the rest of the server sees them: what runs, what it may still be told, and the
//! memory that the engines take. The engines themselves are `script`'s; here they are boxes.
use std::any::Any;

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
    /// EVAL's engine.
    pub eval: Place,
    /// The engine of functions.
    pub functions: Place,
    pub running: Option<Running>,
    pub host: Option<Box<dyn Host>>,
}

impl Scripts {
    /// `script-memory-limit` has changed.
    pub fn limit(&mut self, bytes: usize) {
        for place in [&mut self.eval, &mut self.functions] {
            if let Some(engine) = place.engine() {
                engine.limit(bytes);
            }
        }
    }

    /// Goes on collecting garbage that no script waits for; true while there is more.
    pub fn tend(&mut self) -> bool {
        [&mut self.eval, &mut self.functions]
            .into_iter()
            .any(|place| place.engine().is_some_and(|engine| engine.tend()))
    }

    /// Memory that the interpreters hold.
    pub fn vm_bytes(&self) -> usize {
        self.eval.figures().vm_bytes + self.functions.figures().vm_bytes
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
