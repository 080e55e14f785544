//! May this user send this request? The one answer for requests, transactions, scripts and ACL DRYRUN.
//!
//! A request is looked at twice at most: [`allows_at_once`] knows the common case, a command that the user's
//! first rules allow with keys at plain places, and costs a few dozen instructions; what it does not allow
//! is asked again of [`check`], which knows everything, and why.
pub mod fuzz;

use super::command::{Channels, Command, KeyAt, UsedDbs, flag};
use super::ctx::{Ctx, Mode};
use super::error::CmdError;
use super::keys;
use super::registry::{Registry, Row};
use crate::base::num::parse_i64;
use crate::resp::request::Argv;
use crate::state::State;
use crate::state::acl_log::{Context, Reason, Refusal};
use crate::state::client::Client;
use crate::state::gate;
use crate::state::groups::GroupId;
use crate::state::users::pattern::Access;
use crate::state::users::selector::{Dbs, Selector};
use crate::state::users::{User, UserId};

/// What a request may not; of several rules that refuse it, the greatest is told, since it came furthest.
/// The numbers are arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// A database: the one that an argument names, or the selected one (0).
    Db(usize),
    Command,
    Key(usize),
    Channel(usize),
}

impl Denied {
    fn reason(self) -> Reason {
        match self {
            Denied::Db(_) => Reason::Database,
            Denied::Command => Reason::Command,
            Denied::Key(_) => Reason::Key,
            Denied::Channel(_) => Reason::Channel,
        }
    }

    /// What a client is told.
    pub fn error(self, name: &str) -> CmdError {
        CmdError::new(match self {
            Denied::Db(_) => "NOPERM No permissions to access database",
            Denied::Command => {
                return CmdError::owned(format!(
                    "NOPERM this user has no permissions to run the '{name}' command"
                ));
            }
            Denied::Key(_) => {
                "NOPERM this user has no permissions to access one of the keys used as arguments"
            }
            Denied::Channel(_) => {
                "NOPERM this user has no permissions to access one of the channels used as arguments"
            }
        })
    }

    /// What EXEC answers for a request that was allowed when it was queued.
    pub fn error_in_exec(self) -> CmdError {
        let reason = match self {
            Denied::Db(_) => "no permission to access the database",
            Denied::Command => "no permission to execute the command or subcommand",
            Denied::Key(_) => "no permission to touch the specified keys",
            Denied::Channel(_) => "no permission to access one of the channels used as arguments",
        };
        CmdError::owned(format!(
            "NOPERM ACLs rules changed between the moment the transaction was accumulated and the \
             EXEC call. This command is no longer allowed for the following reason: {reason}"
        ))
    }

    /// What a script is told.
    pub const fn error_in_script(self) -> CmdError {
        CmdError::new(match self {
            Denied::Db(_) => "ERR The user executing the script can't access the database",
            Denied::Command => {
                "ERR The user executing the script can't run this command or subcommand"
            }
            Denied::Key(_) => {
                "ERR The user executing the script can't access at least one of the keys mentioned \
                 in the command arguments"
            }
            Denied::Channel(_) => {
                "ERR The user executing the script can't publish to the channel mentioned in the \
                 command"
            }
        })
    }

    /// What ACL DRYRUN answers: it names what was refused.
    pub fn told(self, name: &str, argv: Argv<'_>) -> Vec<u8> {
        let (before, what, after): (_, &[u8], _) = match self {
            Denied::Db(at) => ("access database ", argv.get(at), ""),
            Denied::Command => ("run the '", name.as_bytes(), "' command"),
            Denied::Key(at) => ("access the '", argv.get(at), "' key"),
            Denied::Channel(at) => ("access the '", argv.get(at), "' channel"),
        };
        let parts: [&[u8]; 4] = [
            b"This user has no permissions to ",
            before.as_bytes(),
            what,
            after.as_bytes(),
        ];
        parts.concat()
    }
}

/// What a request needs of a key.
fn access(flags: u32) -> Access {
    let (reads, changes) = keys::needs(flags);
    Access::of(reads, changes)
}

/// Is a request of the simplest kind allowed by the user's first rules? `false` says nothing yet.
pub fn allows_at_once(user: &User, row: &Row, argv: Argv<'_>) -> bool {
    let root = user.root();
    let Some(keys) = row.cmd.plain_keys else {
        return false;
    };
    if !root.commands.allows(row.id) || row.cmd.channels != Channels::None {
        return false;
    }
    if root.dbs != Dbs::All {
        return false;
    }
    if keys.first == 0 || root.keys.allows_all() {
        return true;
    }
    let last = match keys.last {
        last @ 0.. => last as usize,
        last => argv.len().wrapping_sub(last.unsigned_abs() as usize),
    };
    let mut at = keys.first as usize;
    if last < at || last >= argv.len() {
        return false;
    }
    let access = access(keys.flags);
    while at <= last {
        if !root.keys.allow(argv.get(at), access) {
            return false;
        }
        at += keys.step as usize;
    }
    true
}

/// A request as rules look at it.
struct Request<'a> {
    row: &'a Row,
    argv: Argv<'a>,
    /// The database selected, as the user's group counts them; none while it is not known (inside MULTI).
    db: Option<u32>,
    /// Its keys: looked for when the first rules need them.
    keys: Option<Vec<KeyAt>>,
}

/// Whether a user may send a request from a database, numbered as its group does.
pub fn check(user: &User, row: &Row, argv: Argv<'_>, db: Option<u32>) -> Result<(), Denied> {
    let mut request = Request {
        row,
        argv,
        db,
        keys: None,
    };
    let mut worst = None;
    for selector in &user.selectors {
        match request.allowed_by(selector) {
            Ok(()) => return Ok(()),
            Err(denied) => worst = worst.max(Some(denied)),
        }
    }
    Err(worst.unwrap_or(Denied::Command))
}

/// May the user read every key there is, by rules that allow this request, too (BY and GET of SORT)?
pub fn may_read_all(user: &User, row: &Row, argv: Argv<'_>, db: Option<u32>) -> bool {
    let mut request = Request {
        row,
        argv,
        db,
        keys: None,
    };
    user.selectors
        .iter()
        .any(|selector| selector.keys.allow_all_reads() && request.allowed_by(selector).is_ok())
}

impl Request<'_> {
    fn allowed_by(&mut self, selector: &Selector) -> Result<(), Denied> {
        self.dbs_allowed(&selector.dbs)?;
        let cmd = self.row.cmd;
        if !cmd.is(flag::NO_AUTH) && !self.command_allowed(selector) {
            return Err(Denied::Command);
        }
        if !selector.keys.allows_all() {
            let (row, argv) = (self.row, self.argv);
            let found = self.keys.get_or_insert_with(|| keys_of(row.cmd, argv));
            for key in found {
                if !selector.allows_key(argv.get(key.at), access(key.flags)) {
                    return Err(Denied::Key(key.at));
                }
            }
        }
        if selector.channels.allows_all() {
            return Ok(());
        }
        let last = match cmd.channels {
            Channels::None => return Ok(()),
            Channels::First => 1,
            Channels::All | Channels::Patterns => self.argv.len() - 1,
        };
        for at in 1..=last.min(self.argv.len() - 1) {
            let name = self.argv.get(at);
            let allowed = match cmd.channels {
                Channels::Patterns => selector.channels.allow_pattern(name),
                _ => selector.channels.allow_channel(name),
            };
            if !allowed {
                return Err(Denied::Channel(at));
            }
        }
        Ok(())
    }

    fn command_allowed(&self, selector: &Selector) -> bool {
        let row = self.row;
        // The first argument of a subcommand stands behind its name.
        let first = if row.parent == row.id { 1 } else { 2 };
        selector.commands.allows(row.id)
            || first < self.argv.len()
                && selector
                    .commands
                    .allows_first_arg(row.id, self.argv.get(first))
    }

    fn dbs_allowed(&self, dbs: &Dbs) -> Result<(), Denied> {
        if *dbs == Dbs::All {
            return Ok(());
        }
        let cmd = self.row.cmd;
        let selected = matches!(cmd.dbs, UsedDbs::Selected) || keys::has_keys(cmd);
        if selected && self.db.is_some_and(|db| !dbs.allows(db)) {
            return Err(Denied::Db(0));
        }
        match cmd.dbs {
            UsedDbs::All => Err(Denied::Db(0)),
            UsedDbs::Named(finder) => {
                let denied = |at: &usize| {
                    let named = (*at < self.argv.len()).then(|| parse_i64(self.argv.get(*at)));
                    // What is no database is not refused here.
                    named
                        .flatten()
                        .and_then(|db| u32::try_from(db).ok())
                        .is_some_and(|db| !dbs.allows(db))
                };
                match finder(self.argv).into_iter().find(denied) {
                    Some(at) => Err(Denied::Db(at)),
                    None => Ok(()),
                }
            }
            UsedDbs::None | UsedDbs::Selected => Ok(()),
        }
    }
}

/// The keys of a request; one with too few arguments, which will not run, has none.
fn keys_of(cmd: &Command, argv: Argv<'_>) -> Vec<KeyAt> {
    if !cmd.takes(argv.len()) || !keys::has_keys(cmd) {
        return Vec::new();
    }
    keys::find(cmd, argv).unwrap_or_default()
}

/// Is this request, which its client's user may not be allowed, refused? Then that is noted.
#[cold]
pub fn refusal(ctx: &mut Ctx<'_>, row: &Row, queueing: bool) -> Option<CmdError> {
    let denied = denied(ctx, row, ctx.argv, !queueing)?;
    let context = match queueing {
        true => Context::Multi,
        false => Context::Toplevel,
    };
    ctx.client().last_command = row.id;
    note(ctx, denied, row, context);
    Some(denied.error(ctx.table.name(row.id)))
}

/// The same for a request that was queued, when its turn comes.
pub fn refusal_in_exec(ctx: &mut Ctx<'_>, row: &Row) -> Option<CmdError> {
    if ctx.client().gate & gate::ACL == 0 {
        return None;
    }
    let denied = denied(ctx, row, ctx.argv, true)?;
    note(ctx, denied, row, Context::Multi);
    Some(denied.error_in_exec())
}

/// The same for a command that a script calls; `ctx` is the script's.
pub fn refusal_in_script(
    ctx: &mut Ctx<'_>,
    row: &Row,
    argv: Argv<'_>,
    db: usize,
) -> Option<CmdError> {
    if ctx.client().gate & gate::ACL == 0 {
        return None;
    }
    let denied = denied_in_script(ctx, row, argv, db)?;
    let client = line_of(ctx);
    note_for(ctx, denied, row, argv, Context::Script, &client);
    Some(denied.error_in_script())
}

/// What a script may not, without a word about it (`redis.acl_check_cmd`).
pub fn denied_in_script(ctx: &mut Ctx<'_>, row: &Row, argv: Argv<'_>, db: usize) -> Option<Denied> {
    let client = ctx.state.clients.me(ctx.me);
    if client.gate & gate::ACL == 0 {
        return None;
    }
    let user = ctx.state.users.get(client.user);
    if allows_at_once(user, row, argv) {
        return None;
    }
    check(user, row, argv, Some(ctx.state.local_db(db) as u32)).err()
}

fn denied(ctx: &mut Ctx<'_>, row: &Row, argv: Argv<'_>, in_db: bool) -> Option<Denied> {
    let id = ctx.client().user;
    let user = ctx.state.users.get(id);
    let db = in_db.then(|| ctx.state.local_db(ctx.db) as u32);
    if allows_at_once(user, row, argv) {
        return None;
    }
    check(user, row, argv, db).err()
}

impl Ctx<'_> {
    /// May the request reach keys that it does not name, for reading?
    pub fn may_read_all_keys(&self) -> bool {
        let Some(client) = self.state.clients.get(self.me) else {
            return false;
        };
        if client.gate & gate::ACL == 0 || self.mode == Mode::Replay {
            return true;
        }
        let user = self.state.users.get(client.user);
        let row = self.table.row(self.id);
        may_read_all(
            user,
            row,
            self.argv,
            Some(self.state.local_db(self.db) as u32),
        )
    }

    /// Notes that nobody could log in under this name.
    pub fn note_failed_login(&mut self, name: &[u8], reason: Reason) {
        let context = match self.client().multi.is_some() || self.mode == Mode::Transaction {
            true => Context::Multi,
            false => Context::Toplevel,
        };
        let client = line_of(self);
        let refusal = Refusal {
            reason,
            context,
            object: self.argv.get(0),
            user: name,
            client: &client,
        };
        self.state.note_refusal(self.me, refusal);
    }
}

/// The client's line, as CLIENT INFO has it.
fn line_of(ctx: &mut Ctx<'_>) -> Vec<u8> {
    let mut line = String::new();
    if let Some(client) = ctx.state.clients.get(ctx.me) {
        let (describe, group) = (ctx.table.describe, client.group);
        describe(
            ctx.state,
            ctx.table,
            client,
            group,
            Some(ctx.argv),
            &mut line,
        );
    }
    line.into_bytes()
}

fn note(ctx: &mut Ctx<'_>, denied: Denied, row: &Row, context: Context) {
    let client = line_of(ctx);
    note_for(ctx, denied, row, ctx.argv, context, &client);
}

fn note_for(
    ctx: &mut Ctx<'_>,
    denied: Denied,
    row: &Row,
    argv: Argv<'_>,
    context: Context,
    client: &[u8],
) {
    let object = match denied {
        Denied::Command => ctx.table.name(row.id).as_bytes(),
        Denied::Db(at) | Denied::Key(at) | Denied::Channel(at) => argv.get(at),
    };
    let id = ctx.client().user;
    let user: Box<[u8]> = ctx.state.users.get(id).name.clone();
    let refusal = Refusal {
        reason: denied.reason(),
        context,
        object,
        user: &user,
        client,
    };
    ctx.state.note_refusal(ctx.me, refusal);
}

/// Writes a client's line for the log: where a server has none, nothing is written.
pub fn no_line(
    _: &State,
    _: &Registry,
    _: &Client,
    _: GroupId,
    _: Option<Argv<'_>>,
    _: &mut String,
) {
}

/// The user on whose behalf a request is tried out (ACL DRYRUN), in a client's database.
pub fn dry_run(ctx: &Ctx<'_>, user: UserId, row: &Row, argv: Argv<'_>) -> Result<(), Denied> {
    let db = ctx.state.local_db(ctx.db) as u32;
    let user = ctx.state.users.get(user);
    check(user, row, argv, Some(db))?;
    // What concerns the whole server no rule allows to a user of a group.
    match !user.is_operator() && row.cmd.is(flag::SERVER_WIDE) {
        true => Err(Denied::Command),
        false => Ok(()),
    }
}
