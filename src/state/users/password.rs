//! Passwords as they are kept: never as they are typed.
//!
//! SHA-256, as Redis keeps them, or Argon2id, which makes each guess cost memory and tens of
//! milliseconds. What is slow never runs here by itself: [`check`] answers what a digest can answer and
//! names the rest, which is the background thread's work ([`verify`], [`derive`]). Comparisons take the same time
//! wherever two secrets differ, and look at every password of a user, whichever fits.
use crate::base::alloc::LeftOut;
use crate::base::rng::os_bytes;
use crate::state::config::{Config, PasswordKdf};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64Unpadded, Encoding};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// Hexadecimal digits of a SHA-256 digest.
pub const SHA256_DIGITS: usize = 64;
/// Bytes of a salt that is made here, and of what is derived with it.
const SALT_BYTES: usize = 16;
const DERIVED_BYTES: usize = 32;
/// What a text from outside may ask for: memory (KiB), passes over it, lanes.
pub const MEMORY_KIB_MAX: u32 = 256 * 1024;
pub const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// One password of a user.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum PasswordHash {
    Sha256([u8; 32]),
    /// The PHC string, `$argon2id$v=19$m=..,t=..,p=..$salt$digest`; known to be well formed.
    Argon2id(Box<str>),
}

/// What a password costs to derive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub memory_kib: u32,
    pub passes: u32,
}

impl Cost {
    /// How passwords are derived under this configuration; none where their digest is kept.
    pub fn of(config: &Config) -> Option<Self> {
        (config.acl_password_kdf == PasswordKdf::Argon2id).then_some(Self {
            memory_kib: (config.acl_argon2id_memory >> 10) as u32,
            passes: config.acl_argon2id_passes,
        })
    }
}

/// Does a password fit one of a user's?
#[derive(Debug, PartialEq, Eq)]
pub enum Fit {
    Yes,
    No,
    /// No digest fits, but one of these may: see [`verify`].
    Ask(Vec<Box<str>>),
}

/// Why nothing could be derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotDerived(&'static str);

impl NotDerived {
    /// The words for it.
    pub fn text(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for NotDerived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Not the digest: it would help whoever reads a log.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PasswordHash::Sha256(_) => "Sha256(..)",
            PasswordHash::Argon2id(_) => "Argon2id(..)",
        })
    }
}

impl PasswordHash {
    /// The digest of a password.
    pub fn sha256(password: &[u8]) -> Self {
        PasswordHash::Sha256(Sha256::digest(password).into())
    }

    /// What stands behind `#` and `!` in a rule: 64 lowercase hexadecimal digits, or a PHC string of
    /// Argon2id.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.first() == Some(&b'$') {
            let text = std::str::from_utf8(text).ok()?;
            Phc::parse(text)?;
            return Some(PasswordHash::Argon2id(text.into()));
        }
        if text.len() != SHA256_DIGITS {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, digits) in digest.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digits.iter().try_fold(0, |high, digit| match digit {
                b'0'..=b'9' => Some(high << 4 | (digit - b'0')),
                b'a'..=b'f' => Some(high << 4 | (digit - b'a' + 10)),
                _ => None,
            })?;
        }
        Some(PasswordHash::Sha256(digest))
    }

    /// What [`PasswordHash::parse`] reads.
    pub fn text(&self) -> String {
        match self {
            PasswordHash::Argon2id(text) => text.to_string(),
            PasswordHash::Sha256(digest) => digest.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }),
        }
    }
}

/// Are two secrets equal? Digests are compared: neither the length nor the first difference shows
/// in the time it takes.
pub fn same_secret(a: &[u8], b: &[u8]) -> bool {
    Sha256::digest(a).ct_eq(&Sha256::digest(b)).into()
}

/// Does this password fit one of these, as far as can be told at once?
pub fn check(known: &[PasswordHash], password: &[u8]) -> Fit {
    let digest: [u8; 32] = Sha256::digest(password).into();
    let mut fits = Choice::from(0);
    let mut slow = Vec::new();
    for hash in known {
        match hash {
            PasswordHash::Sha256(wanted) => fits |= wanted.ct_eq(&digest),
            PasswordHash::Argon2id(text) => slow.push(text.clone()),
        }
    }
    if fits.into() {
        Fit::Yes
    } else if slow.is_empty() {
        Fit::No
    } else {
        Fit::Ask(slow)
    }
}

/// The parts of a PHC string.
struct Phc {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    derived: Zeroizing<Vec<u8>>,
}

impl Phc {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (costs, salt, derived) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let mut numbers = costs
            .split(',')
            .zip(["m=", "t=", "p="])
            .map(|(cost, name)| {
                let digits = cost.strip_prefix(name)?;
                // One way to write each number: equal passwords are found by their text.
                let plain = !digits.starts_with(['0', '+']);
                plain.then(|| digits.parse::<u32>().ok()).flatten()
            });
        let (memory_kib, passes, lanes) = (numbers.next()??, numbers.next()??, numbers.next()??);
        if costs.split(',').count() != 3 {
            return None;
        }
        let salt = Base64Unpadded::decode_vec(salt).ok()?;
        let derived = Zeroizing::new(Base64Unpadded::decode_vec(derived).ok()?);
        let sane = (1..=LANES_MAX).contains(&lanes)
            && (1..=PASSES_MAX).contains(&passes)
            && (8 * lanes..=MEMORY_KIB_MAX).contains(&memory_kib)
            && (8..=64).contains(&salt.len())
            && (16..=64).contains(&derived.len());
        sane.then_some(Self {
            memory_kib,
            passes,
            lanes,
            salt,
            derived,
        })
    }
}

fn argon2id(
    password: &[u8],
    salt: &[u8],
    (memory_kib, passes, lanes): (u32, u32, u32),
    out: &mut [u8],
) -> Result<(), NotDerived> {
    let params = Params::new(memory_kib, passes, lanes, Some(out.len()))
        .map_err(|_| NotDerived("Argon2id cannot be run at this cost"))?;
    let mut blocks: Vec<Block> = Vec::new();
    let count = params.block_count();
    blocks
        .try_reserve_exact(count)
        .map_err(|_| NotDerived("there is no memory for Argon2id"))?;
    // It is no part of the data: keys must not be evicted because somebody logs in.
    let _left_out = LeftOut::of(blocks.capacity() * Block::SIZE);
    blocks.resize(count, Block::new());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, out, &mut blocks)
        .map_err(|_| NotDerived("Argon2id refuses this password"))
}

/// Does the password fit one of these PHC strings? Slow: for the background thread. All are tried.
pub fn verify(phc: &[Box<str>], password: &[u8]) -> Result<Option<usize>, NotDerived> {
    let mut found = None;
    for (i, text) in phc.iter().enumerate() {
        let phc = Phc::parse(text).ok_or(NotDerived("not a PHC string of Argon2id"))?;
        let mut derived = Zeroizing::new(vec![0; phc.derived.len()]);
        let cost = (phc.memory_kib, phc.passes, phc.lanes);
        argon2id(password, &phc.salt, cost, &mut derived)?;
        if bool::from(derived.ct_eq(&phc.derived)) {
            found = found.or(Some(i));
        }
    }
    Ok(found)
}

/// A password as a PHC string with a salt of its own. Slow: for the background thread.
pub fn derive(password: &[u8], cost: Cost) -> Result<PasswordHash, NotDerived> {
    let mut salt = [0; SALT_BYTES];
    os_bytes(&mut salt).map_err(|_| NotDerived("the system gives no random bytes"))?;
    let Cost { memory_kib, passes } = cost;
    let mut derived = Zeroizing::new([0; DERIVED_BYTES]);
    argon2id(password, &salt, (memory_kib, passes, 1), &mut *derived)?;
    Ok(phc(cost, &salt, &*derived))
}

/// What costs as much to compare with as a password, and is none. The key is a secret of this process.
pub fn unfitting(cost: Cost, key: &[u8; 32]) -> PasswordHash {
    let derived: [u8; DERIVED_BYTES] = Sha256::digest(key).into();
    phc(cost, &derived[..SALT_BYTES], &derived)
}

fn phc(cost: Cost, salt: &[u8], derived: &[u8]) -> PasswordHash {
    let Cost { memory_kib, passes } = cost;
    let salt = Base64Unpadded::encode_string(salt);
    let derived = Base64Unpadded::encode_string(derived);
    let text = format!("$argon2id$v=19$m={memory_kib},t={passes},p=1${salt}${derived}");
    PasswordHash::Argon2id(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost {
        memory_kib: 64,
        passes: 1,
    };

    #[test]
    fn a_digest_is_64_lowercase_digits() {
        let text = b"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        let hash = PasswordHash::parse(text).expect("well formed");
        assert_eq!(hash, PasswordHash::sha256(b"test"));
        assert_eq!(hash.text().as_bytes(), text);
        assert_eq!(PasswordHash::parse(&text.to_ascii_uppercase()), None);
        assert_eq!(PasswordHash::parse(&text[1..]), None);
        assert_eq!(PasswordHash::parse(b""), None);
    }

    /// A known answer of the reference program: password `password`, salt `somesalt`.
    #[test]
    fn other_programs_derive_the_same() {
        let known =
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(verify(&[known.into()], b"password"), Ok(Some(0)));
        assert_eq!(verify(&[known.into()], b"Password"), Ok(None));
    }

    #[test]
    fn a_phc_string_is_checked_part_by_part() {
        let good =
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert!(PasswordHash::parse(good.as_bytes()).is_some());
        for (part, other) in [
            ("argon2id", "argon2i"),
            ("v=19", "v=16"),
            ("m=64", "m=4194304"),
            ("m=64", "m=064"),
            ("m=64", "m=7"),
            ("t=1", "t=0"),
            ("t=1", "t=1000"),
            ("p=1", "p=1,x=2"),
            ("t=1,", ""),
            ("c29tZXNhbHQ", "c2E"),
            ("c29tZXNhbHQ", "c29tZXNhbHQ="),
            ("$AAAA", "$AAAA$AAAA"),
            ("$AAAA", "$!AAA"),
        ] {
            let bad = good.replacen(part, other, 1);
            assert_eq!(PasswordHash::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_was_derived_is_verified() {
        let one = derive(b"one", CHEAP).expect("derived");
        let two = derive(b"two", CHEAP).expect("derived");
        assert_ne!(one, derive(b"one", CHEAP).expect("derived"), "salted");
        assert_eq!(
            PasswordHash::parse(one.text().as_bytes()),
            Some(one.clone())
        );
        let Fit::Ask(slow) = check(&[PasswordHash::sha256(b"x"), one, two], b"two") else {
            panic!("only the background thread can tell");
        };
        assert_eq!(verify(&slow, b"two"), Ok(Some(1)));
        assert_eq!(verify(&slow, b"one"), Ok(Some(0)));
        assert_eq!(verify(&slow, b"three"), Ok(None));
    }

    #[test]
    fn a_digest_that_fits_needs_no_work() {
        let slow = derive(b"slow", CHEAP).expect("derived");
        let known = [slow, PasswordHash::sha256(b"fast")];
        assert_eq!(check(&known, b"fast"), Fit::Yes);
        assert_eq!(check(&known[1..], b"slow"), Fit::No);
        assert_eq!(check(&[], b""), Fit::No);
    }

    #[test]
    fn secrets_are_compared_whole() {
        assert!(same_secret(b"abc\0def", b"abc\0def"));
        assert!(!same_secret(b"abc\0def", b"abc"));
        assert!(!same_secret(b"", b"a"));
    }

    #[test]
    fn what_is_printed_for_debugging_shows_no_digest() {
        let shown = format!("{:?}", PasswordHash::sha256(b"test"));
        assert!(!shown.contains("9f"), "{shown}");
    }
}
