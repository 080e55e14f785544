//! What the log gets: what was done, never a wait.
use super::FAMILY;
use crate::exec::testing::Bench;

#[test]
fn what_waits_is_logged_as_what_it_did() {
    let mut bench = Bench::new(&[&FAMILY]);
    assert_eq!(
        bench.logs("RPUSH l a b c d e f g h"),
        ["SELECT 0", "RPUSH l a b c d e f g h"]
    );
    for (request, reply, log) in [
        ("BLPOP none l 0", "*2 $1 l $1 a", "LPOP l"),
        ("BRPOP l none 0", "*2 $1 l $1 h", "RPOP l"),
        (
            "LMPOP 2 none l LEFT COUNT 2",
            "*2 $1 l *2 $1 b $1 c",
            "LPOP l 2",
        ),
        ("BLMPOP 0 1 l RIGHT", "*2 $1 l *1 $1 g", "RPOP l 1"),
        ("BLMOVE l to left RIGHT 0", "$1 d", "LMOVE l to left RIGHT"),
        ("BRPOPLPUSH l to 0", "$1 f", "RPOPLPUSH l to"),
        ("LMOVE l l LEFT RIGHT", "$1 e", "LMOVE l l LEFT RIGHT"),
        // More than there are: what there was.
        (
            "LMPOP 1 to LEFT COUNT 9",
            "*2 $2 to *2 $1 f $1 d",
            "LPOP to 2",
        ),
        ("LPOP l 5", "*1 $1 e", "LPOP l 5"),
        ("LMPOP 1 l LEFT", "*-1", ""),
        ("RPOPLPUSH l to", "$-1", ""),
        ("LPUSHX l x", ":0", ""),
        ("LPOP l", "$-1", ""),
        ("RPUSH l 1 2 3", ":3", "RPUSH l 1 2 3"),
        ("LTRIM l 0 -1", "+OK", ""),
        ("LREM l 0 x", ":0", ""),
        ("LINSERT l BEFORE x y", ":-1", ""),
        ("LPOP l 0", "*0", ""),
        ("LTRIM l 5 1", "+OK", "LTRIM l 5 1"),
    ] {
        bench.logged();
        assert_eq!(bench.ask(request), reply, "the reply to {request}");
        assert_eq!(bench.logged().join(";"), log, "the log of {request}");
    }
}
