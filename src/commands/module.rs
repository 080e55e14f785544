//! MODULE: there are none, and there can be none.
//!
//! A module of Redis is C code that is linked into the server; this server takes no such code. What
//! asks for a module is refused as a module is that cannot be loaded, and the log says why.
use crate::exec::command::{CmdResult, Command, NO_KEYS, Outcome, acl, cmd, container, flag};
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;
use crate::exec::registry::Family;
use crate::state::config::ProtectedAction;
use flag::{ADMIN, LOADING, NO_ASYNC_LOADING, NOSCRIPT, PROTECTED, SERVER_WIDE, STALE};

const GUARDED: u32 = ADMIN | NO_ASYNC_LOADING | NOSCRIPT | PROTECTED | SERVER_WIDE;

const SUBS: &[Command] = &[
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, help),
    cmd(
        "list",
        2,
        ADMIN | NOSCRIPT | SERVER_WIDE,
        acl::NONE,
        NO_KEYS,
        list,
    ),
    cmd("load", -3, GUARDED, acl::NONE, NO_KEYS, load),
    cmd("loadex", -3, GUARDED, acl::NONE, NO_KEYS, load),
    cmd("unload", 3, GUARDED, acl::NONE, NO_KEYS, unload),
];

/// MODULE.
pub static FAMILY: Family = Family {
    group: "server",
    acl: acl::NONE,
    commands: &[container("module", -2, 0, acl::NONE, SUBS)],
};

/// `enable-module-command`.
fn allowed(ctx: &mut Ctx<'_>) -> Result<(), CmdError> {
    let allowed = match ctx.state.config.enable_module_command {
        ProtectedAction::Yes => true,
        ProtectedAction::Local => ctx.client().peer.is_local(),
        ProtectedAction::No => false,
    };
    if allowed {
        return Ok(());
    }
    Err(CmdError::new(
        "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", \
         you can run it from a local connection, otherwise you need to set this option in the \
         configuration file, and then restart the server.",
    ))
}

fn list(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.out.empty_array();
    Ok(Outcome::Done)
}

fn load(ctx: &mut Ctx<'_>) -> CmdResult {
    allowed(ctx)?;
    let path = String::from_utf8_lossy(ctx.arg(2));
    log::warn!("Module {path} failed to load: modules in C are not supported");
    Err(CmdError::new(
        "ERR Error loading the extension. Please check the server logs.",
    ))
}

fn unload(ctx: &mut Ctx<'_>) -> CmdResult {
    allowed(ctx)?;
    Err(CmdError::new(
        "ERR Error unloading module: no such module with that name",
    ))
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "LIST",
        "    The modules that are loaded: none, this server takes no modules in C.",
        "LOAD <path> [<arg> ...]",
        "    Refused.",
        "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
        "    Refused.",
        "UNLOAD <name>",
        "    Refused: there is none.",
    ])
}
