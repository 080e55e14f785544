//! Log lines as Redis writes them, through `log` and `simplelog`.
//!
//! `pid:role DD Mon YYYY HH:MM:SS.mmm level message`, with M for a primary, S for a replica, C for a
//! child, X for Sentinel, and `.`, `-`, `*`, `#` for debug, verbose, notice and warning. Tools and
//! Redis's own test suite read them.
use crate::base::clock::unix_ms;
use crate::base::sys::{LocalTime, local_time, pid};
use crate::state::config::{Loglevel, SyslogFacility};
use log::{Level, LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, SharedLogger, WriteLogger};
use std::ffi::{CStr, CString};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

static ROLE: AtomicU8 = AtomicU8::new(b'M');

/// Sets the letter that stands behind the process id.
pub fn set_role(role: u8) {
    ROLE.store(role, Ordering::Relaxed);
}

/// Where lines go.
#[derive(Debug, Clone)]
enum Target {
    Stdout,
    /// Opened for every line, so that a file that was moved away is made anew.
    File(PathBuf),
}

struct Sink(Target);

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.0 {
            Target::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(line)?;
                out.flush()?;
            }
            Target::File(path) => {
                let mut file = OpenOptions::new().append(true).create(true).open(path)?;
                file.write_all(line)?;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts Redis's prefix before every message; simplelog filters and writes.
struct RedisLines {
    inner: Box<WriteLogger<io::LineWriter<Sink>>>,
    syslog: bool,
}

impl Log for RedisLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let ms = unix_ms();
        let LocalTime {
            year,
            month,
            day,
            hour,
            minute,
            second,
        } = local_time(ms / 1000);
        let mark = match record.level() {
            Level::Error | Level::Warn => '#',
            Level::Info => '*',
            Level::Debug => '-',
            Level::Trace => '.',
        };
        let role = char::from(ROLE.load(Ordering::Relaxed));
        let inner: &dyn Log = &*self.inner;
        inner.log(
            &Record::builder()
                .level(record.level())
                .target(record.target())
                .args(format_args!(
                    "{}:{role} {day:02} {} {year} {hour:02}:{minute:02}:{second:02}.{:03} {mark} {}",
                    pid(),
                    MONTHS[month],
                    ms % 1000,
                    record.args()
                ))
                .build(),
        );
        if self.syslog {
            send_to_syslog(record);
        }
    }

    fn flush(&self) {}
}

fn send_to_syslog(record: &Record<'_>) {
    use nix::syslog::{Severity, syslog};
    let severity = match record.level() {
        Level::Error | Level::Warn => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_NOTICE,
        Level::Debug => Severity::LOG_INFO,
        Level::Trace => Severity::LOG_DEBUG,
    };
    let _ = syslog(severity, &format!("{}", record.args()));
}

/// What `loglevel` lets through.
pub fn filter(level: Loglevel) -> LevelFilter {
    match level {
        Loglevel::Debug => LevelFilter::Trace,
        Loglevel::Verbose => LevelFilter::Debug,
        Loglevel::Notice => LevelFilter::Info,
        Loglevel::Warning => LevelFilter::Warn,
        Loglevel::Nothing => LevelFilter::Off,
    }
}

/// Opens the connection to syslog under this name and facility.
pub fn open_syslog(ident: Option<&[u8]>, facility: SyslogFacility) {
    use nix::syslog::{Facility, LogFlags, openlog};
    let facility = match facility {
        SyslogFacility::User => Facility::LOG_USER,
        SyslogFacility::Local0 => Facility::LOG_LOCAL0,
        SyslogFacility::Local1 => Facility::LOG_LOCAL1,
        SyslogFacility::Local2 => Facility::LOG_LOCAL2,
        SyslogFacility::Local3 => Facility::LOG_LOCAL3,
        SyslogFacility::Local4 => Facility::LOG_LOCAL4,
        SyslogFacility::Local5 => Facility::LOG_LOCAL5,
        SyslogFacility::Local6 => Facility::LOG_LOCAL6,
        SyslogFacility::Local7 => Facility::LOG_LOCAL7,
    };
    // The library keeps the pointer: the name must live as long as the process.
    let ident = ident.and_then(|name| CString::new(name).ok());
    let ident: Option<&'static CStr> = ident.map(|name| &*Box::leak(name.into_boxed_c_str()));
    let flags = LogFlags::LOG_PID | LogFlags::LOG_NDELAY;
    let _ = openlog(ident, flags, facility);
}

/// Starts logging to standard output (no path) or a file, and to syslog besides when asked.
pub fn start(path: Option<PathBuf>, level: Loglevel, syslog: bool) {
    let mut config = ConfigBuilder::new();
    // The prefix is ours: simplelog writes the message alone.
    config
        .set_time_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_max_level(LevelFilter::Off);
    let sink = Sink(path.map_or(Target::Stdout, Target::File));
    let inner = WriteLogger::new(
        LevelFilter::Trace,
        config.build(),
        io::LineWriter::new(sink),
    );
    let _: &dyn SharedLogger = &*inner;
    if log::set_boxed_logger(Box::new(RedisLines { inner, syslog })).is_ok() {
        log::set_max_level(filter(level));
    }
}

/// Takes a new `loglevel`.
pub fn set_level(level: Loglevel) {
    log::set_max_level(filter(level));
}
