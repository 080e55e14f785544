//! EVAL and SCRIPT: scripts by their text or its digest.
//!
//! A script is compiled once and kept until SCRIPT FLUSH, or, if only EVAL brought it, until many others were
//! used since (as in Redis 7.4). EVAL finds it by its text, by a glance at a small table and one comparison: the
//! digest is made only for a text that is not there.
use super::engine::{self, Kept, NESTED};
use super::perform::{Terms, check_read_only, command_flags, script_flag};
use super::shebang;
use super::vm::{Function, Job, NO_MEMORY, Vm, digest, hex};
use crate::base::num::parse_i64;
use crate::exec::admit::show_monitors;
use crate::exec::command::{CmdResult, Command, KeySpec, NO_KEYS, Outcome, acl, cmd, container};
use crate::exec::command::{flag, key_flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER};
use crate::exec::quota;
use crate::exec::registry::Family;
use crate::resp::argv::Argv;
use crate::state::State;
use crate::state::gate;
use crate::state::groups::GroupId;
use crate::state::scripts::{End, Engine, Kind, Place, Running, Scripts};
use crate::state::stats::Stats;
use acl::NONE;
use flag::{
    ALLOW_BUSY, LOADING, NO_MANDATORY_KEYS, NOSCRIPT, READONLY, RUNS_SCRIPT, SKIP_MONITOR, STALE,
};
use slab::Slab;
use std::any::Any;
use std::collections::HashMap;
use std::ffi::CStr;

const RUN: u32 = NOSCRIPT | SKIP_MONITOR | NO_MANDATORY_KEYS | STALE | RUNS_SCRIPT;
const RUN_RO: u32 = RUN | READONLY;

const KEYS: &[KeySpec] = &[KeySpec::numkeys(
    key_flag::RW | key_flag::ACCESS | key_flag::UPDATE,
    2,
)];
const KEYS_RO: &[KeySpec] = &[KeySpec::numkeys(key_flag::RO | key_flag::ACCESS, 2)];

const SUBS: &[Command] = &[
    cmd("debug", 3, NOSCRIPT, NONE, NO_KEYS, debug),
    cmd("exists", -3, NOSCRIPT, NONE, NO_KEYS, exists),
    cmd("flush", -2, NOSCRIPT, NONE, NO_KEYS, flush),
    cmd("help", 2, LOADING | STALE, NONE, NO_KEYS, help),
    cmd("kill", 2, NOSCRIPT | ALLOW_BUSY, NONE, NO_KEYS, kill),
    cmd("load", 3, NOSCRIPT | STALE, NONE, NO_KEYS, load),
    cmd("show", 3, NOSCRIPT, NONE, NO_KEYS, show),
];

/// EVAL, SCRIPT.
pub static FAMILY: Family = Family {
    group: "scripting",
    acl: acl::SCRIPTING,
    commands: &[
        cmd("eval", -3, RUN, NONE, KEYS, eval).with_flags(flags_by_text),
        cmd("eval_ro", -3, RUN_RO, NONE, KEYS_RO, eval_ro).with_flags(flags_by_text),
        cmd("evalsha", -3, RUN, NONE, KEYS, evalsha).with_flags(flags_by_digest),
        cmd("evalsha_ro", -3, RUN_RO, NONE, KEYS_RO, evalsha_ro).with_flags(flags_by_digest),
        container("script", -2, 0, NONE, SUBS),
    ],
};

const NO_SCRIPT: CmdError = CmdError::new("NOSCRIPT No matching script. Please use EVAL.");
const NEGATIVE: CmdError = CmdError::new("ERR Number of keys can't be negative");
const TOO_MANY: CmdError = CmdError::new("ERR Number of keys can't be greater than number of args");
const BAD_FLUSH: CmdError = CmdError::new("ERR SCRIPT FLUSH only support SYNC|ASYNC option");

type Digest = [u8; 20];

/// A compiled script.
struct Script {
    digest: Digest,
    body: Box<[u8]>,
    function: Function,
    flags: u32,
    /// When it was used last, as the engine counts; `LOADED`: it stays.
    used: u64,
}

impl Script {
    /// Memory that it takes, about: its text and places.
    fn bytes(&self) -> usize {
        self.body.len() + size_of::<Script>() + 2 * size_of::<(Digest, u32)>()
    }
}

/// Of a script that SCRIPT LOAD has brought: somebody counts on it.
const LOADED: u64 = u64::MAX;

/// So many scripts that only EVAL has brought are kept.
const EVALLED_MAX: usize = 500;

/// Texts that were looked for last have a place here each; a place is some other text's, too.
const GLANCES: usize = 256;

/// EVAL's engine: the interpreter and its scripts.
pub struct EvalEngine {
    vm: Vm,
    scripts: Slab<Script>,
    by_digest: HashMap<Digest, u32>,
    glances: Box<[u32; GLANCES]>,
    bytes: usize,
    /// The scripts that are not `LOADED`.
    evalled: Vec<u32>,
    /// Counts what ran.
    runs: u64,
}

impl Engine for EvalEngine {
    fn vm_bytes(&self) -> usize {
        self.vm.bytes()
    }

    fn known(&self) -> (usize, usize) {
        (self.scripts.len(), self.bytes)
    }

    fn limit(&mut self, bytes: usize) {
        self.vm.set_limit(bytes);
    }

    fn tend(&mut self) -> bool {
        self.vm.tend()
    }
}

/// Where a text's place in `glances` is.
fn glance(body: &[u8]) -> usize {
    let word = |at: usize| -> u64 {
        let bytes = body.get(at..at + 8).and_then(|b| b.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or_default())
    };
    let n = body.len();
    let mixed = word(0) ^ word(n / 2).rotate_left(21) ^ word(n.saturating_sub(8)).rotate_left(42);
    let mixed = (mixed ^ n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as usize % GLANCES
}

impl Kept for EvalEngine {
    const KIND: Kind = Kind::Script;

    fn with(vm: Vm) -> EvalEngine {
        EvalEngine {
            vm,
            scripts: Slab::new(),
            by_digest: HashMap::new(),
            glances: Box::new([0; GLANCES]),
            bytes: 0,
            evalled: Vec::new(),
            runs: 0,
        }
    }

    fn place(scripts: &mut Scripts, group: GroupId) -> &mut Place {
        scripts.eval.of_mut(group)
    }
}

impl EvalEngine {
    /// The script of this text, unless it is new.
    #[inline]
    fn find(&self, body: &[u8]) -> Option<usize> {
        let at = self.glances[glance(body)] as usize;
        self.scripts
            .get(at)
            .is_some_and(|script| *script.body == *body)
            .then_some(at)
    }

    /// A text that is new takes some of what its group has left.
    #[inline]
    fn make_room_for(&self, ctx: &mut Ctx<'_>, body: &[u8]) -> Result<(), CmdError> {
        if ctx.client().gate & gate::QUOTA == 0
            || self.find(body).is_some()
            || self.by_digest.contains_key(&digest(body))
        {
            return Ok(());
        }
        quota::refusal_of_script(ctx, body.len()).map_or(Ok(()), Err)
    }

    /// The same, compiled if it is new.
    #[inline]
    fn find_or_add(&mut self, body: &[u8], stats: &mut Stats) -> Result<usize, CmdError> {
        match self.find(body) {
            Some(at) => Ok(at),
            None => self.add(body, stats),
        }
    }

    #[cold]
    fn add(&mut self, body: &[u8], stats: &mut Stats) -> Result<usize, CmdError> {
        let digest = digest(body);
        let at = match self.by_digest.get(&digest) {
            Some(at) => *at,
            None => self.compile(body, digest, stats)?,
        };
        self.glances[glance(body)] = at;
        Ok(at as usize)
    }

    fn compile(&mut self, body: &[u8], digest: Digest, stats: &mut Stats) -> Result<u32, CmdError> {
        const NAME: &CStr = c"@user_script";
        let (flags, start) = shebang::parse(body)?;
        let code = body.get(start..).unwrap_or_default();
        if self.vm.is_crowded() {
            self.evict_all(stats);
        }
        let mut compiled = self.vm.compile(code, NAME);
        if matches!(&compiled, Err(text) if text == NO_MEMORY) && !self.evalled.is_empty() {
            self.evict_all(stats);
            compiled = self.vm.compile(code, NAME);
        }
        let function = compiled.map_err(|text| {
            CmdError::showing("ERR Error compiling script (new function): ", &text, "")
        })?;
        if self.evalled.len() >= EVALLED_MAX {
            self.evict_oldest(stats);
        }
        self.runs += 1;
        let script = Script {
            digest,
            body: body.into(),
            function,
            flags,
            used: self.runs,
        };
        self.bytes += script.bytes();
        let at = self.scripts.insert(script) as u32;
        self.by_digest.insert(digest, at);
        self.evalled.push(at);
        Ok(at)
    }

    /// A script is used: it is the last of those that may go. (Of what is `LOADED` this changes nothing.)
    #[inline]
    fn touch(&mut self, at: usize) {
        self.runs += 1;
        if let Some(script) = self.scripts.get_mut(at)
            && script.used != LOADED
        {
            script.used = self.runs;
        }
    }

    /// A script is to stay.
    fn keep(&mut self, at: usize) {
        if let Some(script) = self.scripts.get_mut(at) {
            script.used = LOADED;
            self.evalled.retain(|other| *other as usize != at);
        }
    }

    fn evict_oldest(&mut self, stats: &mut Stats) {
        let used = |at: u32| self.scripts.get(at as usize).map(|script| script.used);
        let oldest = (0..self.evalled.len()).min_by_key(|place| used(self.evalled[*place]));
        if let Some(place) = oldest {
            let at = self.evalled.swap_remove(place);
            self.evict(at, stats);
        }
    }

    /// There is no memory: all that may go, goes.
    fn evict_all(&mut self, stats: &mut Stats) {
        while let Some(at) = self.evalled.pop() {
            self.evict(at, stats);
        }
        self.vm.collect();
    }

    fn evict(&mut self, at: u32, stats: &mut Stats) {
        if let Some(script) = self.scripts.try_remove(at as usize) {
            self.by_digest.remove(&script.digest);
            self.bytes -= script.bytes();
            self.vm.release(script.function);
            stats.evicted_scripts += 1;
        }
    }

    fn find_digest(&self, text: &[u8]) -> Option<usize> {
        let at = self.by_digest.get(&parse_digest(text)?)?;
        Some(*at as usize)
    }
}

/// 40 hexadecimal digits.
fn parse_digest(text: &[u8]) -> Option<Digest> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    if text.len() != 40 {
        return None;
    }
    let mut digest = [0; 20];
    for (byte, two) in digest.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(two[0])? << 4 | digit(two[1])?;
    }
    Some(digest)
}

/// A group's engine where it is, if there is one.
fn engine_of(state: &State, group: GroupId) -> Option<&EvalEngine> {
    let engine: &dyn Any = state.scripts.eval.of(group).engine_ref()?;
    engine.downcast_ref()
}

fn flags_by_text(state: &State, group: GroupId, argv: Argv<'_>, own: u32) -> u32 {
    let body = argv.get(1);
    let found = engine_of(state, group).and_then(|e| e.find(body).map(|at| e.scripts[at].flags));
    let flags = match found {
        Some(flags) => flags,
        // What is wrong with it is said when it runs.
        None => shebang::parse(body).map_or(script_flag::UNDECLARED, |(flags, _)| flags),
    };
    command_flags(own, flags)
}

fn flags_by_digest(state: &State, group: GroupId, argv: Argv<'_>, own: u32) -> u32 {
    let found = engine_of(state, group).and_then(|e| {
        let at = e.find_digest(argv.get(1))?;
        Some(e.scripts[at].flags)
    });
    command_flags(own, found.unwrap_or(script_flag::UNDECLARED))
}

fn eval(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, false, By::Text)
}

fn eval_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, true, By::Text)
}

fn evalsha(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, false, By::Digest)
}

fn evalsha_ro(ctx: &mut Ctx<'_>) -> CmdResult {
    run(ctx, true, By::Digest)
}

/// What a script is asked for by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Text,
    Digest,
}

/// Splits what follows a script's name into keys and other arguments; the number of keys is argument 2.
pub fn keys_and_args<'a>(argv: Argv<'a>) -> Result<(Argv<'a>, Argv<'a>), CmdError> {
    let count = parse_i64(argv.get(2)).ok_or(NOT_INTEGER)?;
    let rest = argv.from(3);
    if count > rest.len() as i64 {
        return Err(TOO_MANY);
    }
    let count = usize::try_from(count).map_err(|_| NEGATIVE)?;
    Ok((rest.first(count), rest.from(count)))
}

#[inline]
fn run(ctx: &mut Ctx<'_>, read_only: bool, by: By) -> CmdResult {
    if ctx.is_monitored() {
        // In front of the commands that it runs.
        let row = ctx.table.row(ctx.id);
        show_monitors(ctx.state, ctx.argv, row, ctx.db, ctx.mode, ctx.me);
    }
    if by == By::Digest && ctx.arg(1).len() != 40 {
        return Err(NO_SCRIPT);
    }
    let (keys, args) = keys_and_args(ctx.argv)?;
    let group = ctx.group();
    let mut engine: Box<EvalEngine> = engine::take(ctx.state, group)?;
    let result = run_with(&mut engine, ctx, (keys, args), read_only, by);
    ctx.state.scripts.eval.of_mut(group).put(engine);
    result
}

fn run_with(
    engine: &mut EvalEngine,
    ctx: &mut Ctx<'_>,
    (keys, args): (Argv<'_>, Argv<'_>),
    read_only: bool,
    by: By,
) -> CmdResult {
    let at = match by {
        By::Text => {
            engine.make_room_for(ctx, ctx.arg(1))?;
            engine.find_or_add(ctx.arg(1), &mut ctx.state.stats)?
        }
        By::Digest => engine.find_digest(ctx.arg(1)).ok_or(NO_SCRIPT)?,
    };
    engine.touch(at);
    let Some(script) = engine.scripts.get(at) else {
        return Err(NO_SCRIPT);
    };
    check_read_only(script.flags, read_only)?;
    let mut terms = Terms::new(ctx, script.flags, read_only);
    let name = hex(&script.digest);
    let job = Job {
        function: &script.function,
        keys,
        args,
        kind: Kind::Script,
        name: &name,
    };
    run_job(&mut engine.vm, ctx, &mut terms, &job)
}

/// Runs a script or function as the one that runs: others learn of it, may find it busy and may end it.
pub fn run_job(vm: &mut Vm, ctx: &mut Ctx<'_>, terms: &mut Terms, job: &Job<'_>) -> CmdResult {
    let started = ctx.state.stats.tick;
    ctx.state.scripts.running = Some(Running {
        kind: job.kind,
        group: ctx.group(),
        started,
        ..Running::default()
    });
    let result = vm.run(ctx, terms, job);
    if let Some(running) = ctx.state.scripts.running.take()
        && running.busy
    {
        ctx.state.gate &= !gate::BUSY_SCRIPT;
        if running.end == Some(End::Shutdown) {
            // The server ends in the middle of it: nothing of it is to be found again.
            ctx.state.prop.drop_unit();
        }
    }
    // What it changed was logged command by command.
    ctx.propagate_nothing();
    result
}

fn load(ctx: &mut Ctx<'_>) -> CmdResult {
    let group = ctx.group();
    let mut engine: Box<EvalEngine> = engine::take(ctx.state, group)?;
    let result = engine
        .make_room_for(ctx, ctx.arg(2))
        .and_then(|()| engine.find_or_add(ctx.arg(2), &mut ctx.state.stats));
    if let Ok(at) = result {
        engine.keep(at);
        ctx.out.bulk(&hex(&engine.scripts[at].digest));
    }
    ctx.state.scripts.eval.of_mut(group).put(engine);
    result.map(|_| Outcome::Done)
}

fn exists(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.array(ctx.argc() - 2);
    let group = ctx.group();
    for text in ctx.argv.from(2).iter() {
        let there = engine_of(ctx.state, group).is_some_and(|e| e.find_digest(text).is_some());
        ctx.out.int(i64::from(there));
    }
    Ok(Outcome::Done)
}

fn show(ctx: &mut Ctx<'_>) -> CmdResult {
    let engine = engine_of(ctx.state, ctx.group()).ok_or(NO_SCRIPT)?;
    let at = engine.find_digest(ctx.arg(2)).ok_or(NO_SCRIPT)?;
    ctx.out.bulk(&engine.scripts[at].body);
    Ok(Outcome::Done)
}

fn flush(ctx: &mut Ctx<'_>) -> CmdResult {
    match ctx.argc() {
        2 => {}
        3 if ctx.arg(2).eq_ignore_ascii_case(b"sync") => {}
        3 if ctx.arg(2).eq_ignore_ascii_case(b"async") => {}
        _ => return Err(BAD_FLUSH),
    }
    if ctx.state.scripts.running.is_some() {
        return Err(NESTED);
    }
    // An interpreter is small, and its scripts are few: it goes at once in either way.
    ctx.state.scripts.eval.of_mut(ctx.group()).clear();
    ctx.ok()
}

fn debug(ctx: &mut Ctx<'_>) -> CmdResult {
    let how = ctx.arg(2).to_ascii_lowercase();
    match &how[..] {
        b"no" => ctx.ok(),
        b"yes" | b"sync" => Err(CmdError::new(
            "ERR This server has no debugger for scripts: use redis.log and a server of its own",
        )),
        _ => Err(CmdError::new("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
}

fn kill(ctx: &mut Ctx<'_>) -> CmdResult {
    kill_running(ctx, Kind::Script)
}

/// SCRIPT KILL and FUNCTION KILL.
pub fn kill_running(ctx: &mut Ctx<'_>, kind: Kind) -> CmdResult {
    let busy_error = ctx.state.scripts.busy_error();
    let group = ctx.group();
    let running = ctx.state.scripts.running.as_mut();
    // The operators may end whatever holds the server up; others their own.
    let reaches = |running: &&mut Running| group.is_default() || running.group == group;
    let Some(running) = running.filter(reaches) else {
        return Err(CmdError::new("NOTBUSY No scripts in execution right now."));
    };
    // What a group's own script has half done is the group's affair; that it stops everybody is not.
    let is_tenants = group.is_default() && !running.group.is_default();
    if running.wrote && !is_tenants {
        return Err(CmdError::new(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can \
             either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE \
             command.",
        ));
    }
    if running.kind != kind {
        return Err(CmdError::new(busy_error));
    }
    running.end = Some(End::Killed);
    ctx.ok()
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "DEBUG (YES|SYNC|NO)",
        "    Set the debug mode for subsequent scripts executed.",
        "EXISTS <sha1> [<sha1> ...]",
        "    Return information about the existence of the scripts in the script cache.",
        "FLUSH [ASYNC|SYNC]",
        "    Flush the Lua scripts cache. Very dangerous on replicas.",
        "    When called without the optional mode argument, the behavior is determined by the",
        "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
        "    * ASYNC: Asynchronously flush the scripts cache.",
        "    * SYNC: Synchronously flush the scripts cache.",
        "KILL",
        "    Kill the currently executing Lua script.",
        "LOAD <script>",
        "    Load a script into the scripts cache without executing it.",
        "SHOW <sha1>",
        "    Show a script in the scripts cache.",
    ])
}

#[cfg(test)]
mod tests;
