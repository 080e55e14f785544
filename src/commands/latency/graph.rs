//! LATENCY GRAPH: the history of an event as a picture of characters.
use crate::state::latency::{Sample, Series};

/// Height of the picture.
const ROWS: usize = 4;
/// A cell from empty to full: four rows of three steps.
const STEPS: [char; 3] = ['_', 'o', '#'];

/// The picture with a headline; each column's age stands below it, read downwards.
pub(super) fn draw(name: &str, series: &Series, now_s: i64) -> String {
    let high = series.samples.iter().map(|s| s.ms).max().unwrap_or(0);
    let low = series.samples.iter().map(|s| s.ms).min().unwrap_or(0);
    let mut text = format!(
        "{name} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        series.max_ms,
        "-".repeat(80)
    );
    let columns: Vec<Vec<char>> = series
        .samples
        .iter()
        .map(|sample| column(sample, low, high, now_s))
        .collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    for row in 0..height {
        let line = columns.iter().map(|c| c.get(row).copied().unwrap_or(' '));
        text.extend(line);
        text.push('\n');
    }
    text
}

/// One sample from top to bottom: the bar, an empty line, its age.
fn column(sample: &Sample, low: u64, high: u64, now_s: i64) -> Vec<char> {
    let steps = ROWS * STEPS.len();
    let level = (sample.ms - low) as usize * steps / (high - low).max(1) as usize;
    let level = level.min(steps - 1);
    let (full, top) = (level / STEPS.len(), STEPS[level % STEPS.len()]);
    let mut cells = vec![' '; ROWS - 1 - full];
    cells.push(top);
    cells.extend(std::iter::repeat_n('|', full));
    cells.push(' ');
    cells.extend(age(now_s - sample.at_s).chars());
    cells
}

fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_heights_and_ages() {
        let mut series = Series {
            max_ms: 200,
            ..Series::default()
        };
        for (at_s, ms) in [(100, 20), (101, 50), (102, 100), (103, 30), (160, 200)] {
            series.samples.push_back(Sample { at_s, ms });
        }
        let text = draw("command", &series, 166);
        let expected = "command - high 200 ms, low 20 ms (all time high 200 ms)\n";
        assert!(text.starts_with(expected));
        let picture: Vec<&str> = text.lines().skip(2).collect();
        let expected = [
            "    #", "    |", "  # |", "_#|_|", "     ", "11116", "mmmms", "     ",
        ];
        assert_eq!(picture[..6], expected[..6]);
    }

    #[test]
    fn one_sample_is_a_picture_too() {
        let mut series = Series::default();
        series.samples.push_back(Sample { at_s: 0, ms: 7 });
        let text = draw("x", &series, 90_000);
        assert!(text.ends_with("\n \n \n \n_\n \n1\nd\n"), "{text}");
    }
}
