//! An unordered pile of words in linked chunks of 512 bytes: 8.3 bytes a word, where a `Vec` that
//! doubles holds up to 16, and nothing is ever copied to grow.

/// Words of a chunk.
pub(super) const CHUNK: usize = 63;

/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = size_of::<Chunk>();

const _: () = assert!(CHUNK_BYTES == 512);

struct Chunk {
    next: Option<Box<Chunk>>,
    words: [u64; CHUNK],
}

#[derive(Default)]
pub(super) struct List {
    /// The chunk that takes the next word; those behind it are full.
    head: Option<Box<Chunk>>,
    /// Words in the head; 1..=CHUNK when there is a head.
    filled: usize,
}

impl List {
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Returns whether a chunk was allocated.
    #[inline]
    pub(super) fn push(&mut self, word: u64) -> bool {
        if let Some(chunk) = &mut self.head
            && let Some(place) = chunk.words.get_mut(self.filled)
        {
            *place = word;
            self.filled += 1;
            return false;
        }
        let mut words = [0; CHUNK];
        words[0] = word;
        let next = self.head.take();
        self.head = Some(Box::new(Chunk { next, words }));
        self.filled = 1;
        true
    }

    /// The words, in pieces.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u64]> {
        let mut filled = self.filled;
        std::iter::successors(self.head.as_deref(), |chunk| chunk.next.as_deref()).map(
            move |chunk| {
                let words = &chunk.words[..filled];
                filled = CHUNK;
                words
            },
        )
    }

    /// Moves up to `max` words, all from one chunk, to the end of `out`. Returns whether a chunk
    /// was freed.
    pub(super) fn pop(&mut self, max: usize, out: &mut Vec<u64>) -> bool {
        let Some(chunk) = &mut self.head else {
            return false;
        };
        let left = self.filled.saturating_sub(max);
        out.extend_from_slice(&chunk.words[left..self.filled]);
        self.filled = left;
        if left > 0 {
            return false;
        }
        self.head = chunk.next.take();
        self.filled = if self.head.is_some() { CHUNK } else { 0 };
        true
    }
}

impl Drop for List {
    /// One chunk after the other: the derived drop would recurse once for each chunk.
    fn drop(&mut self) {
        while let Some(mut chunk) = self.head.take() {
            self.head = chunk.next.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_pushed_and_counts_its_chunks() {
        let mut list = List::default();
        let allocated = (0..200u64).filter(|&word| list.push(word)).count();
        let mut shown: Vec<u64> = list.pieces().flatten().copied().collect();
        shown.sort_unstable();
        assert!(shown.into_iter().eq(0..200));
        let (mut out, mut freed) = (Vec::new(), 0);
        while !list.is_empty() {
            freed += usize::from(list.pop(10, &mut out));
        }
        assert_eq!((allocated, freed), (4, 4));
        out.sort_unstable();
        assert!(out.iter().copied().eq(0..200));
    }

    #[test]
    fn a_very_long_list_is_dropped_without_recursion() {
        let mut list = List::default();
        let words = if cfg!(miri) { 1000 } else { 4_000_000 };
        let chunks = (0..words).filter(|&word| list.push(word)).count();
        assert_eq!(chunks, (words as usize).div_ceil(CHUNK));
    }
}
