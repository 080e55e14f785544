//! Ranges of scores and of names.

/// Scores from `min` to `max`; an open end is not in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreRange {
    /// The lower end.
    pub min: f64,
    /// The upper end.
    pub max: f64,
    /// `min` itself is left out.
    pub min_open: bool,
    /// `max` itself is left out.
    pub max_open: bool,
}

impl ScoreRange {
    /// Whether no score can be in it.
    pub fn is_empty(&self) -> bool {
        self.min > self.max || self.min == self.max && (self.min_open || self.max_open)
    }

    /// Whether a score is below the range.
    pub fn is_before(&self, score: f64) -> bool {
        score < self.min || self.min_open && score == self.min
    }

    /// Whether a score is above the range.
    pub fn is_behind(&self, score: f64) -> bool {
        score > self.max || self.max_open && score == self.max
    }
}

/// An end of a range of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexEnd<'a> {
    /// Before every name.
    Lowest,
    /// Behind every name.
    Highest,
    /// At a name, which is in the range.
    Closed(&'a [u8]),
    /// At a name, which is not.
    Open(&'a [u8]),
}

/// Names from `min` to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// The lower end.
    pub min: LexEnd<'a>,
    /// The upper end.
    pub max: LexEnd<'a>,
}

impl LexRange<'_> {
    /// Whether no name can be in it.
    pub fn is_empty(&self) -> bool {
        use LexEnd::{Closed, Highest, Lowest, Open};
        match (self.min, self.max) {
            (Highest, _) | (_, Lowest) => true,
            (Lowest, _) | (_, Highest) => false,
            (Closed(min), Closed(max)) => min > max,
            (Closed(min) | Open(min), Closed(max) | Open(max)) => min >= max,
        }
    }

    /// Whether a name is below the range.
    pub fn is_before(&self, name: &[u8]) -> bool {
        match self.min {
            LexEnd::Lowest => false,
            LexEnd::Highest => true,
            LexEnd::Closed(min) => name < min,
            LexEnd::Open(min) => name <= min,
        }
    }

    /// Whether a name is above the range.
    pub fn is_behind(&self, name: &[u8]) -> bool {
        match self.max {
            LexEnd::Lowest => true,
            LexEnd::Highest => false,
            LexEnd::Closed(max) => name > max,
            LexEnd::Open(max) => name >= max,
        }
    }
}
