//! Who started the server, where it runs, and what of the machine it should be warned about.
use crate::base::sys;
pub use crate::base::sys::notify_systemd as notify;
use crate::state::config::{Config, Supervised};

/// Finds out whether systemd or upstart watches this process, and greets it. Tells who does: then the server stays in the foreground whatever `daemonize` says.
pub fn take_over(mode: Supervised) -> Option<&'static str> {
    let asked = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match mode {
        Supervised::No => None,
        Supervised::Systemd => systemd(asked("NOTIFY_SOCKET")),
        Supervised::Upstart => upstart(asked("UPSTART_JOB")),
        Supervised::Auto if asked("UPSTART_JOB") => upstart(true),
        Supervised::Auto if asked("NOTIFY_SOCKET") => systemd(true),
        Supervised::Auto => None,
    }
}

fn systemd(there: bool) -> Option<&'static str> {
    if !there {
        log::warn!("systemd supervision requested, but NOTIFY_SOCKET not found");
        return None;
    }
    notify("STATUS=Redis is loading...\n");
    log::info!(
        "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec \
         and TimeoutStopSec in your service unit."
    );
    Some("systemd")
}

fn upstart(there: bool) -> Option<&'static str> {
    if !there {
        log::warn!("upstart supervision requested, but UPSTART_JOB not found");
        return None;
    }
    log::info!("supervised by upstart, will stop to signal readiness");
    // Upstart waits for the process to stop and continues it.
    let _ = sys::kill(sys::pid(), libc::SIGSTOP);
    Some("upstart")
}

/// Binds the calling thread to the processors of a list (`server_cpulist`, `bio_cpulist`).
pub fn bind_to(processors: Option<&[u8]>) {
    let Some(list) = processors.filter(|list| !list.is_empty()) else {
        return;
    };
    let list = String::from_utf8_lossy(list);
    if let Err(error) = sys::set_cpu_affinity(&list) {
        log::warn!("Can't run on the processors {list}: {error}");
    }
}

/// Settings of the kernel under which a server of this kind suffers.
pub fn warn_of_system(config: &Config) {
    if sys::overcommit_memory() == Some(0) {
        log::warn!(
            "WARNING Memory overcommit must be enabled! Without it, a background save or \
             replication may fail under low memory condition. To fix this issue add \
             'vm.overcommit_memory = 1' to /etc/sysctl.conf and then reboot or run the command \
             'sysctl vm.overcommit_memory=1' for this to take effect."
        );
    }
    let kept = config.disable_thp && sys::disable_thp().is_ok();
    if !kept && sys::thp_is_always() {
        log::warn!(
            "WARNING You have Transparent Huge Pages (THP) support enabled in your kernel. This \
             will create latency and memory usage issues with Redis. To fix this issue run the \
             command 'echo madvise > /sys/kernel/mm/transparent_hugepage/enabled' as root, and \
             add it to your /etc/rc.local in order to retain the setting after a reboot. Redis \
             must be restarted after THP is disabled (set to 'madvise' or 'never')."
        );
    }
}
