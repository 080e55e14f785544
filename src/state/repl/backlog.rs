//! The newest bytes of the replication stream, kept once for everybody who reads it.
//!
//! Blocks of one size, the oldest first. A replica is an offset into them, so that a slow one costs what it has
//! not read, and ten of them cost no more than the slowest. What is older than the backlog's size, and still
//! unsent to somebody, is there for everybody, as in Redis.
use std::collections::VecDeque;
use std::io::IoSlice;

/// Bytes of a block: one write's worth, and few enough that a small backlog is not rounded up by much.
const BLOCK: usize = 16 << 10;

/// The newest part of the stream.
#[derive(Debug, Default)]
pub struct Backlog {
    /// All but the last are full.
    blocks: VecDeque<Vec<u8>>,
    /// A block that was let go of, for the next one.
    spare: Option<Vec<u8>>,
    /// Blocks that were begun since it was last trimmed.
    begun: usize,
    /// Offset of the first byte of the first block.
    base: u64,
    /// Offset of the oldest byte that may be asked for.
    start: u64,
    end: u64,
}

impl Backlog {
    /// An empty one, at this offset of the stream.
    pub fn new(at: u64) -> Backlog {
        Backlog {
            base: at,
            start: at,
            end: at,
            ..Backlog::default()
        }
    }

    /// Offset behind the newest byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Offset of the oldest byte that may be asked for.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Can the stream be read from here on?
    pub fn has(&self, offset: u64) -> bool {
        (self.start..=self.end).contains(&offset)
    }

    /// Bytes that may be asked for.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that it holds.
    pub fn heap_bytes(&self) -> usize {
        (self.blocks.len() + usize::from(self.spare.is_some())) * BLOCK
            + self.blocks.capacity() * size_of::<Vec<u8>>()
    }

    /// Appends to the stream.
    pub fn push(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = match self.blocks.back_mut() {
                Some(last) if last.len() < BLOCK => last,
                _ => {
                    let fresh = self.spare.take();
                    let fresh = fresh.unwrap_or_else(|| Vec::with_capacity(BLOCK));
                    self.blocks.push_back(fresh);
                    self.begun += 1;
                    continue;
                }
            };
            let n = bytes.len().min(BLOCK - room.len());
            room.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
        }
    }

    /// What lies behind this offset, in up to `out.len()` pieces; how many there are. Nothing where it is not
    /// there any more, or not yet.
    pub fn pieces<'a>(&'a self, offset: u64, out: &mut [IoSlice<'a>]) -> usize {
        let Some(at) = offset.checked_sub(self.base).filter(|_| offset < self.end) else {
            return 0;
        };
        let (first, mut skip) = (at as usize / BLOCK, at as usize % BLOCK);
        let mut n = 0;
        for (block, piece) in self.blocks.range(first..).zip(out) {
            *piece = IoSlice::new(&block[skip..]);
            skip = 0;
            n += 1;
        }
        n
    }

    /// Bytes from this offset on, which lie in one of the [`pieces`](Backlog::pieces).
    pub fn slice(&self, offset: u64, len: usize) -> &[u8] {
        let at = offset.saturating_sub(self.base) as usize;
        let block = self.blocks.get(at / BLOCK);
        let piece = block.and_then(|block| block.get(at % BLOCK..at % BLOCK + len));
        piece.unwrap_or_default()
    }

    /// Offset of the oldest byte that is still there for somebody.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Lets go of what lies before `needed`, of at most so many blocks more than have begun since the last time:
    /// what is let go of keeps up with what comes. True when there are more.
    pub fn trim(&mut self, needed: u64, most: usize) -> bool {
        self.start = self.start.max(needed.min(self.end));
        let most = most + std::mem::take(&mut self.begun);
        let mut gone = 0;
        while self.blocks.len() > 1 && self.base + BLOCK as u64 <= needed {
            if gone == most {
                return true;
            }
            gone += 1;
            self.spare = self.blocks.pop_front().map(|mut block| {
                block.clear();
                block
            });
            self.base += BLOCK as u64;
        }
        if self.blocks.capacity() > 64 + 4 * self.blocks.len() {
            // A replica that was far behind is gone.
            self.blocks.shrink_to(2 * self.blocks.len());
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(backlog: &Backlog, from: u64) -> Vec<u8> {
        let mut room = [IoSlice::new(&[]); 64];
        let n = backlog.pieces(from, &mut room);
        room[..n].iter().flat_map(|piece| piece.to_vec()).collect()
    }

    #[test]
    fn what_was_pushed_is_read_from_any_offset() {
        let text: Vec<u8> = (0..3 * BLOCK + 100).map(|i| (i % 251) as u8).collect();
        let mut backlog = Backlog::new(1000);
        for part in text.chunks(7919) {
            backlog.push(part);
        }
        let end = 1000 + text.len() as u64;
        assert_eq!((backlog.start(), backlog.end()), (1000, end));
        for skip in [
            0,
            1,
            BLOCK - 1,
            BLOCK,
            BLOCK + 1,
            text.len() - 1,
            text.len(),
        ] {
            let offset = 1000 + skip as u64;
            assert!(backlog.has(offset));
            assert_eq!(read(&backlog, offset), &text[skip..]);
        }
        assert!(!backlog.has(999) && !backlog.has(end + 1));
        assert_eq!(read(&backlog, 999), b"");
        assert_eq!(read(&backlog, end + 1), b"");
    }

    #[test]
    fn old_blocks_go_unless_somebody_has_not_read_them() {
        let mut backlog = Backlog::new(0);
        backlog.push(&vec![7; 4 * BLOCK]);
        let (end, size) = (backlog.end(), BLOCK as u64 + 10);
        backlog.trim(5, 9);
        assert_eq!(read(&backlog, 5).len(), 4 * BLOCK - 5);
        assert!(backlog.has(5) && !backlog.has(4));
        assert!(backlog.trim(end - size, 1), "one at a time");
        assert!(!backlog.trim(end - size, 9));
        assert_eq!(backlog.len(), size);
        assert_eq!(backlog.blocks.len(), 2);
        assert!(backlog.has(end - size) && !backlog.has(end - size - 1));
        backlog.trim(end, 9);
        backlog.push(b"abc");
        assert_eq!(read(&backlog, end), b"abc");
        assert!(backlog.heap_bytes() < 4 * BLOCK);
    }

    /// Else more and more of it is held where each turn brings more than is let go of at once.
    #[test]
    fn what_is_let_go_of_keeps_up_with_what_comes() {
        let mut backlog = Backlog::new(0);
        for _ in 0..20 {
            backlog.push(&vec![7; 10 * BLOCK]);
            backlog.trim(backlog.end() - BLOCK as u64, 1);
            assert!(backlog.blocks.len() <= 3, "{}", backlog.blocks.len());
        }
    }
}
