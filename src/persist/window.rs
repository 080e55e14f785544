//! A file read from its beginning to its end, through a window that grows only by what was really read.
//!
//! For readers that take bytes up again when more have come. No length that the file claims reserves
//! anything: memory follows the bytes that are there.
use std::io::{self, Read};

use crate::base::disk::{DiskFile, Stream};

/// Bytes asked for at least.
const CHUNK: usize = 256 << 10;

/// The part of a file that is at hand.
pub struct Window<'a> {
    file: &'a dyn DiskFile,
    bytes: Vec<u8>,
    /// 0 <= used <= bytes.len()
    used: usize,
    /// Bytes of the file before `bytes`.
    gone: u64,
    /// Bytes of the file that may be read: it may be growing while it is read.
    end: u64,
}

impl<'a> Window<'a> {
    /// The file as long as it is now.
    pub fn new(file: &'a dyn DiskFile) -> io::Result<Window<'a>> {
        let end = file.size()?;
        Ok(Window {
            file,
            bytes: Vec::new(),
            used: 0,
            gone: 0,
            end,
        })
    }

    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        self.end
    }

    /// Offset in the file of the next byte.
    pub fn position(&self) -> u64 {
        self.gone + self.used as u64
    }

    /// The bytes at hand.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Steps over bytes that are at hand.
    pub fn take(&mut self, count: usize) {
        self.used += count.min(self.bytes.len() - self.used);
    }

    /// Gets more bytes, `missing` of them or more where there are so many; how many came. The window
    /// doubles, so that what is taken up again and again is read once or twice, not a hundred times.
    pub fn more(&mut self, missing: usize) -> io::Result<usize> {
        self.bytes.drain(..self.used);
        self.gone += self.used as u64;
        self.used = 0;
        let left = self.end - (self.gone + self.bytes.len() as u64);
        let wanted = missing.max(self.bytes.len()).max(CHUNK) as u64;
        Stream(self.file)
            .take(wanted.min(left))
            .read_to_end(&mut self.bytes)
    }

    /// Steps over bytes that need not be looked at; how many there were.
    pub fn skip(&mut self, count: u64) -> io::Result<u64> {
        let mut left = count;
        loop {
            let here = left.min(self.rest().len() as u64);
            self.take(here as usize);
            left -= here;
            if left == 0 || self.more(1)? == 0 {
                return Ok(count - left);
            }
        }
    }

    /// Is there a byte left? Then at least one is at hand.
    pub fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.rest().is_empty() {
            self.more(1)?;
        }
        Ok(self.rest().first().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::disk::{Disk, RealDisk};
    use std::io::Write;

    #[test]
    fn a_file_is_stepped_through() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let file = RealDisk.create(&path).expect("created");
        let bytes: Vec<u8> = (0..3 * CHUNK).map(|at| at as u8).collect();
        Stream(&*file).write_all(&bytes).expect("written");
        let file = RealDisk.open(&path).expect("opened");
        let mut window = Window::new(&*file).expect("sized");
        assert_eq!(window.peek().expect("read"), Some(0));
        assert_eq!(
            window.skip(CHUNK as u64 + 5).expect("read"),
            CHUNK as u64 + 5
        );
        assert_eq!(window.peek().expect("read"), Some(5));
        assert_eq!(window.position(), CHUNK as u64 + 5);
        let there = window.rest().len();
        let came = window.more(there + 1).expect("read");
        assert_eq!(window.rest()[..10], bytes[CHUNK + 5..CHUNK + 15]);
        assert!(came > 0 && window.rest().len() == there + came);
        assert_eq!(window.skip(u64::MAX).expect("read"), 2 * CHUNK as u64 - 5);
        assert_eq!(window.peek().expect("read"), None);
        assert_eq!(window.position(), window.size());
    }
}
