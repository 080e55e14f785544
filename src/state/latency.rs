//! The latency monitor: for each kind of event the last 160 seconds in which it took long.
use std::collections::BTreeMap;

/// Samples kept for an event.
pub const SAMPLES_MAX: usize = 160;

/// One second in which an event took at least the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub at_s: i64,
    pub ms: u64,
}

/// The history of one event, oldest first.
#[derive(Debug, Default, Clone)]
pub struct Series {
    pub samples: std::collections::VecDeque<Sample>,
    /// Longest ever, milliseconds.
    pub max_ms: u64,
}

/// All events.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    pub series: BTreeMap<&'static str, Series>,
    /// Milliseconds; 0: off.
    pub threshold_ms: i64,
}

impl LatencyMonitor {
    /// Notes that `event` took `ms`; several in one second keep the longest.
    pub fn add(&mut self, event: &'static str, at_s: i64, ms: u64) {
        if self.threshold_ms <= 0 || (ms as i64) < self.threshold_ms {
            return;
        }
        let series = self.series.entry(event).or_default();
        series.max_ms = series.max_ms.max(ms);
        if let Some(last) = series.samples.back_mut()
            && last.at_s == at_s
        {
            last.ms = last.ms.max(ms);
            return;
        }
        if series.samples.len() == SAMPLES_MAX {
            series.samples.pop_front();
        }
        series.samples.push_back(Sample { at_s, ms });
    }

    /// Forgets one event; was it there?
    pub fn reset(&mut self, event: &[u8]) -> bool {
        let name = self.series.keys().copied().find(|k| k.as_bytes() == event);
        name.is_some_and(|name| self.series.remove(name).is_some())
    }

    /// Forgets all; how many were there?
    pub fn reset_all(&mut self) -> usize {
        let n = self.series.len();
        self.series.clear();
        n
    }
}
