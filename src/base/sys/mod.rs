//! Everything the server asks of the kernel about its own process: all process-level unsafe is in
//! here, behind safe functions. Call through this module's names, not through the files behind
//! them.
mod available;
mod cpu;
mod files;
mod limits;
mod localtime;
mod machine;
mod memory;
mod process;
mod signals;
mod sockets;
mod systemd;
mod terminal;
mod ticks;
mod title;

pub use available::{Available, available_memory};
pub use cpu::{CpuTimes, Who, cpu_times, set_cpu_affinity, thread_cpu_us};
pub use files::{begin_sync, strerror};
pub use limits::{nofile_limit, raise_nofile};
pub use localtime::{LocalTime, local_time};
pub use machine::{
    hostname, os_description, overcommit_memory, page_size, random_bytes, somaxconn, thp_is_always,
    total_system_memory,
};
pub use memory::{disable_thp, peak_rss, prefetch, private_dirty_bytes, rss_bytes};
pub use process::{
    ChildEnd, Forked, close_all_but, daemonize, end_with_parent, exit_now, fork, kill,
    make_dumpable, parent_pid, pid, process_runs, set_nonblocking, set_oom_score_adj, umask,
    wait_child, wait_for_child,
};
pub use signals::{
    Received, Signals, block_signals, ignore_sigpipe, is_pending, let_through_sigusr1,
};
pub use sockets::read_behind;
pub use systemd::notify_systemd;
pub use terminal::{keys_at_once, without_echo};
pub use ticks::{measure_ticks_per_us, ticks};
pub use title::set_title;
