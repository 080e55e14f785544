//! The terminal that a person sits at: how keys come in.
use std::io;
use std::os::fd::AsFd;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// The terminal's input, changed until this goes out of scope.
pub struct Changed {
    saved: Termios,
}

/// Each key comes at once, unseen, and Ctrl-C is a key like any other (its byte is 3).
pub fn keys_at_once() -> io::Result<Changed> {
    change(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
}

/// What is typed is not shown.
pub fn without_echo() -> io::Result<Changed> {
    change(LocalFlags::ECHO)
}

fn change(off: LocalFlags) -> io::Result<Changed> {
    let input = io::stdin();
    let saved = tcgetattr(input.as_fd())?;
    let mut wanted = saved.clone();
    wanted.local_flags.remove(off);
    tcsetattr(input.as_fd(), SetArg::TCSADRAIN, &wanted)?;
    Ok(Changed { saved })
}

impl Drop for Changed {
    fn drop(&mut self) {
        // A terminal that has gone has nothing to be put back.
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSADRAIN, &self.saved);
    }
}
