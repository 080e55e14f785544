//! The only source of time. Everything else is handed a [`Clock`] or a number that came from one,
//! so that tests and the simulator decide what time it is.
//!
//! Both system clocks are read through the vdso (about 25 ns); the processor clock of the thread is
//! in [`super::sys`], because it costs a system call.

use nix::time::{ClockId, clock_gettime};

/// The time of a turn of the loop, read once and then the same for everything that happens in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Wall clock, milliseconds since 1970.
    pub unix_ms: i64,
    /// Wall clock, microseconds since 1970.
    pub unix_us: i64,
    /// Microseconds since some fixed moment; never goes backwards.
    pub mono_us: u64,
    manual: bool,
}

impl Clock {
    /// A clock that shows the system's time as of now.
    pub fn system() -> Clock {
        let mut clock = Clock::default();
        clock.refresh();
        clock
    }

    /// A clock that moves only by [`Clock::advance_ms`] and starts at `unix_ms`.
    pub fn manual(unix_ms: i64) -> Clock {
        Clock {
            unix_ms,
            unix_us: unix_ms * 1000,
            mono_us: 1_000_000,
            manual: true,
        }
    }

    /// Reads the system's clocks again; a manual clock stays where it is.
    #[inline]
    pub fn refresh(&mut self) {
        if !self.manual {
            self.unix_us = unix_us();
            self.unix_ms = self.unix_us / 1000;
            self.mono_us = mono_us();
        }
    }

    /// The same for the monotonic clock only: in the midst of a command, for which no time passes.
    pub fn refresh_mono(&mut self) {
        if !self.manual {
            self.mono_us = mono_us();
        }
    }

    /// Moves a manual clock; the system's cannot be moved.
    pub fn advance_ms(&mut self, ms: u64) {
        if self.manual {
            self.mono_us += ms * 1000;
            self.unix_ms += ms as i64;
            self.unix_us = self.unix_ms * 1000;
        }
    }

    /// True for a clock that tests move by hand.
    pub fn is_manual(&self) -> bool {
        self.manual
    }
}

/// Nanoseconds of the monotonic clock.
#[inline]
pub fn mono_ns() -> u64 {
    read(ClockId::CLOCK_MONOTONIC) as u64
}

/// Microseconds of the monotonic clock.
#[inline]
pub fn mono_us() -> u64 {
    mono_ns() / 1000
}

/// Microseconds since 1970 of the wall clock.
#[inline]
pub fn unix_us() -> i64 {
    read(ClockId::CLOCK_REALTIME) / 1000
}

/// Milliseconds since 1970 of the wall clock.
#[inline]
pub fn unix_ms() -> i64 {
    unix_us() / 1000
}

fn read(clock: ClockId) -> i64 {
    let now = clock_gettime(clock).expect("Linux has both clocks");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let mut clock = Clock::manual(1_700_000_000_000);
        let before = clock;
        clock.refresh();
        assert_eq!(clock, before);
        clock.advance_ms(25);
        assert_eq!(clock.unix_ms, 1_700_000_000_025);
        assert_eq!(clock.unix_us, 1_700_000_000_025_000);
        assert_eq!(clock.mono_us, before.mono_us + 25_000);
        assert!(clock.is_manual());
    }

    #[test]
    fn the_system_clock_runs_and_cannot_be_moved() {
        let mut clock = Clock::system();
        let before = clock;
        clock.advance_ms(1_000_000_000);
        assert_eq!(clock, before);
        while mono_us() <= before.mono_us {}
        clock.refresh();
        assert!(clock.mono_us > before.mono_us);
        assert_eq!(clock.unix_ms, clock.unix_us / 1000);
    }
}
