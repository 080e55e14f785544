//! What the log gets, which no client sees.

use super::FAMILY;
use crate::commands::string;
use crate::exec::testing::Bench;

#[test]
fn the_log_gets_what_changed_and_nothing_else() {
    let mut bench = Bench::new(&[&FAMILY, &string::FAMILY]);
    assert_eq!(bench.logs("pfadd h a b"), ["SELECT 0", "pfadd h a b"]);
    assert!(bench.logs("pfadd h b a").is_empty());
    // The first count is kept in the value, so it is a change; the second is not.
    assert_eq!(bench.logs("pfcount h"), ["pfcount h"]);
    assert!(bench.logs("pfcount h").is_empty());
    assert!(bench.logs("pfcount h none").is_empty());
    assert_eq!(bench.logs("pfmerge d h none"), ["pfmerge d h none"]);
    assert!(bench.logs("pfdebug encoding d").is_empty());
    assert_eq!(bench.logs("pfdebug todense d"), ["pfdebug todense d"]);
    assert!(bench.logs("pfdebug todense d").is_empty());
    assert_eq!(bench.ask("pfcount d"), ":2");
    assert_eq!(bench.ask("pfselftest"), "+OK");
    bench.ask("set s HYLLx");
    assert!(bench.ask("pfadd s a").starts_with("-WRONGTYPE Key is not"));
    assert!(bench.logs("pfadd s a").is_empty());
}

#[test]
fn what_was_added_before_a_fault_is_logged_as_it_is() {
    let mut bench = Bench::new(&[&FAMILY, &string::FAMILY]);
    bench.ask("pfadd h 337611");
    // From its midst on the runs say nothing: some elements have their place in front of it, others have none.
    bench.ask("setrange h 16 ?");
    let logged = bench.logs("pfadd h 45633 456323");
    assert!(logged[0].starts_with("SET h HYLL") && logged[0].ends_with(" KEEPTTL"));
    assert_eq!(logged.len(), 1);
    assert!(bench.ask("pfadd h 456323").starts_with("-INVALIDOBJ"));
}
