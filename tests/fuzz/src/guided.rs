//! libFuzzer over the target that FUZZ_TARGET names. See scripts/fuzz.sh.
#![no_main]

use std::sync::OnceLock;

use redvault_fuzz::{Target, target};

static TARGET: OnceLock<Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let target = target(&name).unwrap_or_else(|message| {
            eprintln!("{message}");
            std::process::exit(2)
        });
        TARGET.get_or_init(|| target);
    },
    |data: &[u8]| TARGET.get().expect("set by init")(data)
);
