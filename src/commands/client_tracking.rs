//! CLIENT TRACKING and what belongs to it: the clients' side of client-side caching.
use crate::base::num::parse_i64;
use crate::exec::command::{CmdResult, Outcome};
use crate::exec::ctx::Ctx;
use crate::exec::error::{CmdError, NOT_INTEGER, SYNTAX};
use crate::state::client::Client;
use crate::state::tracking::Mode;

const ONE_REDIRECTION: CmdError =
    CmdError::new("ERR A client can only redirect to a single other client");
const NO_SUCH_TARGET: CmdError =
    CmdError::new("ERR The client ID you want redirect to does not exist");
const PREFIX_NEEDS_BCAST: CmdError =
    CmdError::new("ERR PREFIX option requires BCAST mode to be enabled");
const OTHER_BCAST: CmdError = CmdError::new(
    "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
     re-enabling it with a different mode.",
);
const OPT_WITH_BCAST: CmdError =
    CmdError::new("ERR OPTIN and OPTOUT are not compatible with BCAST");
const BOTH_OPTS: CmdError = CmdError::new("ERR You can't specify both OPTIN mode and OPTOUT mode");
const OTHER_OPT: CmdError = CmdError::new(
    "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
     re-enabling it with a different mode.",
);
const CACHING_NEEDS_OPT: CmdError = CmdError::new(
    "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
     OPTOUT mode enabled",
);
const YES_NEEDS_OPTIN: CmdError =
    CmdError::new("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
const NO_NEEDS_OPTOUT: CmdError =
    CmdError::new("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");

/// CLIENT TRACKING (ON|OFF) and its options, which are judged for OFF, too.
pub(super) fn tracking(ctx: &mut Ctx<'_>) -> CmdResult {
    let (mode, prefixes) = parse(ctx)?;
    let word = ctx.arg(2);
    if word.eq_ignore_ascii_case(b"off") {
        ctx.state.untrack(ctx.me);
        return ctx.ok();
    }
    if !word.eq_ignore_ascii_case(b"on") {
        return Err(SYNTAX);
    }
    check(&mode, &prefixes, ctx.client().tracking.as_deref())?;
    let prefixes = prefixes.into_iter().map(Box::from).collect();
    ctx.state.track(ctx.me, Mode { prefixes, ..mode });
    ctx.ok()
}

/// Reads the options; the prefixes apart.
fn parse<'a>(ctx: &mut Ctx<'a>) -> Result<(Mode, Vec<&'a [u8]>), CmdError> {
    let (mut mode, mut prefixes) = (Mode::default(), Vec::new());
    let argv = ctx.argv;
    let mut i = 3;
    while i < argv.len() {
        let more = i + 1 < argv.len();
        match argv.get(i).to_ascii_lowercase().as_slice() {
            b"redirect" if more => {
                if mode.redirect.is_some() {
                    return Err(ONE_REDIRECTION);
                }
                i += 1;
                let serial = parse_i64(argv.get(i)).ok_or(NOT_INTEGER)?;
                let serial = u64::try_from(serial).map_err(|_| NO_SUCH_TARGET)?;
                // What a client is told are names of its group's keys.
                let group = ctx.client().group;
                let target = ctx.state.clients.by_serial(serial);
                let target = target.filter(|target| target.group == group);
                mode.redirect = Some(target.ok_or(NO_SUCH_TARGET)?.id);
            }
            b"bcast" => mode.broadcast = true,
            b"optin" => mode.opt_in = true,
            b"optout" => mode.opt_out = true,
            b"noloop" => mode.no_loop = true,
            b"prefix" if more => {
                i += 1;
                prefixes.push(argv.get(i));
            }
            _ => return Err(SYNTAX),
        }
        i += 1;
    }
    Ok((mode, prefixes))
}

/// May a client that tracks so already, or not at all, track so from now on?
fn check(new: &Mode, prefixes: &[&[u8]], old: Option<&Mode>) -> Result<(), CmdError> {
    if !new.broadcast && !prefixes.is_empty() {
        return Err(PREFIX_NEEDS_BCAST);
    }
    if old.is_some_and(|old| old.broadcast != new.broadcast) {
        return Err(OTHER_BCAST);
    }
    if new.broadcast && (new.opt_in || new.opt_out) {
        return Err(OPT_WITH_BCAST);
    }
    if new.opt_in && new.opt_out {
        return Err(BOTH_OPTS);
    }
    if old.is_some_and(|old| new.opt_in && old.opt_out || new.opt_out && old.opt_in) {
        return Err(OTHER_OPT);
    }
    let existing = old.map_or(&[][..], |old| &old.prefixes);
    for (i, prefix) in prefixes.iter().enumerate() {
        if let Some(other) = existing.iter().find(|other| overlap(other, prefix)) {
            return Err(overlapping(prefix, "an existing", other));
        }
        if let Some(other) = prefixes[i + 1..]
            .iter()
            .find(|other| overlap(other, prefix))
        {
            return Err(overlapping(prefix, "another provided", other));
        }
    }
    Ok(())
}

/// Does one of them begin with the other?
fn overlap(a: &[u8], b: &[u8]) -> bool {
    let both = a.len().min(b.len());
    a[..both] == b[..both]
}

fn overlapping(prefix: &[u8], which: &str, other: &[u8]) -> CmdError {
    let parts: [&[u8]; 7] = [
        b"ERR Prefix '",
        prefix,
        b"' overlaps with ",
        which.as_bytes(),
        b" prefix '",
        other,
        b"'. Prefixes for a single client must not overlap.",
    ];
    CmdError::owned_bytes(parts.concat())
}

/// CLIENT CACHING (YES|NO)
pub(super) fn caching(ctx: &mut Ctx<'_>) -> CmdResult {
    let container = ctx.table.row(ctx.id).parent;
    let word = ctx.arg(2);
    let client = ctx.client();
    let Some(mode) = &client.tracking else {
        return Err(CACHING_NEEDS_OPT);
    };
    match word.to_ascii_lowercase().as_slice() {
        b"yes" if mode.opt_in => {}
        b"yes" => return Err(YES_NEEDS_OPTIN),
        b"no" if mode.opt_out => {}
        b"no" => return Err(NO_NEEDS_OPTOUT),
        _ => return Err(SYNTAX),
    }
    client.give_caching(container);
    ctx.ok()
}

/// Who gets this client's messages: a client's id, 0 for itself, -1 if it does not track.
pub(super) fn redirection(client: &Client) -> i64 {
    match &client.tracking {
        None => -1,
        Some(mode) => mode.redirect.map_or(0, |id| id.serial as i64),
    }
}

/// CLIENT GETREDIR
pub(super) fn getredir(ctx: &mut Ctx<'_>) -> CmdResult {
    let id = redirection(ctx.client());
    ctx.int(id)
}

/// CLIENT TRACKINGINFO
pub(super) fn trackinginfo(ctx: &mut Ctx<'_>) -> CmdResult {
    let client = ctx.state.clients.me(ctx.me);
    let redirect = redirection(client);
    let none = Mode::default();
    let mode = client.tracking.as_deref();
    let (on, mode) = (mode.is_some(), mode.unwrap_or(&none));
    let given = mode.caching.is_some();
    let flags: Vec<&str> = [
        (on, "on"),
        (!on, "off"),
        (mode.broadcast, "bcast"),
        (mode.opt_in, "optin"),
        (mode.opt_in && given, "caching-yes"),
        (mode.opt_out, "optout"),
        (mode.opt_out && given, "caching-no"),
        (mode.no_loop, "noloop"),
        (mode.broken, "broken_redirect"),
    ]
    .into_iter()
    .filter_map(|(holds, name)| holds.then_some(name))
    .collect();
    let out = &mut *ctx.out;
    out.map(3);
    out.bulk(b"flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"redirect");
    out.int(redirect);
    out.bulk(b"prefixes");
    out.array(mode.prefixes.len());
    mode.prefixes.iter().for_each(|prefix| out.bulk(prefix));
    Ok(Outcome::Done)
}
