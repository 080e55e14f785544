//! ACL: what can be said while the default user is the only one. Commands that make or change users
//! are not here yet, and answer as unknown subcommands.
use crate::base::num::parse_i64;
use crate::base::rng::os_bytes;
use crate::exec::command::{
    CmdResult, Command, NO_KEYS, Outcome, acl as category, cmd, container, flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, subcommand_syntax};
use crate::exec::registry::Family;
use flag::{ADMIN, LOADING, NOSCRIPT, STALE};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

const OPEN: u32 = NOSCRIPT | LOADING | STALE;

const SUBS: &[Command] = &[
    cmd("cat", -2, OPEN, category::NONE, NO_KEYS, cat),
    cmd("genpass", -2, OPEN, category::NONE, NO_KEYS, genpass),
    cmd("getuser", 3, OPEN | ADMIN, category::NONE, NO_KEYS, getuser),
    cmd("help", 2, LOADING | STALE, category::NONE, NO_KEYS, help),
    cmd("list", 2, OPEN | ADMIN, category::NONE, NO_KEYS, list),
    cmd("users", 2, OPEN | ADMIN, category::NONE, NO_KEYS, users),
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

/// The category of this name, in any case.
pub(super) fn find_category(name: &[u8]) -> Option<u32> {
    let known = category::NAMES
        .iter()
        .find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name))?;
    Some(known.0)
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
            let Some(wanted) = find_category(name) else {
                return Err(CmdError::showing("ERR Unknown category '", name, "'"));
            };
            let table = ctx.table;
            let found = || table.rows().iter().filter(|row| row.acl & wanted != 0);
            ctx.out.array(found().count());
            for row in found() {
                ctx.out.bulk(table.name(row.id).as_bytes());
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

/// The digest under which the default user's password is shown; none without a password.
fn password_digest(ctx: &Ctx<'_>) -> Option<String> {
    let password = ctx.state.config.requirepass.as_ref()?;
    Some(hex(&Sha256::digest(password)))
}

fn getuser(ctx: &mut Ctx<'_>) -> CmdResult {
    if ctx.arg(2) != b"default" {
        ctx.out.null();
        return Ok(Outcome::Done);
    }
    let digest = password_digest(ctx);
    let out = &mut *ctx.out;
    out.map(6);
    out.bulk(b"flags");
    let flags: &[&str] = if digest.is_some() {
        &["on"]
    } else {
        &["on", "nopass"]
    };
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"passwords");
    out.array(usize::from(digest.is_some()));
    if let Some(digest) = digest {
        out.bulk(digest.as_bytes());
    }
    for (field, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        out.bulk(field.as_bytes());
        out.bulk(value.as_bytes());
    }
    out.bulk(b"selectors");
    out.empty_array();
    Ok(Outcome::Done)
}

fn list(ctx: &mut Ctx<'_>) -> CmdResult {
    let password = match password_digest(ctx) {
        Some(digest) => format!("#{digest}"),
        None => "nopass".to_string(),
    };
    ctx.out.array(1);
    ctx.out
        .bulk(format!("user default on {password} ~* &* +@all").as_bytes());
    Ok(Outcome::Done)
}

fn users(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.array(1);
    ctx.out.bulk(b"default");
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
        "GENPASS [<bits>]",
        "    Make up a password of 256 bits, or of <bits>, as hexadecimal digits.",
        "GETUSER <username>",
        "    What a user may do.",
        "LIST",
        "    All users with their rules, as a configuration file has them.",
        "USERS",
        "    Names of all users.",
        "WHOAMI",
        "    Name of the user this connection acts as.",
    ])
}
