//! Where to look for the places within a form, and which of them lie in it.
//!
//! As in Redis the form is covered by the cell around its centre and that cell's neighbours, at a step at
//! which they are wide enough; what is found comes cell by cell in the order below, and by score within a
//! cell. That order, and what the cells leave out far from the equator, is what clients see. What is our own
//! is the window: whole numbers that tell for most hashes outside the form, before any sine is taken.

use super::{
    Cell, EARTH_RADIUS, LAT_MAX, LON_MAX, Origin, Point, RADIANS, STEP_MAX, along_meridian,
    along_parallel, deinterleave, part,
};

/// Half of the equator on the mercator map, in metres: a cell of step 1.
const MERCATOR_MAX: f64 = 20_037_726.37;

/// What is searched, in units of the search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    /// All within this distance.
    Circle { radius: f64 },
    /// As wide along the parallels, as high along the meridians.
    Box { width: f64, height: f64 },
}

/// A form around a place.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The middle.
    pub center: Point,
    /// The form, in units.
    pub form: Form,
    /// Metres in a unit.
    pub unit: f64,
    origin: Origin,
}

impl Search {
    /// A search; the centre must be valid, sizes not below zero.
    pub fn new(center: Point, form: Form, unit: f64) -> Search {
        Search {
            center,
            form,
            unit,
            origin: Origin::new(center),
        }
    }

    /// Metres from the middle, if the point lies within.
    pub fn distance_within(&self, point: Point) -> Option<f64> {
        match self.form {
            Form::Circle { radius } => {
                let distance = self.origin.distance(point);
                (distance <= radius * self.unit).then_some(distance)
            }
            Form::Box { width, height } => {
                let (half_width, half_height) = (width * self.unit / 2.0, height * self.unit / 2.0);
                let center = self.center;
                (along_parallel(point.lat, point.lon, center.lon) <= half_width
                    && along_meridian(point.lat, center.lat) <= half_height)
                    .then(|| self.origin.distance(point))
            }
        }
    }

    /// The cells that cover it.
    pub fn cells(&self) -> Cells {
        let bounds = self.bounds();
        let mut around = Around::new(self.center, steps(self.reach(), self.center.lat));
        if around.step() > 1 && !around.covers(&bounds) {
            around = Around::new(self.center, around.step() - 1);
        }
        Cells {
            around,
            useful: around.useful(&bounds),
            next: 0,
            last: None,
        }
    }

    /// How far its farthest place lies from the middle, in metres.
    fn reach(&self) -> f64 {
        self.unit
            * match self.form {
                Form::Circle { radius } => radius,
                Form::Box { width, height } => {
                    let (w, h) = (width / 2.0, height / 2.0);
                    (w * w + h * h).sqrt()
                }
            }
    }

    /// Half of its width and of its height, in metres.
    fn half_sizes(&self) -> (f64, f64) {
        match self.form {
            Form::Circle { radius } => (self.unit * radius, self.unit * radius),
            Form::Box { width, height } => (self.unit * width / 2.0, self.unit * height / 2.0),
        }
    }

    /// The degrees it spans. Of the two parallels that bound it, the one nearer to the pole is taken for the
    /// width; beyond a pole this is as wrong as in Redis.
    fn bounds(&self) -> Bounds {
        let (half_width, half_height) = self.half_sizes();
        let Point { lon, lat } = self.center;
        let lat_delta = half_height / EARTH_RADIUS / RADIANS;
        let widest = if lat < 0.0 {
            lat - lat_delta
        } else {
            lat + lat_delta
        };
        let lon_delta = half_width / EARTH_RADIUS / (widest * RADIANS).cos() / RADIANS;
        Bounds {
            west: lon - lon_delta,
            east: lon + lon_delta,
            south: lat - lat_delta,
            north: lat + lat_delta,
        }
    }

    /// Numbers of columns and rows outside which nothing of it lies.
    pub fn window(&self) -> Window {
        // Sums are exact to about 1e-15, except for distances half round the globe: 1e-8.
        let generous = |metres: f64| (metres * (1.0 + 1e-7) + 1e-3) / EARTH_RADIUS;
        let (half_width, half_height) = self.half_sizes();
        let Point { lon, lat } = self.center;
        let (angle, lat_delta) = (generous(half_width), generous(half_height) / RADIANS);
        let (south, north) = (lat - lat_delta, lat + lat_delta);

        let quarter = std::f64::consts::FRAC_PI_2;
        let lon_delta = match self.form {
            Form::Circle { .. } => {
                let reaches_a_pole = lat.abs() * RADIANS + angle >= quarter;
                let sine = angle.min(quarter).sin() / (lat * RADIANS).cos();
                (!reaches_a_pole && sine < 1.0).then(|| sine.asin())
            }
            Form::Box { .. } => {
                let highest = south.abs().max(north.abs()).min(LAT_MAX);
                let sine = (angle / 2.0).min(quarter).sin() / (highest * RADIANS).cos();
                (sine < 1.0).then(|| 2.0 * sine.asin())
            }
        };
        let (first_column, columns) = match lon_delta.map(|delta| delta / RADIANS * (1.0 + 1e-7)) {
            Some(delta) if delta < LON_MAX - 1e-6 => {
                let wrapped = |lon: f64| part((lon + 540.0) % 360.0 - LON_MAX, LON_MAX, STEP_MAX);
                let (first, last) = (wrapped(lon - delta), wrapped(lon + delta));
                // One more on either side: the turn round the globe is not exact.
                (
                    first.wrapping_sub(1),
                    (last.wrapping_sub(first) & COLUMNS_MASK).saturating_add(2),
                )
            }
            _ => (0, COLUMNS_MASK),
        };
        Window {
            first_column,
            columns,
            first_row: part(south.max(-LAT_MAX), LAT_MAX, STEP_MAX),
            last_row: part(north.min(LAT_MAX), LAT_MAX, STEP_MAX),
        }
    }
}

const COLUMNS_MASK: u32 = (1 << STEP_MAX) - 1;

/// Columns and rows of the finest grid. Everything a search finds lies within, not all within is found.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    first_column: u32,
    /// How many follow the first one, eastwards and round the globe.
    columns: u32,
    first_row: u32,
    last_row: u32,
}

impl Window {
    /// The place that a hash stands for, if it may lie in the form.
    #[inline]
    pub fn point(&self, bits: u64) -> Option<Point> {
        let (column, row) = deinterleave(bits);
        let inside = (self.first_row..=self.last_row).contains(&row)
            && column.wrapping_sub(self.first_column) & COLUMNS_MASK <= self.columns;
        inside.then(|| Point::of_cell(column, row))
    }
}

/// Degrees. They may go beyond the map, and be no numbers at all for sizes beyond the globe.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

/// The step at which a cell with its neighbours covers a circle of this radius.
fn steps(mut radius: f64, lat: f64) -> u32 {
    if radius == 0.0 {
        return STEP_MAX;
    }
    let mut step = 1;
    while radius < MERCATOR_MAX {
        radius *= 2.0;
        step += 1;
    }
    // Two wider to be sure, more towards the poles, where cells are narrow.
    let wider = match lat.abs() {
        lat if lat > 80.0 => 4,
        lat if lat > 66.0 => 3,
        _ => 2,
    };
    (step - wider).clamp(1, STEP_MAX as i32).cast_unsigned()
}

/// A cell's neighbours in the order in which they are searched, as columns east and rows north.
const ORDER: [(i32, i32); 9] = [
    (0, 0),
    (0, 1),
    (0, -1),
    (1, 0),
    (-1, 0),
    (1, 1),
    (-1, 1),
    (1, -1),
    (-1, -1),
];

/// A cell with its neighbours.
#[derive(Clone, Copy, Debug)]
struct Around {
    cells: [Cell; 9],
}

impl Around {
    fn new(center: Point, step: u32) -> Around {
        let cell = Cell::around(center, step);
        Around {
            cells: ORDER.map(|(east, north)| cell.moved(east, north)),
        }
    }

    fn step(&self) -> u32 {
        self.cells[0].step
    }

    /// Whether the neighbours reach beyond the bounds on every side.
    fn covers(&self, bounds: &Bounds) -> bool {
        let [_, north, south, east, west, ..] = self.cells;
        let short = north.lat().1 < bounds.north
            || south.lat().0 > bounds.south
            || east.lon().1 < bounds.east
            || west.lon().0 > bounds.west;
        !short
    }

    /// Those on sides on which the cell itself does not reach the bounds.
    fn useful(&self, bounds: &Bounds) -> [bool; 9] {
        let ((west, east), (south, north)) = (self.cells[0].lon(), self.cells[0].lat());
        // Of a grid of two by two every cell may be needed.
        let fine = self.step() >= 2;
        ORDER.map(|(to_east, to_north)| {
            let needless = to_north < 0 && south < bounds.south
                || to_north > 0 && north > bounds.north
                || to_east < 0 && west < bounds.west
                || to_east > 0 && east > bounds.east;
            !(fine && needless)
        })
    }
}

/// The cells of a search, none twice in a row: of a coarse grid the neighbour on either side may be the same.
#[derive(Clone, Debug)]
pub struct Cells {
    around: Around,
    useful: [bool; 9],
    next: usize,
    last: Option<Cell>,
}

impl Iterator for Cells {
    type Item = Cell;

    fn next(&mut self) -> Option<Cell> {
        while self.next < ORDER.len() {
            let at = self.next;
            self.next += 1;
            let cell = self.around.cells[at];
            if self.useful[at] && self.last != Some(cell) {
                self.last = (at > 0).then_some(cell);
                return Some(cell);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::random_point;
    use super::*;
    use crate::base::rng::Rng;

    fn random_search(rng: &mut Rng) -> Search {
        let size = |rng: &mut Rng| 10f64.powf(rng.unit_f64() * 7.0) + 0.01;
        let form = match rng.below(2) {
            0 => Form::Circle { radius: size(rng) },
            _ => Form::Box {
                width: size(rng),
                height: size(rng),
            },
        };
        Search::new(random_point(rng), form, 1.0)
    }

    /// A point that is near the search's edge as often as not.
    fn point_near(search: &Search, rng: &mut Rng) -> Point {
        if rng.below(8) == 0 {
            return Point::of_hash(random_point(rng).hash());
        }
        let (w, h) = search.half_sizes();
        let off = |rng: &mut Rng| (rng.unit_f64() * 2.0 - 1.0) * 1.2 / EARTH_RADIUS / RADIANS;
        let lat = (search.center.lat + h * off(rng)).clamp(-LAT_MAX, LAT_MAX);
        let lon = search.center.lon + w * off(rng) / (lat * RADIANS).cos();
        let point = Point {
            lon: (lon + 540.0).rem_euclid(360.0) - 180.0,
            lat,
        };
        Point::of_hash(point.hash())
    }

    #[test]
    fn nothing_of_the_form_is_outside_its_window() {
        let mut rng = Rng::from_seed(3);
        let (mut inside, mut refused) = (0, 0);
        for _ in 0..if cfg!(miri) { 10 } else { 4000 } {
            let search = random_search(&mut rng);
            let window = search.window();
            for _ in 0..20 {
                let point = point_near(&search, &mut rng);
                let seen = window.point(point.hash());
                assert!(seen.is_none_or(|seen| seen == point));
                if search.distance_within(point).is_some() {
                    assert!(seen.is_some(), "{search:?} {window:?} {point:?}");
                    inside += 1;
                } else {
                    refused += usize::from(seen.is_none());
                }
            }
        }
        assert!(
            cfg!(miri) || inside > 10_000 && refused > 5_000,
            "{inside} {refused}"
        );
    }

    #[test]
    fn cells_cover_the_form_between_the_seventies() {
        let mut rng = Rng::from_seed(4);
        for _ in 0..if cfg!(miri) { 10 } else { 4000 } {
            let mut search = random_search(&mut rng);
            search.center.lat *= 70.0 / LAT_MAX;
            let search = Search::new(search.center, search.form, 1.0);
            let cells: Vec<Cell> = search.cells().collect();
            for _ in 0..20 {
                let point = point_near(&search, &mut rng);
                let hash = point.hash() as f64;
                let covering = cells.iter().filter(|cell| {
                    let (from, to) = cell.scores();
                    from <= hash && hash < to
                });
                let covering = covering.count();
                let within = point.lat.abs() < 70.0 && search.distance_within(point).is_some();
                assert!(!within || covering > 0, "{search:?} {point:?}");
                assert!(covering < 2 || cells[0].step < 3, "{search:?} {cells:?}");
            }
        }
    }

    #[test]
    fn sizes_beyond_the_globe_are_all_of_it() {
        for size in [1e8, 1e300, f64::MAX, f64::INFINITY] {
            for form in [
                Form::Circle { radius: size },
                Form::Box {
                    width: size,
                    height: size,
                },
            ] {
                for lat in [0.0, 85.0, -85.0] {
                    let search = Search::new(Point { lon: 179.0, lat }, form, 1609.34);
                    let mut rng = Rng::from_seed(5);
                    for _ in 0..50 {
                        let point = random_point(&mut rng);
                        assert!(search.window().point(point.hash()).is_some());
                        assert!(search.distance_within(point).is_some());
                        let hash = point.hash() as f64;
                        assert!(search.cells().any(|cell| {
                            let (from, to) = cell.scores();
                            from <= hash && hash < to
                        }));
                    }
                }
            }
        }
    }
}
