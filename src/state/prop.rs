//! What a unit of execution changed, as commands for the AOF and the replicas.
//!
//! Handlers only say where the log differs from the request (`replace`, `also`, `suppress`); the
//! log itself is written in one place, when the unit ends, by `exec::unit`.
use crate::resp::request::Argv;

/// One command to propagate, with the database it runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropagatedCommand {
    pub db: u32,
    pub argv: Vec<Box<[u8]>>,
}

/// What the running handler chose.
#[derive(Debug, Default)]
enum Choice {
    /// The request as it came, if it changed something.
    #[default]
    Request,
    Instead(Vec<Vec<Box<[u8]>>>),
    Nothing,
}

/// The commands of the running unit.
#[derive(Debug, Default)]
pub struct Propagation {
    /// Does anybody read the log? Without a reader nothing is copied.
    pub on: bool,
    choice: Choice,
    /// Commands of the unit so far.
    pub unit: Vec<PropagatedCommand>,
    /// They have nothing to do with each other (keys that expired): each is logged on its own.
    pub apart: bool,
}

impl Propagation {
    /// This instead of the request.
    pub fn replace(&mut self, argv: &[&[u8]]) {
        if self.on {
            self.choice = Choice::Instead(vec![owned(argv)]);
        }
    }

    /// This too, behind what was chosen by `replace`.
    pub fn also(&mut self, argv: &[&[u8]]) {
        if !self.on {
            return;
        }
        match &mut self.choice {
            Choice::Instead(list) => list.push(owned(argv)),
            choice => *choice = Choice::Instead(vec![owned(argv)]),
        }
    }

    /// Nothing, whatever the request changed.
    pub fn suppress(&mut self) {
        self.choice = Choice::Nothing;
    }

    /// Did the handler choose anything?
    #[inline]
    pub fn touched(&self) -> bool {
        !matches!(self.choice, Choice::Request)
    }

    /// Forgets the handler's choice.
    #[inline]
    pub fn reset_choice(&mut self) {
        self.choice = Choice::Request;
    }

    /// Takes a command that ran into the unit.
    pub fn push(&mut self, db: usize, argv: Argv<'_>, changed: bool) {
        let db = db as u32;
        match std::mem::take(&mut self.choice) {
            Choice::Request if changed => {
                let argv = argv.iter().map(Box::from).collect();
                self.unit.push(PropagatedCommand { db, argv });
            }
            Choice::Instead(list) => {
                self.unit
                    .extend(list.into_iter().map(|argv| PropagatedCommand { db, argv }));
            }
            Choice::Request | Choice::Nothing => {}
        }
    }

    /// Takes a command that no request asked for (an expiry's DEL).
    pub fn push_own(&mut self, db: usize, argv: &[&[u8]]) {
        if self.on {
            self.unit.push(PropagatedCommand {
                db: db as u32,
                argv: owned(argv),
            });
        }
    }
}

fn owned(argv: &[&[u8]]) -> Vec<Box<[u8]>> {
    argv.iter().map(|a| Box::from(*a)).collect()
}

/// The log of what units changed, encoded as requests; AOF and replicas are its readers.
#[derive(Debug, Default)]
pub struct Log {
    /// RESP bytes not yet taken by the readers.
    pub bytes: Vec<u8>,
    selected: Option<u32>,
}

impl Log {
    /// Appends a unit: a SELECT where the database changes, MULTI/EXEC around several commands
    /// unless they stand apart.
    pub fn append(&mut self, unit: &[PropagatedCommand], apart: bool) {
        let wrapped = unit.len() > 1 && !apart;
        if let (true, Some(first)) = (wrapped, unit.first()) {
            // In front of MULTI, as Redis does: readers of its log expect it there.
            self.select(first.db);
            push_request(&mut self.bytes, &[b"MULTI"]);
        }
        for command in unit {
            self.select(command.db);
            let argv: Vec<&[u8]> = command.argv.iter().map(|a| &**a).collect();
            push_request(&mut self.bytes, &argv);
        }
        if wrapped {
            push_request(&mut self.bytes, &[b"EXEC"]);
        }
    }
}

impl Log {
    /// A reader begins here, who does not know which database was selected.
    pub fn reselect(&mut self) {
        self.selected = None;
    }

    fn select(&mut self, db: u32) {
        if self.selected != Some(db) {
            push_request(&mut self.bytes, &[b"SELECT", db.to_string().as_bytes()]);
            self.selected = Some(db);
        }
    }
}

/// Appends a request as a client would send it.
pub fn push_request(out: &mut Vec<u8>, argv: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", argv.len()).as_bytes());
    for arg in argv {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}
