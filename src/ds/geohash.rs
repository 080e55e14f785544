//! Places on the globe as 52-bit numbers: the geohash that a sorted set's score holds.
//!
//! Longitude and latitude are each cut into 2^26 equal parts, columns and rows, and the bits of both are
//! interleaved, so that the numbers of a square cell at any step (bits for each axis) are one run. Scores,
//! positions and distances are part of the protocol down to the last digit: every sum here is made in the
//! order in which Redis makes it, and the sine of the C library is the one both use.

mod search;

pub use search::{Cells, Form, Search, Window};

/// Bits for each axis of a whole hash.
pub const STEP_MAX: u32 = 26;
/// The easternmost longitude.
pub const LON_MAX: f64 = 180.0;
/// The northernmost latitude: where the square map of the web mercator projection ends.
pub const LAT_MAX: f64 = 85.051_128_78;
/// Metres; the mean of the radii that fit Europe best.
pub const EARTH_RADIUS: f64 = 6_372_797.560_856;
const RADIANS: f64 = std::f64::consts::PI / 180.0;

/// A place in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// East is positive.
    pub lon: f64,
    /// North is positive.
    pub lat: f64,
}

impl Point {
    /// Whether there is a hash of it.
    pub fn is_valid(self) -> bool {
        self.lon.abs() <= LON_MAX && self.lat.abs() <= LAT_MAX
    }

    /// The hash; the point must be valid.
    pub fn hash(self) -> u64 {
        Cell::around(self, STEP_MAX).bits()
    }

    /// The place that a sorted set's score stands for. Any number stands for one.
    pub fn of_score(score: f64) -> Point {
        Point::of_hash(score_bits(score))
    }

    /// The middle of the smallest cell.
    pub fn of_hash(bits: u64) -> Point {
        let (column, row) = deinterleave(bits);
        Point::of_cell(column, row)
    }

    #[inline]
    fn of_cell(column: u32, row: u32) -> Point {
        let (west, east) = side(column, STEP_MAX, LON_MAX);
        let (south, north) = side(row, STEP_MAX, LAT_MAX);
        Point {
            lon: ((west + east) / 2.0).clamp(-LON_MAX, LON_MAX),
            lat: ((south + north) / 2.0).clamp(-LAT_MAX, LAT_MAX),
        }
    }

    /// Metres along the surface.
    pub fn distance(self, other: Point) -> f64 {
        Origin::new(self).distance(other)
    }

    /// The hash as other programs write it: latitudes from pole to pole, five bits a letter. Of the last
    /// letter there are only two bits left; it is always `0`.
    pub fn text(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = interleave(part(self.lon, 180.0, 26), part(self.lat, 90.0, 26));
        let mut text = [b'0'; 11];
        for (at, letter) in text.iter_mut().take(10).enumerate() {
            *letter = LETTERS[(bits >> (47 - 5 * at)) as usize & 31];
        }
        text
    }
}

/// A place that distances are measured from, with what does not change from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    lon: f64,
    lat: f64,
    cos_lat: f64,
}

impl Origin {
    /// The place.
    pub fn new(point: Point) -> Origin {
        let lat = point.lat * RADIANS;
        Origin {
            lon: point.lon * RADIANS,
            lat,
            cos_lat: lat.cos(),
        }
    }

    /// Metres along the surface, by the haversine formula.
    #[inline]
    pub fn distance(&self, other: Point) -> f64 {
        let lat = other.lat * RADIANS;
        let v = ((other.lon * RADIANS - self.lon) / 2.0).sin();
        let u = ((lat - self.lat) / 2.0).sin();
        2.0 * EARTH_RADIUS * (u * u + self.cos_lat * lat.cos() * v * v).sqrt().asin()
    }
}

/// Metres between two longitudes (degrees) on one parallel.
#[inline]
fn along_parallel(lat: f64, lon1: f64, lon2: f64) -> f64 {
    let v = ((lon2 * RADIANS - lon1 * RADIANS) / 2.0).sin();
    let cos_lat = (lat * RADIANS).cos();
    2.0 * EARTH_RADIUS * (cos_lat * cos_lat * v * v).sqrt().asin()
}

/// Metres between two latitudes (degrees) on one meridian.
#[inline]
fn along_meridian(lat1: f64, lat2: f64) -> f64 {
    let u = ((lat2 * RADIANS - lat1 * RADIANS) / 2.0).sin();
    2.0 * EARTH_RADIUS * (u * u).sqrt().asin()
}

/// A cell of the grid that has 2^step columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// From the west. One beyond the grid for what lies on its very edge, as in Redis.
    pub column: u32,
    /// From the south; the same holds.
    pub row: u32,
    /// 1 to 26.
    pub step: u32,
}

impl Cell {
    /// The cell that a valid point lies in.
    pub fn around(point: Point, step: u32) -> Cell {
        Cell {
            column: part(point.lon, LON_MAX, step),
            row: part(point.lat, LAT_MAX, step),
            step,
        }
    }

    /// The hash's leading bits, two for each step.
    pub fn bits(self) -> u64 {
        interleave(self.column, self.row)
    }

    /// The cell that many columns east and rows north, round the globe. An axis without a move keeps its
    /// number even at the edge.
    fn moved(self, east: i32, north: i32) -> Cell {
        let mask = (1 << self.step) - 1;
        let go = |at: u32, by: i32| match by {
            0 => at,
            _ => at.wrapping_add_signed(by) & mask,
        };
        Cell {
            column: go(self.column, east),
            row: go(self.row, north),
            step: self.step,
        }
    }

    /// West and east.
    fn lon(self) -> (f64, f64) {
        side(self.column, self.step, LON_MAX)
    }

    /// South and north.
    fn lat(self) -> (f64, f64) {
        side(self.row, self.step, LAT_MAX)
    }

    /// The scores in it: from the first, up to and without the second.
    pub fn scores(self) -> (f64, f64) {
        let shift = 2 * (STEP_MAX - self.step);
        let bits = self.bits();
        ((bits << shift) as f64, ((bits + 1) << shift) as f64)
    }
}

/// Which of 2^step parts of `-max..max` a coordinate lies in. The end itself is one beyond the last.
fn part(at: f64, max: f64, step: u32) -> u32 {
    ((at + max) / (max + max) * f64::from(1u32 << step)) as u32
}

/// Where a part of `-max..max` begins and ends.
#[inline]
fn side(part: u32, step: u32, max: f64) -> (f64, f64) {
    let parts = f64::from(1u32 << step);
    let at = |n: f64| -max + n / parts * (max + max);
    (at(f64::from(part)), at(f64::from(part) + 1.0))
}

/// A score's bits as C's conversion to an unsigned integer gives them on x86-64, also for what is no hash.
#[inline]
pub fn score_bits(score: f64) -> u64 {
    const HALF: f64 = (1u64 << 63) as f64;
    // Where the machine's conversion fails it gives the lowest integer.
    let signed = |x: f64| {
        if (-HALF..HALF).contains(&x) {
            x as i64
        } else {
            i64::MIN
        }
    };
    if score < HALF {
        signed(score).cast_unsigned()
    } else {
        signed(score - HALF).cast_unsigned() ^ 1 << 63
    }
}

/// Rows at the even bits, columns at the odd ones.
#[inline]
fn interleave(column: u32, row: u32) -> u64 {
    spread(row) | spread(column) << 1
}

/// Column and row.
#[inline]
fn deinterleave(bits: u64) -> (u32, u32) {
    (squash(bits >> 1), squash(bits))
}

/// Masks of the passes that move a number's bits apart, and together again.
const SPREAD: [(u32, u64); 5] = [
    (16, 0x0000_ffff_0000_ffff),
    (8, 0x00ff_00ff_00ff_00ff),
    (4, 0x0f0f_0f0f_0f0f_0f0f),
    (2, 0x3333_3333_3333_3333),
    (1, 0x5555_5555_5555_5555),
];

#[inline]
fn spread(n: u32) -> u64 {
    SPREAD
        .iter()
        .fold(u64::from(n), |n, (by, mask)| (n | n << by) & mask)
}

#[inline]
fn squash(bits: u64) -> u32 {
    let even = bits & SPREAD[4].1;
    let apart = [
        (1, SPREAD[3].1),
        (2, SPREAD[2].1),
        (4, SPREAD[1].1),
        (8, SPREAD[0].1),
    ];
    let near = apart
        .iter()
        .fold(even, |n, (by, mask)| (n | n >> by) & mask);
    (near | near >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    const PALERMO: Point = Point {
        lon: 13.361389,
        lat: 38.115556,
    };
    const CATANIA: Point = Point {
        lon: 15.087269,
        lat: 37.502669,
    };

    // Every number below is redis-server's own answer.
    #[test]
    fn hashes_are_those_of_redis() {
        for (lon, lat, hash, text) in [
            (PALERMO.lon, PALERMO.lat, 3479099956230698, b"sqc8b49rny0"),
            (CATANIA.lon, CATANIA.lat, 3479447370796909, b"sqdtr74hyu0"),
            (180.0, 85.05112878, 13510798882111488, b"bp05b5048p0"),
            (-180.0, -85.05112878, 0, b"00bh0hbj200"),
            (0.0, 0.0, 3377699720527872, b"s0000000000"),
            (-5.6, 42.6, 2157242200379188, b"ezs42e44yx0"),
        ] {
            let point = Point { lon, lat };
            assert_eq!(point.hash(), hash, "{point:?}");
            let stored = Point::of_score(hash as f64);
            assert_eq!(
                std::str::from_utf8(&stored.text()),
                std::str::from_utf8(text)
            );
        }
    }

    #[test]
    fn any_score_stands_for_a_place() {
        let (west, south) = (-179.999_997_317_790_99, -85.051_127_512_639_43);
        for (score, lon, lat) in [
            (-1.0, 180.0, LAT_MAX),
            (1e300, west, south),
            (f64::INFINITY, west, south),
            (f64::NEG_INFINITY, 180.0, -85.051_127_512_639_43),
            (9_007_199_254_740_992.0, 180.0, south),
            (1.5, west, -85.051_124_977_918_25),
            (18_446_744_073_709_551_616.0, west, south),
            (9_223_372_036_854_775_808.0, 180.0, south),
        ] {
            assert_eq!(Point::of_score(score), Point { lon, lat }, "{score}");
        }
    }

    #[test]
    fn distances_are_those_of_redis() {
        let stored = |point: Point| Point::of_hash(point.hash());
        let metres = stored(PALERMO).distance(stored(CATANIA));
        assert_eq!(format!("{metres:.4}"), "166274.1516");
        assert_eq!(PALERMO.distance(PALERMO), 0.0);
        let mut rng = Rng::from_seed(1);
        for _ in 0..1000 {
            let (a, b) = (random_point(&mut rng), random_point(&mut rng));
            assert_eq!(a.distance(b), b.distance(a));
            let parallel = Point { lat: a.lat, ..b };
            assert_eq!(a.distance(parallel), along_parallel(a.lat, a.lon, b.lon));
            let meridian = Point { lon: a.lon, ..b };
            assert_eq!(a.distance(meridian), along_meridian(a.lat, b.lat));
        }
    }

    #[test]
    fn a_point_lies_in_its_cells() {
        let mut rng = Rng::from_seed(2);
        for _ in 0..2000 {
            let point = random_point(&mut rng);
            let hash = point.hash();
            assert_eq!(Point::of_hash(hash).hash(), hash);
            assert_eq!(score_bits(hash as f64), hash);
            for step in 1..=STEP_MAX {
                let cell = Cell::around(point, step);
                let ((west, east), (south, north)) = (cell.lon(), cell.lat());
                assert!(west <= point.lon && point.lon <= east, "{cell:?} {point:?}");
                assert!(
                    south <= point.lat && point.lat <= north,
                    "{cell:?} {point:?}"
                );
                let (from, to) = cell.scores();
                assert!(from <= hash as f64 && (hash as f64) < to);
                assert_eq!(cell.moved(1, -1).moved(-1, 1), cell);
                assert_eq!(deinterleave(cell.bits()), (cell.column, cell.row));
            }
        }
    }

    pub(super) fn random_point(rng: &mut Rng) -> Point {
        Point {
            lon: (rng.unit_f64() * 2.0 - 1.0) * LON_MAX,
            lat: (rng.unit_f64() * 2.0 - 1.0) * LAT_MAX,
        }
    }
}
