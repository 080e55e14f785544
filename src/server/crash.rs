//! The crash report: what is known when the process dies of a signal or a panic; and where the
//! loop stands when the watchdog finds it held up.
//!
//! A handler of signals may do little safely. So the report goes out piece by piece, what is sure
//! to work first: plain writes to the log's descriptor, then the addresses of the stack, and only
//! then what needs the allocator (names of functions, the client, INFO). A deadlock or a second
//! fault in there ends the process, with the first pieces written.
#![allow(unsafe_code)]

use super::turn::Server;
use crate::commands::info;
use crate::exec::batch::{Batch, NO_ROW};
use crate::exec::process::resolve_row;
use crate::exec::registry::CommandId;
use crate::state::client::{Client, ClientId};
use crate::state::config::REDIS_VERSION;
use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::{BorrowedFd, RawFd};
use std::panic::PanicHookInfo;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};

/// Signals that mean a fault of the program.
const FATAL: [i32; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGABRT,
];

/// The handler's own stack: the fault may be that the other one is full.
const STACK_BYTES: usize = 1 << 20;
/// A report that takes longer than this has locked itself up.
const SECONDS_MAX: u32 = 10;

static ENABLED: AtomicBool = AtomicBool::new(true);
static EXIT_ON_PANIC: AtomicBool = AtomicBool::new(false);
/// Somebody reports already: the signal behind a panic is no second crash.
static REPORTING: AtomicBool = AtomicBool::new(false);
static SERVER: AtomicPtr<Server> = AtomicPtr::new(std::ptr::null_mut());
/// A [`Running`], while one runs.
static RUNNING: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());
static LOOP_THREAD: AtomicUsize = AtomicUsize::new(0);
static LOGFILE: OnceLock<Option<PathBuf>> = OnceLock::new();

/// Installs handlers and panic hook; reports go to the log file, or to standard output.
pub fn install(logfile: Option<PathBuf>, exit_on_panic: bool) {
    // Only the first start counts: there is one process.
    let _ = LOGFILE.set(logfile);
    EXIT_ON_PANIC.store(exit_on_panic, Relaxed);
    std::panic::set_hook(Box::new(on_panic));
    own_stack();
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and lives as long as the
    // process.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_signal;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
        libc::sigemptyset(&raw mut action.sa_mask);
        for signal in FATAL {
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Gives the calling thread a stack for the handler.
pub fn own_stack() {
    // Mapped, not allocated: it is no memory of the data set, and untouched pages cost nothing.
    // SAFETY: a new mapping overlaps nothing; it is never unmapped, so the handler's stack lives as
    // long as the process, and nobody else uses it.
    unsafe {
        let stack = libc::mmap(
            std::ptr::null_mut(),
            STACK_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if stack == libc::MAP_FAILED {
            return;
        }
        let alternate = libc::stack_t {
            ss_sp: stack,
            ss_flags: 0,
            ss_size: STACK_BYTES,
        };
        libc::sigaltstack(&raw const alternate, std::ptr::null_mut());
    }
}

/// `crash-log-enabled` and `use-exit-on-panic`.
pub fn configure(enabled: bool, exit_on_panic: bool) {
    ENABLED.store(enabled, Relaxed);
    EXIT_ON_PANIC.store(exit_on_panic, Relaxed);
}

/// Names the server that a report tells about, as long as it runs.
pub fn watch(server: &mut Server) {
    SERVER.store(server, Relaxed);
}

/// The requests of a client that run: what a report shows of them is the one that runs just now.
pub struct Running<'a> {
    pub buf: &'a [u8],
    pub batch: &'a Batch,
    pub me: ClientId,
    /// Requests that the client had sent before these.
    pub before: u64,
}

/// A batch begins; returns what [`leave`] is to be given at its end.
#[inline]
pub fn enter(running: &Running<'_>) -> *mut () {
    let before = RUNNING.load(Relaxed);
    RUNNING.store(std::ptr::from_ref(running).cast_mut().cast(), Relaxed);
    before
}

/// A batch has ended: what ran before it, if anything, goes on.
#[inline]
pub fn leave(before: *mut ()) {
    RUNNING.store(before, Relaxed);
}

/// The server is gone.
pub fn unwatch() {
    SERVER.store(std::ptr::null_mut(), Relaxed);
}

/// Where the report goes: a descriptor of its own, so that no lock of the log is needed.
fn sink() -> RawFd {
    use std::os::fd::IntoRawFd;
    let path = LOGFILE.get().and_then(Option::as_ref);
    let file = path.and_then(|path| {
        let options = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        options.ok()
    });
    file.map_or(libc::STDOUT_FILENO, IntoRawFd::into_raw_fd)
}

struct Out(RawFd);

impl Out {
    fn put(&self, text: &str) {
        // SAFETY: the descriptor is standard output, or a file that `sink` opened and nobody closes.
        let fd = unsafe { BorrowedFd::borrow_raw(self.0) };
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match nix::unistd::write(fd, rest) {
                Ok(0) => return,
                Ok(n) => rest = &rest[n..],
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// A line with the prefix of a log line, made without the log.
    fn line(&self, text: std::fmt::Arguments<'_>) {
        let mut buffer = [0u8; 512];
        let room = buffer.len();
        let mut cursor = &mut buffer[..];
        let seconds = crate::base::clock::unix_ms() / 1000;
        // A line that is too long is cut.
        let _ = writeln!(
            cursor,
            "{}:signal-handler ({seconds}) # {text}",
            crate::base::sys::pid()
        );
        let left = cursor.len();
        self.put(&String::from_utf8_lossy(&buffer[..room - left]));
    }
}

/// Lets [`interrupt`] work: to be called once, by the loop's thread.
pub fn watch_loop() {
    // SAFETY: the handler has the signature that a plain handler has. It only reads what this very
    // thread wrote, and writes to a descriptor of its own: no lock and no memory is needed.
    unsafe {
        LOOP_THREAD.store(libc::pthread_self() as usize, Relaxed);
        let mut action: libc::sigaction = std::mem::zeroed();
        let handler: extern "C" fn(i32) = on_interrupt;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut());
    }
    // The first use loads a library; a handler must not.
    #[cfg(target_env = "gnu")]
    {
        let mut frame = [std::ptr::null_mut(); 1];
        // SAFETY: the array has room for the one frame asked for.
        unsafe { libc::backtrace(frame.as_mut_ptr(), 1) };
    }
}

/// Makes the loop's thread log what holds it up.
pub fn interrupt() {
    let thread = LOOP_THREAD.load(Relaxed);
    if thread != 0 {
        // SAFETY: the loop's thread is the main one: it lives as long as the process.
        unsafe { libc::pthread_kill(thread as libc::pthread_t, libc::SIGUSR2) };
    }
}

extern "C" fn on_interrupt(_: i32) {
    let out = Out(sink());
    out.line(format_args!("--- WATCHDOG TIMER EXPIRED ---"));
    let server = SERVER.load(Relaxed);
    if !server.is_null() {
        // SAFETY: as in `report`; this is the loop's own thread, so nothing changes meanwhile, and
        // only plain fields are read.
        let server = unsafe { &*server };
        let client = server
            .state
            .running
            .and_then(|who| server.state.clients.get(who));
        if let Some(client) = client {
            let name = server.table.name(client.last_command);
            let id = client.id.serial;
            out.line(format_args!(
                "The last command is '{name}', of the client id={id}"
            ));
        }
    }
    out.line(format_args!("The stack, for addr2line:"));
    addresses(out.0);
    out.line(format_args!("------------"));
    if out.0 != libc::STDOUT_FILENO {
        let _ = nix::unistd::close(out.0);
    }
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if !ENABLED.load(Relaxed) || REPORTING.swap(true, Relaxed) {
        die(signal);
    }
    limit_time();
    let out = Out(sink());
    out.put("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
    // SAFETY: the kernel hands over a valid siginfo for the time of the handler.
    let (code, address, pid, uid) = unsafe {
        let info = &*info;
        (
            info.si_code,
            info.si_addr() as usize,
            info.si_pid(),
            info.si_uid(),
        )
    };
    out.line(format_args!(
        "RedVault {} (redis {REDIS_VERSION}) crashed by signal: {signal}, si_code: {code}",
        env!("CARGO_PKG_VERSION")
    ));
    if matches!(code, libc::SI_USER | libc::SI_TKILL | libc::SI_QUEUE) {
        out.line(format_args!("Killed by PID: {pid}, UID: {uid}"));
    } else {
        out.line(format_args!("Accessing address: {address:#x}"));
    }
    out.put("\n------ STACK TRACE ------\n");
    addresses(out.0);
    registers(&out, context);
    report(&out);
    die(signal);
}

/// Ends the process if its report does not end. A signal's default action would be nothing where this is
/// the first process of a container.
fn limit_time() {
    extern "C" fn on_alarm(_: i32) {
        // SAFETY: it ends the process, and needs neither lock nor memory.
        unsafe { libc::_exit(1) }
    }
    let handler: extern "C" fn(i32) = on_alarm;
    // SAFETY: the handler has the signature that a plain handler has; alarm takes any number; the set is a
    // plain value that lives as long as it is used.
    unsafe {
        libc::signal(libc::SIGALRM, handler as usize);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::alarm(SECONDS_MAX);
    }
}

/// Dies of the signal itself, so that whoever watches sees the cause, and a core is written.
fn die(signal: i32) -> ! {
    // SAFETY: setting the default action and raising a signal touch no memory of ours; the signal
    // is unblocked since a handler runs with it blocked.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::raise(signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::_exit(1)
    }
}

/// The stack as addresses in the program, for addr2line: needs neither locks nor memory.
fn addresses(fd: RawFd) {
    #[cfg(target_env = "gnu")]
    {
        let mut frames = [std::ptr::null_mut(); 64];
        // SAFETY: the array has room for the number given; symbols go straight to the descriptor.
        unsafe {
            let n = libc::backtrace(frames.as_mut_ptr(), frames.len() as i32);
            libc::backtrace_symbols_fd(frames.as_ptr(), n, fd);
        }
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = fd;
}

/// The registers at the moment of the signal.
fn registers(out: &Out, context: *const libc::c_void) {
    if context.is_null() {
        return;
    }
    out.put("\n------ REGISTERS ------\n");
    #[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
    {
        // SAFETY: the kernel hands over the interrupted thread's context for the time of the handler.
        let context = unsafe { &*context.cast::<libc::ucontext_t>() };
        let of = |at: i32| {
            context
                .uc_mcontext
                .gregs
                .get(at as usize)
                .copied()
                .unwrap_or(0)
        };
        for line in [
            [
                ("RAX", libc::REG_RAX),
                ("RBX", libc::REG_RBX),
                ("RCX", libc::REG_RCX),
            ],
            [
                ("RDX", libc::REG_RDX),
                ("RDI", libc::REG_RDI),
                ("RSI", libc::REG_RSI),
            ],
            [
                ("RBP", libc::REG_RBP),
                ("RSP", libc::REG_RSP),
                ("RIP", libc::REG_RIP),
            ],
            [
                ("R8 ", libc::REG_R8),
                ("R9 ", libc::REG_R9),
                ("R10", libc::REG_R10),
            ],
            [
                ("R11", libc::REG_R11),
                ("R12", libc::REG_R12),
                ("R13", libc::REG_R13),
            ],
            [
                ("R14", libc::REG_R14),
                ("R15", libc::REG_R15),
                ("EFL", libc::REG_EFL),
            ],
        ] {
            let [a, b, c] = line.map(|(name, at)| (name, of(at)));
            out.line(format_args!(
                "{}:{:016x} {}:{:016x} {}:{:016x}",
                a.0, a.1, b.0, b.1, c.0, c.1
            ));
        }
    }
    #[cfg(all(target_os = "linux", target_arch = "aarch64", target_env = "gnu"))]
    {
        // SAFETY: the kernel hands over the interrupted thread's context for the time of the handler.
        let machine = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext };
        for (n, value) in machine.regs.iter().enumerate() {
            out.line(format_args!("X{n:02}:{value:016x}"));
        }
        out.line(format_args!(
            "SP:{:016x} PC:{:016x}",
            machine.sp, machine.pc
        ));
    }
}

/// What needs memory: names of functions, who was served, INFO. Ends the report.
fn report(out: &Out) {
    out.put(&format!(
        "\n------ STACK TRACE (symbols) ------\n{}\n",
        Backtrace::force_capture()
    ));
    let server = SERVER.load(Relaxed);
    if !server.is_null() {
        // SAFETY: `watch` stored a server that lives until `unwatch`. This thread is the loop's, or
        // another one that panicked while the loop goes on: then a figure may be torn, no more,
        // in a process that ends here.
        let server = unsafe { &*server };
        out.put(&format!(
            "\n------ CURRENT CLIENT INFO ------\n{}",
            current(server)
        ));
        let text = info::report(
            &server.state,
            &server.table,
            Default::default(),
            &[b"everything"],
        );
        out.put(&format!("\n------ INFO OUTPUT ------\n{text}\n"));
    }
    out.put(
        "\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n\n       \
         Please report the crash with everything between these two lines, the version and the \
         configuration.\n\n",
    );
}

/// The client that was served last and its command.
fn current(server: &Server) -> String {
    let mut text = String::new();
    match server
        .state
        .running
        .and_then(|who| server.state.clients.get(who))
    {
        None => text.push_str("none\n"),
        Some(client) => {
            let name = server.table.name(client.last_command);
            let _ = writeln!(
                text,
                "id={} addr={} laddr={} name={} user={} db={} resp={} cmd={name}",
                client.id.serial,
                client.peer_text(),
                client.local_text(),
                client.name_text(),
                String::from_utf8_lossy(server.state.user_name(client.user)),
                client.db,
                if client.resp3 { 3 } else { 2 },
            );
            request(server, client, &mut text);
        }
    }
    text
}

/// Arguments shown of the request that runs, and bytes of each.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// The request that a client runs just now: never a secret, and what users store only if it may be
/// logged (`hide-user-data-from-log`).
fn request(server: &Server, client: &Client, text: &mut String) {
    let running = RUNNING.load(Relaxed).cast::<Running<'_>>();
    if running.is_null() {
        return;
    }
    // SAFETY: `enter` was given a reference that outlives its `leave`, and `leave` has not been called.
    let running = unsafe { &*running };
    let at = client.commands.saturating_sub(running.before);
    let parsed = (at as usize).checked_sub(1);
    let Some(parsed) = parsed.and_then(|at| running.batch.requests.get(at)) else {
        return;
    };
    if running.me != client.id || parsed.row == NO_ROW {
        return;
    }
    let argv = running.batch.argv(running.buf, parsed);
    let row = server.table.row(CommandId(parsed.row));
    let row = resolve_row(&server.table, Some(row), argv).unwrap_or(row);
    // A subcommand is no data.
    let names = if row.parent == row.id { 1 } else { 2 };
    let hide = server.state.config.hide_user_data_from_log;
    let _ = writeln!(text, "argc: {}", argv.len());
    for (i, arg) in argv.iter().enumerate().take(ARGS_MAX) {
        let more = arg.len().saturating_sub(ARG_BYTES_MAX);
        let shown = arg[..arg.len() - more].escape_ascii();
        let _ = match (row.cmd.hides(argv, i), hide && i >= names, more) {
            (true, ..) => writeln!(text, "argv[{i}]: (redacted)"),
            (_, true, _) => writeln!(text, "argv[{i}]: {} bytes", arg.len()),
            (.., 0) => writeln!(text, "argv[{i}]: \"{shown}\""),
            _ => writeln!(text, "argv[{i}]: \"{shown}\"... ({more} more bytes)"),
        };
    }
}

/// A panic: the same report with the message, then the end as for an assertion.
fn on_panic(panic: &PanicHookInfo<'_>) {
    let first = !REPORTING.swap(true, Relaxed);
    let payload = panic.payload();
    let message = match (
        payload.downcast_ref::<&str>(),
        payload.downcast_ref::<String>(),
    ) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "a panic without a text",
    };
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    if first && ENABLED.load(Relaxed) {
        limit_time();
        let out = Out(sink());
        out.put("\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n");
        if message.starts_with("assertion") {
            out.line(format_args!("=== ASSERTION FAILED ==="));
            out.line(format_args!("==> {place} '{message}' is not true"));
        } else {
            out.line(format_args!(
                "------------------------------------------------"
            ));
            out.line(format_args!("Guru Meditation: {message} #{place}"));
            out.line(format_args!(
                "------------------------------------------------"
            ));
        }
        report(&out);
    } else {
        log::error!("Panic: {message} at {place}");
    }
    if EXIT_ON_PANIC.load(Relaxed) {
        crate::base::sys::exit_now(1);
    }
}
