//! Writing RDB primitives.

use std::io;

use super::{ENCODED, INT_8, INT_16, INT_32, LEN_32, LEN_64, LZF};
use crate::base::crc64::Crc64;
use crate::base::lzf::Compressor;
use crate::base::num::{fmt_i64, parse_i64};

/// What is buffered before it is handed to a file: few writes, and small beside any data set.
const BUFFER: usize = 256 << 10;
/// Larger pieces go to the file from where they lie.
const DIRECT_MIN: usize = 64 << 10;
/// Redis tries to compress strings longer than this.
const COMPRESS_MIN: usize = 20;
/// Longer texts are not looked at as integers: 32 bits have no more digits.
const INT_TEXT_MAX: usize = 11;

/// Where values are saved to: a payload in memory, or a file behind a buffer.
///
/// Writing never fails in itself, so that saving a value is straight code: an error of the file is kept,
/// what follows is thrown away, and [`finish`](Sink::finish) and [`failed`](Sink::failed) tell.
pub struct Sink<'w> {
    buf: Vec<u8>,
    /// The buffer is handed on at this length.
    full_at: usize,
    out: Option<&'w mut dyn io::Write>,
    crc: Option<Crc64>,
    /// Bytes that left the buffer.
    gone: u64,
    failure: Option<io::Error>,
    compress: bool,
    lzf: Compressor,
    /// Used again for each compressed string.
    packed: Vec<u8>,
    /// The same for strings that are put together.
    built: Vec<u8>,
}

impl<'w> Sink<'w> {
    /// A payload in memory; `compress` is the configuration's `rdbcompression`.
    pub fn to_memory(compress: bool) -> Sink<'w> {
        Sink {
            buf: Vec::new(),
            full_at: usize::MAX,
            out: None,
            crc: None,
            gone: 0,
            failure: None,
            compress,
            lzf: Compressor::new(),
            packed: Vec::new(),
            built: Vec::new(),
        }
    }

    /// A file; `checksum` is the configuration's `rdbchecksum`.
    pub fn to_writer(out: &'w mut dyn io::Write, compress: bool, checksum: bool) -> Sink<'w> {
        Sink {
            buf: Vec::with_capacity(BUFFER + DIRECT_MIN),
            full_at: BUFFER,
            out: Some(out),
            crc: checksum.then(Crc64::new),
            ..Sink::to_memory(compress)
        }
    }

    /// Bytes written so far.
    pub fn position(&self) -> u64 {
        self.gone + self.buf.len() as u64
    }

    /// The payload of a sink in memory.
    pub fn into_vec(self) -> Vec<u8> {
        self.buf
    }

    /// The checksum of all bytes so far; 0 where none is taken.
    pub fn checksum(&mut self) -> u64 {
        self.flush();
        self.crc.as_ref().map_or(0, Crc64::value)
    }

    /// Did the file refuse something already?
    pub fn failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Hands the rest to the file. The number of bytes written in all, or the first error.
    pub fn finish(mut self) -> io::Result<u64> {
        self.flush();
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok(self.gone),
        }
    }

    /// Hands the buffer to the file.
    fn flush(&mut self) {
        if self.out.is_some() {
            let buf = std::mem::take(&mut self.buf);
            self.hand_on(&buf);
            self.buf = buf;
            self.buf.clear();
        }
    }

    fn hand_on(&mut self, bytes: &[u8]) {
        let Some(out) = self.out.as_mut() else { return };
        if self.failure.is_some() {
            return;
        }
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        match out.write_all(bytes) {
            Ok(()) => self.gone += bytes.len() as u64,
            Err(error) => self.failure = Some(error),
        }
    }

    #[inline]
    fn drain(&mut self) {
        if self.buf.len() >= self.full_at {
            self.flush();
        }
    }

    /// Bytes as they are.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        if bytes.len() >= DIRECT_MIN && self.out.is_some() {
            self.flush();
            self.hand_on(bytes);
            return;
        }
        self.buf.extend_from_slice(bytes);
        self.drain();
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self, byte: u8) {
        self.buf.push(byte);
        self.drain();
    }

    /// A length, or a number written as one.
    #[inline]
    pub fn len(&mut self, len: u64) {
        match len {
            0..0x40 => self.buf.push(len as u8),
            0x40..0x4000 => self
                .buf
                .extend_from_slice(&(0x4000 | len as u16).to_be_bytes()),
            0x4000..=0xFFFF_FFFF => {
                self.buf.push(LEN_32);
                self.buf.extend_from_slice(&(len as u32).to_be_bytes());
            }
            _ => {
                self.buf.push(LEN_64);
                self.buf.extend_from_slice(&len.to_be_bytes());
            }
        }
        self.drain();
    }

    /// A string in its shortest form: as a number where it is the text of one, compressed where that
    /// helps.
    #[inline]
    pub fn string(&mut self, text: &[u8]) {
        if text.len() <= INT_TEXT_MAX
            && let Some(int) = parse_i64(text)
            && self.short_int(int)
        {
            return;
        }
        if text.len() > COMPRESS_MIN && self.compress && self.compressed(text) {
            return;
        }
        self.len(text.len() as u64);
        self.raw(text);
    }

    /// A string that has to be put together first, in a buffer that is used again.
    pub fn string_of(&mut self, build: impl FnOnce(&mut Vec<u8>)) {
        let mut text = std::mem::take(&mut self.built);
        text.clear();
        build(&mut text);
        self.string(&text);
        if text.capacity() <= DIRECT_MIN {
            self.built = text;
        }
    }

    /// An integer as the string of its digits.
    #[inline]
    pub fn int_string(&mut self, int: i64) {
        if !self.short_int(int) {
            let mut room = [0; 20];
            let text = fmt_i64(int, &mut room);
            self.len(text.len() as u64);
            self.raw(text);
        }
    }

    fn short_int(&mut self, int: i64) -> bool {
        if let Ok(int) = i8::try_from(int) {
            self.buf
                .extend_from_slice(&[ENCODED | INT_8, int.cast_unsigned()]);
        } else if let Ok(int) = i16::try_from(int) {
            let [a, b] = int.to_le_bytes();
            self.buf.extend_from_slice(&[ENCODED | INT_16, a, b]);
        } else if let Ok(int) = i32::try_from(int) {
            let [a, b, c, d] = int.to_le_bytes();
            self.buf.extend_from_slice(&[ENCODED | INT_32, a, b, c, d]);
        } else {
            return false;
        }
        self.drain();
        true
    }

    /// Writes a string compressed, if that takes fewer bytes.
    fn compressed(&mut self, text: &[u8]) -> bool {
        let mut packed = std::mem::take(&mut self.packed);
        packed.clear();
        let fits = self.lzf.compress(text, text.len() - 4, &mut packed);
        if fits {
            self.lzf_string(&packed, text.len());
        }
        if packed.capacity() <= DIRECT_MIN {
            self.packed = packed;
        }
        fits
    }

    /// A string that was compressed before: `text_len` bytes before, these now.
    pub fn lzf_string(&mut self, packed: &[u8], text_len: usize) {
        self.buf.push(ENCODED | LZF);
        self.len(packed.len() as u64);
        self.len(text_len as u64);
        self.raw(packed);
    }

    /// A double as its eight bytes.
    #[inline]
    pub fn f64(&mut self, value: f64) {
        self.raw(&value.to_le_bytes());
    }

    /// Eight bytes, the lowest first: times in milliseconds, checksums.
    #[inline]
    pub fn u64_le(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Sink<'_>)) -> Vec<u8> {
        let mut sink = Sink::to_memory(true);
        write(&mut sink);
        sink.into_vec()
    }

    #[test]
    fn lengths_take_the_fewest_bytes() {
        for (len, bytes) in [
            (0, &[0][..]),
            (63, &[63]),
            (64, &[0x40, 64]),
            (16383, &[0x7F, 0xFF]),
            (16384, &[0x80, 0, 0, 0x40, 0]),
            (0xFFFF_FFFF, &[0x80, 0xFF, 0xFF, 0xFF, 0xFF]),
            (1 << 32, &[0x81, 0, 0, 0, 1, 0, 0, 0, 0]),
        ] {
            assert_eq!(written(|sink| sink.len(len)), bytes);
        }
    }

    #[test]
    fn strings_are_written_as_redis_does() {
        for (text, bytes) in [
            (&b""[..], &[0][..]),
            (b"12", &[0xC0, 12]),
            (b"-1", &[0xC0, 0xFF]),
            (b"128", &[0xC1, 128, 0]),
            (b"-32769", &[0xC2, 0xFF, 0x7F, 0xFF, 0xFF]),
            (b"2147483648", b"\x0A2147483648"),
            (b"012", b"\x03012"),
            (b"aaaaaaaaaaaaaaaaaaaa", b"\x14aaaaaaaaaaaaaaaaaaaa"),
            (
                b"aaaaaaaaaaaaaaaaaaaaa",
                &[0xC3, 5, 21, 0, b'a', 0xE0, 11, 0],
            ),
        ] {
            assert_eq!(written(|sink| sink.string(text)), bytes);
        }
        assert_eq!(written(|sink| sink.int_string(-5)), [0xC0, 251]);
        assert_eq!(written(|sink| sink.int_string(1 << 31)), b"\x0A2147483648");
        let mut sink = Sink::to_memory(false);
        sink.string(&[b'a'; 21]);
        assert_eq!(sink.into_vec(), b"\x15aaaaaaaaaaaaaaaaaaaaa");
    }

    #[test]
    fn a_file_gets_every_byte_and_its_checksum() {
        let text: Vec<u8> = (0..200_000u32).flat_map(u32::to_be_bytes).collect();
        let write = |sink: &mut Sink<'_>| {
            for part in [
                &text[..10],
                &text[..DIRECT_MIN],
                &text[..BUFFER],
                &text[..99],
            ] {
                sink.len(part.len() as u64);
                sink.raw(part);
                sink.string(&text[..DIRECT_MIN]);
            }
        };
        let expected = written(write);
        let mut file = Vec::new();
        let mut sink = Sink::to_writer(&mut file, true, true);
        write(&mut sink);
        assert_eq!(sink.position(), expected.len() as u64);
        assert_eq!(sink.checksum(), crate::base::crc64::crc64(&expected));
        assert_eq!(sink.finish().unwrap(), expected.len() as u64);
        assert_eq!(file, expected);
    }

    #[test]
    fn the_first_error_of_a_file_is_kept() {
        struct Full(usize);
        impl io::Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Ok(bytes.len()),
                    2 => Err(io::Error::from_raw_os_error(28)),
                    _ => panic!("written to after an error"),
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut full = Full(0);
        let mut sink = Sink::to_writer(&mut full, true, true);
        for _ in 0..4 {
            sink.raw(&[7; DIRECT_MIN]);
        }
        assert!(sink.failed());
        assert_eq!(sink.finish().unwrap_err().raw_os_error(), Some(28));
    }
}
