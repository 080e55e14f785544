//! Searches against a look at every place, and what the log gets.

use super::FAMILY;
use crate::base::rng::Rng;
use crate::commands::zset;
use crate::ds::geohash::{Form, Point, Search};
use crate::exec::testing::Bench;

/// Names and numbers of a reply to GEOSEARCH ASC.
fn names(reply: &str) -> Vec<&str> {
    let mut names: Vec<&str> = reply
        .split(' ')
        .filter(|word| word.starts_with('p'))
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn searches_find_what_a_look_at_every_place_finds() {
    for entries in ["128", "0"] {
        let mut bench = Bench::new(&[&FAMILY, &zset::FAMILY]);
        bench.state.config.zset_max_listpack_entries = entries.parse().expect("a number");
        let mut rng = Rng::from_seed(7);
        // Beyond 70 degrees the cells of Redis leave some places out.
        let mut coordinate = |max: f64| (rng.unit_f64() * 2.0 - 1.0) * max;
        let mut places = Vec::new();
        for number in 0..if entries == "0" { 3000 } else { 100 } {
            let (lon, lat) = (coordinate(180.0), coordinate(70.0));
            bench.ask(&format!("GEOADD g {lon} {lat} p{number}"));
            let point = Point::of_hash(Point { lon, lat }.hash());
            places.push((format!("p{number}"), point));
        }
        let mut found = 0;
        for round in 0..60 {
            let center = Point {
                lon: coordinate(180.0),
                lat: coordinate(60.0),
            };
            let size = 10f64.powf(2.0 + (round % 5) as f64 / 2.0 + 0.5);
            let forms = [
                Form::Circle { radius: size },
                Form::Box {
                    width: size,
                    height: size / 2.0,
                },
            ];
            let asked = [
                format!("BYRADIUS {size} km"),
                format!("BYBOX {size} {} km", size / 2.0),
            ];
            for (form, asked) in forms.into_iter().zip(asked) {
                let search = Search::new(center, form, 1000.0);
                let within = places.iter().filter(|(_, point)| {
                    point.lat.abs() < 70.0 && search.distance_within(*point).is_some()
                });
                let mut expected: Vec<&str> = within.map(|(name, _)| &name[..]).collect();
                expected.sort_unstable();
                let Point { lon, lat } = center;
                let reply = bench.ask(&format!("GEOSEARCH g FROMLONLAT {lon} {lat} {asked} ASC"));
                assert_eq!(names(&reply), expected, "{lon} {lat} {asked}");
                found += expected.len();
            }
        }
        assert!(found > 1000, "{found}");
    }
}

#[test]
fn the_log_gets_scores_and_searches_as_they_came() {
    let mut bench = Bench::new(&[&FAMILY, &zset::FAMILY]);
    let add = "GEOADD g CH 13.361389 38.115556 a 15.087269 37.502669 b";
    assert_eq!(
        bench.logs(add)[1..],
        ["zadd g CH 3479099956230698 a 3479447370796909 b"]
    );
    assert!(bench.logs(add).is_empty());
    assert!(bench.logs("GEOADD g NX 1 1 a").is_empty());
    assert!(bench.logs("GEORADIUS g 15 37 200 km").is_empty());
    let store = "GEORADIUS g 15 37 200 km STORE d";
    assert_eq!(bench.logs(store), [store]);
    let nothing = "GEOSEARCHSTORE d g FROMLONLAT 0 0 BYRADIUS 1 m";
    assert_eq!(bench.logs(nothing), [nothing]);
    assert!(bench.logs(nothing).is_empty());
}
