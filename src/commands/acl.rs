//! ACL: users and what they may do. What makes, changes and shows users is in `users`.
pub mod users;

use super::{acl_log, lockouts};
use crate::base::num::parse_i64;
use crate::base::rng::os_bytes;
use crate::exec::command::{
    CmdResult, Command, NO_KEYS, Outcome, acl as category, cmd, container, flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, subcommand_syntax};
use crate::exec::registry::Family;
use flag::{LOADING, NOSCRIPT, STALE};
use std::fmt::Write as _;

const OPEN: u32 = NOSCRIPT | LOADING | STALE;

const SUBS: &[Command] = &[
    cmd("cat", -2, OPEN, category::NONE, NO_KEYS, cat),
    users::DELUSER,
    acl_log::DRYRUN,
    cmd("genpass", -2, OPEN, category::NONE, NO_KEYS, genpass),
    users::GETUSER,
    cmd("help", 2, LOADING | STALE, category::NONE, NO_KEYS, help),
    users::LIST,
    users::LOAD,
    lockouts::LOCKOUTS,
    acl_log::LOG,
    users::SAVE,
    users::SETUSER,
    lockouts::UNLOCK,
    users::USERS,
    cmd("whoami", 2, OPEN, category::NONE, NO_KEYS, whoami),
];

/// Users.
pub static FAMILY: Family = Family {
    group: "server",
    acl: category::NONE,
    commands: &[container("acl", -2, 0, category::NONE, SUBS)],
};

const GENPASS_BITS_MAX: i64 = 4096;
const GENPASS_RANGE: CmdError = CmdError::new(
    "ERR ACL GENPASS argument must be the number of bits for the output password, a positive \
     number up to 4096",
);

const NO_RANDOM: CmdError = CmdError::new("ERR the system gives no random bytes");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn cat(ctx: &mut Ctx<'_>) -> CmdResult {
    match ctx.argc() {
        2 => {
            ctx.out.array(category::NAMES.len());
            for (_, name) in category::NAMES {
                ctx.out.bulk(name.as_bytes());
            }
        }
        3 => {
            let name = ctx.arg(2);
            let Some(wanted) = category::find(name) else {
                return Err(CmdError::showing("ERR Unknown category '", name, "'"));
            };
            let table = ctx.table;
            let found = || table.rows().iter().filter(|row| row.acl & wanted != 0);
            ctx.out.array(found().count());
            for row in found() {
                ctx.out.bulk(table.original_name(row.id).as_bytes());
            }
        }
        _ => return Err(subcommand_syntax(ctx.arg(1), "ACL")),
    }
    Ok(Outcome::Done)
}

fn genpass(ctx: &mut Ctx<'_>) -> CmdResult {
    let bits = match ctx.argc() {
        2 => 256,
        3 => parse_i64(ctx.arg(2)).ok_or(NOT_INTEGER)?,
        _ => return Err(subcommand_syntax(ctx.arg(1), "ACL")),
    };
    if !(1..=GENPASS_BITS_MAX).contains(&bits) {
        return Err(GENPASS_RANGE);
    }
    let digits = (bits as usize).div_ceil(4);
    let mut bytes = [0; GENPASS_BITS_MAX as usize / 8];
    os_bytes(&mut bytes).map_err(|_| NO_RANDOM)?;
    let mut secret = hex(&bytes[..digits.div_ceil(2)]);
    secret.truncate(digits);
    ctx.out.bulk(secret.as_bytes());
    Ok(Outcome::Done)
}

fn whoami(ctx: &mut Ctx<'_>) -> CmdResult {
    let user = ctx.state.user_of(ctx.me);
    ctx.out.bulk(ctx.state.users.get(user).name.as_ref());
    Ok(Outcome::Done)
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "CAT [<category>]",
        "    Names of the categories, or of the commands in one of them.",
        "DELUSER <username> [<username> ...]",
        "    Delete users; their clients are closed.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Tell whether a user would be allowed a request, without running it.",
        "GENPASS [<bits>]",
        "    Make up a password of 256 bits, or of <bits>, as hexadecimal digits.",
        "GETUSER <username>",
        "    What a user may do.",
        "LIST",
        "    All users with their rules, as a configuration file has them.",
        "LOAD",
        "    Read the users from the ACL file again.",
        "LOCKOUTS",
        "    Whose failed logins are counted, and who is locked out.",
        "LOG [<count>|RESET]",
        "    What was refused lately, the last first; or forget it.",
        "SAVE",
        "    Write the users to the ACL file.",
        "SETUSER <username> <rule> [<rule> ...]",
        "    Make a user, or change what one may do.",
        "UNLOCK ALL | [USER <username>] [ADDR <address>]",
        "    Forget failed logins: of all, of a user, at an address.",
        "USERS",
        "    Names of all users.",
        "WHOAMI",
        "    Name of the user this connection acts as.",
    ])
}
