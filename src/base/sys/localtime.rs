//! Wall-clock time in the machine's own time zone, for log lines.
#![allow(unsafe_code)]

/// A moment as calendars show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    pub year: i32,
    /// 0 to 11.
    pub month: usize,
    pub day: i32,
    pub hour: i32,
    pub minute: i32,
    pub second: i32,
}

/// Breaks `unix_s` down in the local time zone.
pub fn local_time(unix_s: i64) -> LocalTime {
    // SAFETY: all fields of `tm` are integers and one pointer that null is valid for.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types; the reentrant form shares no
    // buffer.
    unsafe { libc::localtime_r(&unix_s, &mut tm) };
    LocalTime {
        year: tm.tm_year + 1900,
        month: tm.tm_mon.clamp(0, 11) as usize,
        day: tm.tm_mday,
        hour: tm.tm_hour,
        minute: tm.tm_min,
        second: tm.tm_sec,
    }
}
