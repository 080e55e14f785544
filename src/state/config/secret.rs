//! Secrets of the configuration: values that are wiped when they go, and that may come from a file of their own.
//!
//! A file keeps a secret out of the configuration, of command lines and of what CONFIG GET and CONFIG REWRITE tell:
//! such a value is used and never shown. Of a directive and its `-file` the one said last holds.

use std::fmt;
use std::io::Read;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

use super::file::errno_text;
use super::setting::{Origin, Reason, Rule, Setting, quoted};
use super::table::{Config, Directive, Key};

/// A longer file holds no password: it is another file.
const SECRET_BYTES_MAX: usize = 4096;
/// Where systemd puts what a unit's `LoadCredential=` names.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Text that is wiped from memory when it is dropped, and not printed by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl From<&[u8]> for Secret {
    fn from(text: &[u8]) -> Self {
        Self(text.to_vec())
    }
}

impl Deref for Secret {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Secret {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// A secret that is there or not: the empty text means that it is not.
impl Setting for Option<Secret> {
    fn parse(&mut self, words: &[&[u8]], _: &Rule, _: Origin) -> Result<(), Reason> {
        *self = (!words[0].is_empty()).then(|| words[0].into());
        Ok(())
    }

    fn show(&self, _: &Rule, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_deref().unwrap_or_default());
    }

    fn lines(&self, _: &Rule) -> Vec<Vec<u8>> {
        self.iter().map(|text| quoted(text)).collect()
    }
}

/// A secret and the directive that names its file.
struct Pair {
    secret: Key,
    file: Key,
    path: fn(&mut Config) -> &mut Option<Vec<u8>>,
    value: fn(&mut Config) -> &mut Option<Secret>,
}

macro_rules! pairs {
    ($($secret:ident <- $file:ident),* $(,)?) => {
        &[$(Pair {
            secret: Key::$secret,
            file: Key::$file,
            path: |config| &mut config.$file,
            value: |config| &mut config.$secret,
        }),*]
    };
}

static PAIRS: &[Pair] = pairs![
    requirepass <- requirepass_file,
    masterauth <- masterauth_file,
    tls_key_file_pass <- tls_key_file_pass_file,
    tls_client_key_file_pass <- tls_client_key_file_pass_file,
];

/// A directive was given a value: a secret no longer comes from its file, or only comes from it.
pub(super) fn given(config: &mut Config, key: Key) {
    for pair in PAIRS {
        if pair.secret == key {
            *(pair.path)(config) = None;
        } else if pair.file == key {
            *(pair.value)(config) = None;
        }
    }
}

/// Reads the secrets whose files `concerned` names; the ones that were read. An error names the directive and says
/// what is wrong with its file.
pub(super) fn read_files(
    config: &mut Config,
    concerned: impl Fn(Key) -> bool,
) -> Result<Vec<Key>, (Key, String)> {
    let mut read = Vec::new();
    for pair in PAIRS {
        if !concerned(pair.file) {
            continue;
        }
        if let Some(path) = (pair.path)(config).clone() {
            let path = place(config, &path);
            let secret = read_file(&path).map_err(|reason| (pair.file, reason))?;
            *(pair.value)(config) = Some(secret);
        }
        read.push(pair.secret);
    }
    Ok(read)
}

/// Is the value of this directive one that came from a file, and is not to be shown?
pub(super) fn is_hidden(config: &Config, key: Key) -> bool {
    let pair = PAIRS.iter().find(|pair| pair.secret == key);
    let file = pair.map(|pair| Directive::of(pair.file));
    file.is_some_and(|file| !file.show(config).is_empty())
}

/// A bare name is one of systemd's credentials where there is such a one; else the server's folder counts.
fn place(config: &Config, path: &[u8]) -> PathBuf {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    if path.components().count() == 1
        && !path.is_absolute()
        && let Some(folder) = std::env::var_os(CREDENTIALS)
    {
        let credential = Path::new(&folder).join(path);
        if credential.exists() {
            return credential;
        }
    }
    config.dir.0.join(path)
}

/// The secret in a file: all of it, but for the end of its line.
fn read_file(path: &Path) -> Result<Secret, String> {
    let fault = |what: &str| format!("{what} '{}'", path.display());
    let cannot = |error: std::io::Error| {
        let reason = errno_text(&error);
        format!("can't read '{}': {reason}", path.display())
    };
    let file = std::fs::File::open(path).map_err(cannot)?;
    let about = file.metadata().map_err(cannot)?;
    if about.is_file() && about.mode() & 0o007 != 0 {
        log::warn!("{}", fault("WARNING: anybody may read the secret in"));
    }
    // Its room is there before: what grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 2));
    let mut limited = file.take(SECRET_BYTES_MAX as u64 + 2);
    limited.read_to_end(&mut text).map_err(cannot)?;
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let secret = line.strip_suffix(b"\r").unwrap_or(line);
    match secret {
        [] => Err(fault("there is no secret in")),
        secret if secret.len() > SECRET_BYTES_MAX => Err(fault("too much for a secret is in")),
        secret if secret.contains(&b'\n') => Err(fault("more than one line is in")),
        secret => Ok(secret.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::config::access::{self, Caller, always};
    use crate::state::config::file::{self, Lookups};
    use crate::state::config::rewrite::rewrite;
    use crate::state::config::table::{DIRECTIVES, SENSITIVE};

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn put(&self, name: &str, text: &[u8]) -> String {
            let path = self.0.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.to_str().expect("a name").to_owned()
        }
    }

    fn set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<access::Changed, String> {
        let pairs: Vec<(&[u8], &[u8])> = pairs
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        access::set(config, &pairs, Caller::default(), &mut always)
    }

    fn loaded(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        let outcome = file::load(&mut config, text.as_bytes(), Lookups::ANY);
        outcome.map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_secret_is_the_one_line_of_its_file() {
        let folder = Folder::new();
        for (text, secret) in [
            (&b"s3cret"[..], Ok(&b"s3cret"[..])),
            (b"s3 cret \r\n", Ok(b"s3 cret ")),
            (b"\xff\0\n", Ok(b"\xff\0")),
            (b"", Err("there is no secret in")),
            (b"\n", Err("there is no secret in")),
            (b"a\nb", Err("more than one line is in")),
            (&[b'x'; 5000], Err("too much for a secret is in")),
        ] {
            let path = folder.put("secret", text);
            match (read_file(Path::new(&path)), secret) {
                (Ok(read), Ok(secret)) => assert_eq!(&*read, secret),
                (Err(error), Err(what)) => assert!(error.starts_with(what), "{error}"),
                (read, _) => panic!("{read:?}"),
            }
        }
        assert_eq!(
            read_file(Path::new("/no/such")).expect_err("not there"),
            "can't read '/no/such': No such file or directory"
        );
    }

    #[test]
    fn a_secret_from_a_file_is_used_and_not_shown() {
        let folder = Folder::new();
        let path = folder.put("pass", b"s3cret\n");
        let mut config = loaded(&format!("requirepass old\nrequirepass-file {path}\nport 1"))
            .expect("all is right");
        assert_eq!(config.requirepass.as_deref(), Some(&b"s3cret"[..]));
        let shown = access::get(&config, &[b"requirepass*"]);
        let shown: Vec<_> = shown.into_iter().map(|(_, value)| value).collect();
        assert_eq!(shown, [b"".to_vec(), path.as_bytes().to_vec()]);
        let text = rewrite(b"requirepass old\n", &config, false);
        let text = String::from_utf8(text).expect("text");
        assert!(
            !text.contains("s3cret") && !text.contains("requirepass old"),
            "{text}"
        );
        assert!(
            text.contains(&format!("requirepass-file \"{path}\"")),
            "{text}"
        );

        // The file is read again when it is named again, and what is said last holds.
        folder.put("pass", b"other\n");
        let changed = set(&mut config, &[("requirepass-file", &path)]).expect("read");
        assert!(changed.has(Key::requirepass));
        assert_eq!(config.requirepass.as_deref(), Some(&b"other"[..]));
        let both = [
            ("requirepass-file", path.as_str()),
            ("requirepass", "plain"),
        ];
        set(&mut config, &both).expect("both may be named");
        assert_eq!(config.requirepass.as_deref(), Some(&b"plain"[..]));
        assert_eq!(config.requirepass_file, None);
        set(&mut config, &[("requirepass-file", "")]).expect("taken back");
        assert_eq!(config.requirepass, None);
    }

    #[test]
    fn a_file_that_cannot_be_read_changes_nothing() {
        let mut config = loaded("masterauth plain").expect("right");
        let error = set(&mut config, &[("masterauth-file", "/no/such")]).expect_err("not there");
        assert_eq!(
            error,
            "ERR CONFIG SET failed (possibly related to argument 'masterauth-file') - can't read \
             '/no/such': No such file or directory"
        );
        assert_eq!(config.masterauth.as_deref(), Some(&b"plain"[..]));
        let error = loaded("masterauth-file /no/such").err().unwrap_or_default();
        assert!(
            error.contains("masterauth-file: can't read '/no/such'"),
            "{error}"
        );
    }

    #[test]
    fn every_secret_has_a_file() {
        for directive in DIRECTIVES
            .iter()
            .filter(|directive| directive.is(SENSITIVE))
        {
            // The user's name for the primary is kept out of logs, but it is no secret.
            let excepted = directive.key == Key::masteruser;
            let paired = PAIRS.iter().any(|pair| pair.secret == directive.key);
            assert!(paired || excepted, "{}", directive.name);
        }
        for pair in PAIRS {
            let (secret, file) = (Directive::of(pair.secret), Directive::of(pair.file));
            assert_eq!(file.name, format!("{}-file", secret.name));
        }
    }

    #[test]
    fn no_secret_is_printed() {
        assert_eq!(format!("{:?}", Secret::from(&b"s3cret"[..])), "(redacted)");
        for (line, shown) in [
            ("port x", "port x"),
            ("RequirePass s3cret s3cret", "RequirePass (redacted)"),
            ("masterauth \"s3cret", "masterauth (redacted)"),
            (
                "user a on >s3cret \"#s3cret\" ~k +x",
                "user a on (redacted) (redacted) ~k +x",
            ),
        ] {
            assert_eq!(file::without_secrets(line.as_bytes()), shown.as_bytes());
        }
    }
}
