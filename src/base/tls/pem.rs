//! PEM: what stands between `-----BEGIN x-----` and `-----END x-----` in a file; everything else there is
//! comment.

use base64ct::Encoding;

/// One such part.
#[derive(Debug)]
pub struct Section {
    /// What it says it is: `CERTIFICATE`, `PRIVATE KEY`, ...
    pub label: String,
    pub der: Vec<u8>,
    /// It is encrypted in the old way, by lines of its own.
    pub old_encryption: bool,
}

/// The parts of a file, in order. The error says what is wrong with the first broken one.
pub fn sections(text: &[u8]) -> Result<Vec<Section>, &'static str> {
    let mut found = Vec::new();
    let mut open: Option<(String, Vec<u8>, bool)> = None;
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        let bare = |prefix: &[u8]| {
            let label = line.strip_prefix(prefix)?.strip_suffix(b"-----")?;
            Some(String::from_utf8_lossy(label).into_owned())
        };
        if let Some(label) = bare(b"-----BEGIN ") {
            if open.is_some() {
                return Err("a part begins inside another one");
            }
            open = Some((label, Vec::new(), false));
        } else if let Some(label) = bare(b"-----END ") {
            let Some((begun, digits, old_encryption)) = open.take() else {
                continue;
            };
            if begun != label {
                return Err("a part ends under another name than it began");
            }
            let der = decode(&digits).ok_or("a part is not base64")?;
            found.push(Section {
                label,
                der,
                old_encryption,
            });
        } else if let Some((_, digits, old_encryption)) = &mut open {
            if line.contains(&b':') {
                *old_encryption |=
                    line.starts_with(b"Proc-Type:") || line.starts_with(b"DEK-Info:");
            } else {
                digits.extend_from_slice(line);
            }
        }
    }
    match open {
        Some(_) => Err("a part has no end"),
        None => Ok(found),
    }
}

/// In constant time: it may be a key.
fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    base64ct::Base64::decode_vec(std::str::from_utf8(digits).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_between_comments() {
        let text = "Bag Attributes\n  x: y\n-----BEGIN A B-----\r\nAQID\r\nBA==\r\n-----END A B-----\n\
                    -----END C-----\n-----BEGIN C-----\nProc-Type: 4,ENCRYPTED\n\nAQ==\n-----END C-----";
        let found = sections(text.as_bytes()).expect("well-formed");
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].label.as_str(), &found[0].der[..]),
            ("A B", &[1, 2, 3, 4][..])
        );
        assert!(!found[0].old_encryption && found[1].old_encryption);
        assert_eq!(found[1].der, [1]);
    }

    #[test]
    fn broken_parts_are_refused() {
        for text in [
            "-----BEGIN A-----\nAQID",
            "-----BEGIN A-----\nA*ID\n-----END A-----",
            "-----BEGIN A-----\nA\n-----END A-----",
            "-----BEGIN A-----\nAQ=D\n-----END A-----",
            "-----BEGIN A-----\nAQID\n-----END B-----",
            "-----BEGIN A-----\n-----BEGIN A-----\nAQID\n-----END A-----",
        ] {
            assert!(sections(text.as_bytes()).is_err(), "{text}");
        }
        assert!(sections(b"").is_ok_and(|found| found.is_empty()));
    }
}
