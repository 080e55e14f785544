//! Places: replies in both protocols, what is stored where, events, and the keys of GEORADIUS.

use crate::harness::Server;

const WRONG: &str = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "(error) ERR syntax error";
const NO_UNIT: &str = "(error) ERR unsupported unit provided. please use M, KM, FT, MI";
const SICILY: &str = "GEOADD s 13.361389 38.115556 Palermo 15.087269 37.502669 Catania";

/// A listpack, and a large sorted set from the first member on.
fn both_encodings(check: impl Fn(&Server)) {
    check(&Server::start());
    check(&Server::with(&["--zset-max-listpack-entries", "0"]));
}

#[test]
fn places_are_added_and_told() {
    both_encodings(|server| {
        server.check(&[
            (SICILY, ":2"),
            (SICILY, ":0"),
            ("TYPE s", "zset"),
            ("ZSCORE s Palermo", "\"3479099956230698\""),
            ("GEODIST s Palermo Catania", "\"166274.1516\""),
            ("GEODIST s Palermo Catania KM", "\"166.2742\""),
            ("GEODIST s Palermo Catania mi", "\"103.3182\""),
            ("GEODIST s Palermo Catania ft", "\"545518.8700\""),
            ("GEODIST s Palermo Palermo", "\"0.0000\""),
            ("GEODIST s Palermo none", "nil"),
            ("GEODIST none a b", "nil"),
            (
                "GEOHASH s Palermo none Catania",
                "[\"sqc8b49rny0\", nil, \"sqdtr74hyu0\"]",
            ),
            ("GEOHASH s", "[]"),
            ("GEOHASH none a b", "[nil, nil]"),
            (
                "GEOPOS s Palermo none",
                "[[\"13.36138933897018433\", \"38.11555639549629859\"], nil]",
            ),
            ("GEOPOS s", "[]"),
            ("GEOPOS none a", "[nil]"),
            ("GEOADD s NX 0 0 Palermo 1 1 new", ":1"),
            ("GEOADD s XX 0 0 Palermo 2 2 none", ":0"),
            ("GEOADD s XX CH 1 1 Palermo 2 2 none", ":1"),
            ("GEOADD s CH 1 1 Palermo 3 3 newer", ":1"),
            ("GEOADD none XX 1 1 a", ":0"),
            ("EXISTS none", ":0"),
        ]);
    });
}

#[test]
fn places_in_resp3_are_doubles_and_distances_are_not() {
    let server = Server::start();
    let mut raw = server.raw();
    raw.ask("HELLO 3");
    raw.ask(SICILY);
    for (request, reply) in [
        (
            "GEOPOS s Palermo none",
            "[[,13.36138933897018433, ,38.11555639549629859], nil]",
        ),
        ("GEODIST s Palermo Catania", "\"166274.1516\""),
        (
            "GEORADIUS s 15 37 100 km WITHCOORD WITHDIST WITHHASH",
            "[[\"Catania\", \"56.4413\", :3479447370796909, \
             [,15.08726745843887329, ,37.50266842333162032]]]",
        ),
    ] {
        assert_eq!(raw.ask(request), reply, "{request}");
    }
}

#[test]
fn searches_find_what_is_near() {
    both_encodings(|server| {
        server.check(&[
            (SICILY, ":2"),
            (
                "GEOADD s 12.758489 38.788135 edge1 17.241510 38.788135 edge2",
                ":2",
            ),
            ("GEORADIUS s 15 37 200 km", "[\"Palermo\", \"Catania\"]"),
            ("GEORADIUS s 15 37 200 km ASC", "[\"Catania\", \"Palermo\"]"),
            (
                "GEORADIUS s 15 37 200 km DESC WITHDIST",
                "[[\"Palermo\", \"190.4424\"], [\"Catania\", \"56.4413\"]]",
            ),
            ("GEORADIUS s 15 37 200 km COUNT 1", "[\"Catania\"]"),
            ("GEORADIUS s 15 37 200 km COUNT 1 ANY", "[\"Palermo\"]"),
            ("GEORADIUS_RO s 15 37 200 km COUNT 1 DESC", "[\"Palermo\"]"),
            ("GEORADIUSBYMEMBER s Palermo 1 m", "[\"Palermo\"]"),
            (
                "GEORADIUSBYMEMBER_RO s Palermo 170 km DESC",
                "[\"Catania\", \"edge1\", \"Palermo\"]",
            ),
            (
                "GEOSEARCH s FROMLONLAT 15 37 BYBOX 400 400 km ASC",
                "[\"Catania\", \"Palermo\", \"edge2\", \"edge1\"]",
            ),
            (
                "GEOSEARCH s BYRADIUS 0 m FROMMEMBER Catania",
                "[\"Catania\"]",
            ),
            ("GEOSEARCH s FROMLONLAT 0 0 BYRADIUS 1 m", "[]"),
            ("GEOSEARCH none FROMMEMBER x BYRADIUS 1 m", "[]"),
            ("GEORADIUSBYMEMBER none x 1 nounit", "[]"),
            (
                "GEORADIUS s 0 0 inf m COUNT 2 DESC",
                "[\"edge2\", \"edge1\"]",
            ),
        ]);
    });
}

#[test]
fn the_antimeridian_is_no_border() {
    both_encodings(|server| {
        server.check(&[
            ("GEOADD p 179.5 36 west -179.5 36 east", ":2"),
            (
                "GEOSEARCH p FROMLONLAT 179 37 BYBOX 400 400 km ASC",
                "[\"west\", \"east\"]",
            ),
            (
                "GEOSEARCH p FROMLONLAT -179 37 BYRADIUS 200 km ASC",
                "[\"east\", \"west\"]",
            ),
            ("GEOADD p 180 85.05112878 corner", ":1"),
            ("GEOPOS p corner", "[[\"180\", \"85.0511287799999991\"]]"),
            ("GEOHASH p corner", "[\"bp05b5048p0\"]"),
        ]);
    });
}

#[test]
fn results_are_stored() {
    both_encodings(|server| {
        server.check(&[
            (SICILY, ":2"),
            ("GEORADIUS s 15 37 200 km STORE d", ":2"),
            ("ZSCORE d Catania", "\"3479447370796909\""),
            ("GEORADIUS s 15 37 200 km COUNT 1 STOREDIST d", ":1"),
            ("GEODIST s Palermo Catania", "\"166274.1516\""),
            ("ZRANGEBYSCORE d 56.441257 56.441258", "[\"Catania\"]"),
            (
                "GEOSEARCHSTORE d s FROMMEMBER Palermo BYBOX 1 1 m STOREDIST",
                ":1",
            ),
            ("ZRANGE d 0 -1 WITHSCORES", "[\"Palermo\", \"0\"]"),
            ("GEOSEARCHSTORE s s FROMMEMBER Palermo BYRADIUS 1 m", ":1"),
            ("ZRANGE s 0 -1", "[\"Palermo\"]"),
            ("SET str x", "OK"),
            ("GEORADIUSBYMEMBER s Palermo 1 m STORE str", ":1"),
            ("TYPE str", "zset"),
            ("EXPIRE d 100", ":1"),
            ("GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 500 km", ":1"),
            ("TTL d", ":-1"),
            ("GEOSEARCHSTORE d s FROMLONLAT 0 0 BYRADIUS 1 m", ":0"),
            ("EXISTS d", ":0"),
            ("GEORADIUS none 0 0 1 m STORE s", ":0"),
            ("EXISTS s", ":0"),
        ]);
    });
}

#[test]
fn wrong_requests_are_refused() {
    Server::start().check(&[
        (SICILY, ":2"),
        ("SET str x", "OK"),
        ("GEOADD str 1 1 a", WRONG),
        ("GEOADD str x 1 a", "(error) ERR value is not a valid float"),
        ("GEOADD s nan 1 a", "(error) ERR value is not a valid float"),
        (
            "GEOADD s 181 1 a",
            "(error) ERR invalid longitude,latitude pair 181.000000,1.000000",
        ),
        (
            "GEOADD s 1 1 a 0 85.06 b",
            "(error) ERR invalid longitude,latitude pair 0.000000,85.060000",
        ),
        ("EXISTS a", ":0"),
        ("GEOADD s NX XX 1 1 a", SYNTAX),
        ("GEOADD s 1 1 a 1 1", SYNTAX),
        ("GEODIST str a b", WRONG),
        ("GEODIST s a b cm", NO_UNIT),
        ("GEODIST s a b m m", SYNTAX),
        ("GEOPOS str a", WRONG),
        ("GEOHASH str a", WRONG),
        ("GEORADIUS str x x x x", WRONG),
        ("GEORADIUS s 15 37 x km", "(error) ERR need numeric radius"),
        (
            "GEORADIUS s 15 37 -1 km",
            "(error) ERR radius cannot be negative",
        ),
        ("GEORADIUS s 15 37 1 x", NO_UNIT),
        ("GEORADIUS s 15 37 1 m COUNT", SYNTAX),
        (
            "GEORADIUS s 15 37 1 m COUNT 0",
            "(error) ERR COUNT must be > 0",
        ),
        (
            "GEORADIUS s 15 37 1 m COUNT x",
            "(error) ERR value is not an integer or out of range",
        ),
        (
            "GEORADIUS s 15 37 1 m ANY",
            "(error) ERR the ANY argument requires COUNT argument",
        ),
        (
            "GEORADIUS s 15 37 1 m STORE d WITHDIST",
            "(error) ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and \
             WITHCOORD options",
        ),
        ("GEORADIUS_RO s 15 37 1 m STORE d", SYNTAX),
        (
            "GEORADIUSBYMEMBER s none 1 m",
            "(error) ERR could not decode requested zset member",
        ),
        (
            "GEOSEARCH s FROMMEMBER Palermo FROMLONLAT 1 1 BYRADIUS 1 m",
            SYNTAX,
        ),
        (
            "GEOSEARCH s FROMMEMBER Palermo BYBOX 1 1 m BYRADIUS 1 m",
            SYNTAX,
        ),
        (
            "GEOSEARCH s BYBOX 1 1 m ASC ASC ASC",
            "(error) ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GEOSEARCH",
        ),
        (
            "geosearch s FROMMEMBER Palermo ASC ASC ASC",
            "(error) ERR exactly one of BYRADIUS and BYBOX can be specified for geosearch",
        ),
        (
            "GEOSEARCH s FROMLONLAT 1 1 BYBOX x 1 m",
            "(error) ERR need numeric width",
        ),
        (
            "GEOSEARCH s FROMLONLAT 1 1 BYBOX 1 x m",
            "(error) ERR need numeric height",
        ),
        (
            "GEOSEARCH s FROMLONLAT 1 1 BYBOX 1 -1 m",
            "(error) ERR height or width cannot be negative",
        ),
        ("GEOSEARCH s FROMLONLAT 1 1 BYRADIUS 1 m STOREDIST", SYNTAX),
        (
            "GEOSEARCHSTORE d s FROMLONLAT 1 1 BYRADIUS 1 m WITHDIST",
            "(error) ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD \
             options",
        ),
        ("ZCARD s", ":2"),
        ("EXISTS d", ":0"),
    ]);
}

#[test]
fn events_tell_what_happened() {
    let server = Server::with(&["--notify-keyspace-events", "Ezgn"]);
    let mut listener = server.raw();
    listener.ask("PSUBSCRIBE __keyevent@0__:*");
    let mut raw = server.raw();
    for (request, key, events) in [
        (SICILY, "s", &["new", "zadd"][..]),
        (SICILY, "s", &[]),
        (
            "GEORADIUS s 15 37 200 km STORE d",
            "d",
            &["new", "georadiusstore"],
        ),
        (
            "GEORADIUSBYMEMBER s Palermo 1 m STOREDIST d",
            "d",
            &["georadiusstore"],
        ),
        (
            "GEOSEARCHSTORE d s FROMLONLAT 15 37 BYRADIUS 200 km",
            "d",
            &["geosearchstore"],
        ),
        (
            "GEOSEARCHSTORE d s FROMLONLAT 0 0 BYRADIUS 1 m",
            "d",
            &["del"],
        ),
        ("GEOSEARCHSTORE d s FROMLONLAT 0 0 BYRADIUS 1 m", "d", &[]),
        ("GEORADIUS none 0 0 1 m STORE s", "s", &["del"]),
        ("GEOADD end 1 1 a", "end", &["new", "zadd"]),
    ] {
        raw.ask(request);
        for event in events {
            let told = listener.reply();
            let channel = format!("\"__keyevent@0__:{event}\", \"{key}\"]");
            assert!(told.ends_with(&channel), "{told} after {request}");
        }
    }
}

#[test]
fn keys_behind_store_are_found() {
    Server::start().check(&[
        ("COMMAND GETKEYS GEORADIUS s 1 1 1 m", "[\"s\"]"),
        (
            "COMMAND GETKEYS GEORADIUS s 1 1 1 m STORE d",
            "[\"s\", \"d\"]",
        ),
        (
            "COMMAND GETKEYS GEORADIUS s 1 1 1 m STORE d STOREDIST e",
            "[\"s\", \"d\", \"e\"]",
        ),
        (
            "COMMAND GETKEYS GEORADIUSBYMEMBER s m 1 m STORE STORE",
            "[\"s\", \"STORE\"]",
        ),
        (
            "COMMAND GETKEYS GEOSEARCHSTORE d s FROMMEMBER a BYRADIUS 1 m",
            "[\"d\", \"s\"]",
        ),
    ]);
}
