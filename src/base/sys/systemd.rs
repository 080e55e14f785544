//! The service manager that may watch this process.

/// Tells systemd: lines of `NAME=value`.
pub fn notify_systemd(text: &str) {
    let states: Vec<sd_notify::NotifyState<'_>> =
        text.lines().map(sd_notify::NotifyState::Custom).collect();
    let _ = sd_notify::notify(&states);
}
