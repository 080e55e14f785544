//! DEBUG's ways to die: what a crash report is tested with.
use crate::base::sys;
use crate::exec::command::CmdResult;
use crate::exec::ctx::Ctx;

/// A signal as an invalid access raises it.
pub(super) fn segfault(ctx: &mut Ctx<'_>) -> CmdResult {
    let _ = sys::kill(sys::pid(), libc::SIGSEGV);
    ctx.ok()
}

pub(super) fn panic(_: &mut Ctx<'_>) -> CmdResult {
    panic!("called by Unit Test")
}

pub(super) fn assertion(ctx: &mut Ctx<'_>) -> CmdResult {
    // Never true: a request always has its name.
    assert!(ctx.argc() == 0, "assertion failed: 1 == 2");
    ctx.ok()
}

pub(super) fn out_of_memory(ctx: &mut Ctx<'_>) -> CmdResult {
    let too_much = isize::MAX as usize;
    let mut bytes: Vec<u8> = Vec::new();
    if bytes.try_reserve_exact(too_much).is_err() {
        log::error!("Out Of Memory allocating {too_much} bytes!");
        panic!("Redis aborting for OUT OF MEMORY. Allocating {too_much} bytes!");
    }
    ctx.ok()
}
