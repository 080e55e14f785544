//! What this release does not have yet, and says so: a directive that asks for it is refused, at the
//! start and by CONFIG SET. Data believed to be on disk, a password believed to be asked for or a
//! link believed to be encrypted would be worse than a server that does not start.
use crate::state::config::{Config, Key};

/// The first directive in force that asks for a part that is not there, and why it is refused.
pub fn refused(config: &Config) -> Option<(Key, &'static str)> {
    let wants = [(
        config.cluster_enabled,
        Key::cluster_enabled,
        "this release has no cluster mode yet",
    )];
    wants
        .into_iter()
        .find(|(wanted, ..)| *wanted)
        .map(|(_, key, why)| (key, why))
}

/// What else asks for a part that is not there, for the start only: lines that CONFIG SET has not.
pub fn refused_lines(config: &Config) -> Option<&'static str> {
    if !config.loadmodule.is_empty() {
        return Some("'loadmodule' lines: modules in C are not supported");
    }
    None
}
