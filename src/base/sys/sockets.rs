//! Reading from a descriptor into memory that was never written.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads once, at most `max` bytes, behind the vector's content and within its capacity: big values
/// come in without their memory being zeroed first.
pub fn read_behind(fd: BorrowedFd<'_>, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    let spare = buf.spare_capacity_mut();
    let room = spare.len().min(max);
    // SAFETY: the pointer and length describe spare capacity that is borrowed for the call.
    let n = unsafe { libc::read(fd.as_raw_fd(), spare.as_mut_ptr().cast(), room) };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    let len = buf.len() + n.min(room);
    // SAFETY: the kernel has written n bytes behind the old length, and n <= room.
    unsafe { buf.set_len(len) };
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_read_stands_behind_what_was_there() {
        let (mut to, from) = UnixStream::pair().expect("two sockets");
        from.set_nonblocking(true).expect("an open socket");
        to.write_all(b"world!").expect("room in the socket");
        let mut buf = b"hello ".to_vec();
        buf.reserve_exact(100);
        let at = buf.as_ptr();
        assert_eq!(read_behind(from.as_fd(), &mut buf, 5).expect("readable"), 5);
        assert_eq!((&buf[..], buf.as_ptr()), (&b"hello world"[..], at));
        assert_eq!(
            read_behind(from.as_fd(), &mut buf, 500).expect("readable"),
            1
        );
        let error = read_behind(from.as_fd(), &mut buf, 500).expect_err("empty");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(to);
        assert_eq!(read_behind(from.as_fd(), &mut buf, 500).expect("ended"), 0);
        assert_eq!(buf, b"hello world!");
    }
}
