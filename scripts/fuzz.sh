#!/bin/sh
# Fuzzes one target for a number of seconds, or runs stored inputs again.
#
#   scripts/fuzz.sh TARGET SECONDS          (targets: tests/fuzz/src/lib.rs)
#   scripts/fuzz.sh TARGET replay FILE...
#
# With a C++ compiler libFuzzer guides the search by coverage; the flags it needs are known to stable
# Rust. Without one, or with FUZZ=blind, seeds are mutated blindly: SEED=n chooses other inputs, and
# the same number always gives the same ones. Inputs that break a promise are kept in
# target/fuzz/artifacts.
set -eu

usage() {
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
[ $# -ge 2 ] || usage
target=$1 seconds=$2

root=$(cd "$(dirname "$0")/.." && pwd)
seeds=$root/tests/fuzz/seeds/$target
corpus=$root/target/fuzz/corpus/$target
artifacts=$root/target/fuzz/artifacts
triple=$(rustc -vV | sed -n 's/^host: //p')
mkdir -p "$corpus" "$artifacts"
cd "$root/tests/fuzz"

# build PROGRAM ARGUMENTS...: an own directory for each, since the flags differ.
build() {
    program=$1
    shift
    CARGO_TARGET_DIR=$root/target/fuzz/$program \
        cargo build --quiet --release --target "$triple" --bin "$program" "$@"
    program=$root/target/fuzz/$program/$triple/release/$program
}

if [ "$seconds" = replay ]; then
    build blind
    shift 2
    # Files are named from where the caller stands.
    cd "$OLDPWD"
    exec "$program" "$target" replay "$@"
fi
case $seconds in '' | *[!0-9]*) usage ;; esac

if [ "${FUZZ:-}" != blind ] && command -v c++ >/dev/null 2>&1; then
    guide="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
    guide="$guide -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
    guide="$guide -Cllvm-args=-sanitizer-coverage-pc-table"
    guide="$guide -Cllvm-args=-sanitizer-coverage-trace-compares"
    export RUSTFLAGS="${RUSTFLAGS:-} $guide --cfg fuzzing -Ccodegen-units=1"
    build guided --features libfuzzer
    FUZZ_TARGET=$target exec "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -max_len=16384 -print_final_stats=1 -artifact_prefix="$artifacts/$target-" "$corpus" "$seeds"
fi

build blind
exec "$program" "$target" "$seconds" "$seeds" "$artifacts" "${SEED:-1}"
