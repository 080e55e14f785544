//! The checksum of RDB files and DUMP payloads: CRC-64 with Jones's polynomial, reflected, from
//! zero, nothing added at the end.
//!
//! The arithmetic is crc-fast's (carry-less multiplication where the machine has it: tens of
//! gigabytes a second, so a snapshot does not feel it); this file gives it the shape we need.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of bytes that come in pieces.
#[derive(Clone, Debug)]
pub struct Crc64(Digest);

impl Default for Crc64 {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc64 {
    /// Of nothing yet.
    pub fn new() -> Crc64 {
        Crc64(Digest::new(CrcAlgorithm::Crc64Redis))
    }

    /// Adds the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all pieces so far.
    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

/// The checksum of bytes that are there at once.
pub fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Redis, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    /// Bit by bit, from the definition.
    fn slowly(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |crc, &byte| {
            (0..8).fold(crc ^ u64::from(byte), |crc, _| {
                crc >> 1
                    ^ if crc & 1 == 1 {
                        0x95AC_9329_AC4B_C9B5
                    } else {
                        0
                    }
            })
        })
    }

    #[test]
    fn is_the_checksum_redis_takes() {
        assert_eq!(crc64(b"123456789"), 0xE9C6_D914_C4B8_D9CA);
        assert_eq!(crc64(b""), 0);
        let mut rng = Rng::from_seed(1);
        for len in 0..if cfg!(miri) { 20 } else { 600 } {
            let mut bytes = vec![0; len];
            rng.fill(&mut bytes);
            let (front, back) = bytes.split_at(rng.below(len as u64 + 1) as usize);
            let mut crc = Crc64::new();
            crc.update(front);
            crc.value();
            crc.update(back);
            assert_eq!([crc.value(), crc64(&bytes)], [slowly(&bytes); 2], "{len}");
        }
    }
}
