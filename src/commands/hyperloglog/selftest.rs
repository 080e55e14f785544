//! PFSELFTEST: registers hold what is put into them, and estimates are as good as promised, on this machine
//! and in this build.
use crate::base::rng::Rng;
use crate::ds::hll::{self, Cursor, Registers};
use crate::exec::command::CmdResult;
use crate::exec::ctx::Ctx;
use crate::exec::error::CmdError;

/// Elements counted in: enough to fill every register, few enough not to hold the server up for long.
const ELEMENTS: u64 = 300_000;

pub(super) fn pfselftest(ctx: &mut Ctx<'_>) -> CmdResult {
    let failed = |what: String| CmdError::owned(format!("TESTFAILED {what}"));
    let seed = ctx.state.rng.next_u64();
    let mut rng = Rng::from_seed(seed);
    let (mut bytes, mut model) = (hll::EMPTY.to_vec(), Registers::new());
    for round in 0..20_000 {
        let (index, value) = (
            rng.below(hll::REGISTERS as u64) as usize,
            1 + rng.below(51) as u8,
        );
        let sparse_max = ctx.state.config.hll_sparse_max_bytes;
        let rises = model.values()[index] < value;
        if hll::raise(&mut bytes, index, value, sparse_max, &mut Cursor::default()) != Ok(rises) {
            return Err(failed(format!(
                "Register {index} in round {round}, seed {seed}"
            )));
        }
        model.raise(index, value);
    }
    let mut registers = Registers::new();
    if registers.merge(&bytes).is_err() || registers != model {
        return Err(failed(format!("Registers differ, seed {seed}")));
    }
    let mut bytes = hll::EMPTY.to_vec();
    let mut checkpoint = 1;
    for n in 1..=ELEMENTS {
        let (index, value) = hll::place(&(seed ^ n).to_le_bytes());
        let raised = hll::raise(&mut bytes, index, value, 3000, &mut Cursor::default());
        if n == checkpoint || raised.is_err() {
            let estimate = hll::estimate(&bytes).unwrap_or(0);
            // A handful too many or too few at first, then five times the standard error.
            let allowed = 5.0 + n as f64 * 0.041;
            if raised.is_err() || estimate.abs_diff(n) as f64 > allowed {
                let what = format!("Estimate {estimate} of {n} elements, seed {seed}");
                return Err(failed(what));
            }
            checkpoint *= 10;
        }
    }
    ctx.ok()
}
