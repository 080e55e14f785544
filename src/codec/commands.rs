//! Writing requests: what a client would send to make a value.
//!
//! A request says first how many arguments it has, so whoever writes one has to know that beforehand; that
//! as many follow is checked in tests.
use super::Sink;
use crate::base::num;

/// Elements of a collection in one command: few enough that loading it is a short piece of work, and what
/// Redis has.
const ITEMS_PER_COMMAND: usize = 64;

/// Writes requests to a file or to memory.
pub struct Commands<'s, 'w> {
    sink: &'s mut Sink<'w>,
    /// Arguments of the last command that are still to come.
    owed: usize,
    /// Used again for each double.
    digits: Vec<u8>,
}

impl<'s, 'w> Commands<'s, 'w> {
    /// Writes to this sink, and to its end: nobody else may write between two arguments.
    pub fn new(sink: &'s mut Sink<'w>) -> Commands<'s, 'w> {
        Commands {
            sink,
            owed: 0,
            digits: Vec::new(),
        }
    }

    /// Did the file refuse something already?
    pub fn failed(&self) -> bool {
        self.sink.failed()
    }

    /// Begins a command of that name, behind which so many arguments follow.
    #[inline]
    pub fn command(&mut self, name: &str, args: usize) {
        debug_assert_eq!(self.owed, 0, "an argument is missing in front of {name}");
        self.header(b'*', args + 1);
        self.owed = args + 1;
        self.bulk(name.as_bytes());
    }

    /// The next argument.
    #[inline]
    pub fn bulk(&mut self, text: &[u8]) {
        debug_assert!(self.owed > 0, "an argument too many");
        self.owed = self.owed.wrapping_sub(1);
        self.header(b'$', text.len());
        self.sink.raw(text);
        self.sink.raw(b"\r\n");
    }

    /// A number as the next argument.
    #[inline]
    pub fn int(&mut self, int: i64) {
        let mut room = [0; 20];
        self.bulk(num::fmt_i64(int, &mut room));
    }

    /// A number without a sign as the next argument.
    #[inline]
    pub fn uint(&mut self, int: u64) {
        self.bulk(itoa::Buffer::new().format(int).as_bytes());
    }

    /// A double as the next argument: read again, it is the same.
    #[inline]
    pub fn double(&mut self, double: f64) {
        let mut digits = std::mem::take(&mut self.digits);
        digits.clear();
        num::fmt_f64(double, &mut digits);
        self.bulk(&digits);
        self.digits = digits;
    }

    /// Commands that put so many elements into a collection, of which each takes `width` arguments.
    pub fn items<'c>(
        &'c mut self,
        name: &'static str,
        key: &'c [u8],
        count: usize,
        width: usize,
    ) -> Items<'c, 's, 'w> {
        Items {
            out: self,
            name,
            key,
            width,
            left: count,
            here: 0,
        }
    }

    #[inline]
    fn header(&mut self, kind: u8, count: usize) {
        const ROOM: usize = 23;
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(count).as_bytes();
        let mut head = [kind; ROOM];
        let end = 1 + digits.len();
        head[1..end].copy_from_slice(digits);
        head[end..end + 2].copy_from_slice(b"\r\n");
        self.sink.raw(&head[..end + 2]);
    }
}

impl Drop for Commands<'_, '_> {
    fn drop(&mut self) {
        debug_assert!(
            self.owed == 0 || std::thread::panicking(),
            "a command half written"
        );
    }
}

/// The elements of a collection, a few to each command.
pub struct Items<'c, 's, 'w> {
    out: &'c mut Commands<'s, 'w>,
    name: &'static str,
    key: &'c [u8],
    width: usize,
    /// Elements for which there is no command yet.
    left: usize,
    /// Elements that the command in hand still takes.
    here: usize,
}

impl<'s, 'w> Items<'_, 's, 'w> {
    /// The next element: write its arguments.
    #[inline]
    pub fn item(&mut self) -> &mut Commands<'s, 'w> {
        if self.here == 0 {
            self.here = self.left.min(ITEMS_PER_COMMAND);
            self.left -= self.here;
            self.out.command(self.name, 1 + self.here * self.width);
            self.out.bulk(self.key);
        }
        debug_assert!(self.here > 0, "an element too many");
        self.here = self.here.wrapping_sub(1);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Commands<'_, '_>)) -> String {
        let mut sink = Sink::to_memory(false);
        write(&mut Commands::new(&mut sink));
        String::from_utf8(sink.into_vec()).expect("ascii")
    }

    #[test]
    fn commands_are_written_as_clients_send_them() {
        let text = written(|out| {
            out.command("ZADD", 5);
            out.bulk(b"key");
            out.double(0.1);
            out.int(-5);
            out.uint(u64::MAX);
            out.bulk(b"");
        });
        assert_eq!(
            text,
            "*6\r\n$4\r\nZADD\r\n$3\r\nkey\r\n$3\r\n0.1\r\n$2\r\n-5\r\n$20\r\n18446744073709551615\r\n\
             $0\r\n\r\n"
        );
    }

    #[test]
    fn a_large_collection_takes_several_commands() {
        for (count, heads) in [
            (0, &[][..]),
            (1, &["*4"]),
            (64, &["*130"]),
            (65, &["*130", "*4"]),
            (130, &["*130", "*130", "*6"]),
        ] {
            let text = written(|out| {
                let mut items = out.items("HSET", b"k", count, 2);
                for _ in 0..count {
                    let out = items.item();
                    out.bulk(b"f");
                    out.bulk(b"v");
                }
            });
            let found: Vec<_> = text.lines().filter(|line| line.starts_with('*')).collect();
            assert_eq!(found, heads, "{count}");
        }
    }
}
