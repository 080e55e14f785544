//! What `ps` shows of the server: `proc-title-template` with its variables filled in.

use std::path::Path;

use super::table::Config;

/// The variables that the template may name.
const VARIABLES: [&str; 7] = [
    "title",
    "listen-addr",
    "server-mode",
    "port",
    "tls-port",
    "unixsocket",
    "config-file",
];

/// A piece of a template.
enum Piece<'a> {
    Text(&'a [u8]),
    Variable(&'a str),
}

/// Takes a template apart; `{{` is a brace. None if a variable is unknown or a brace not closed.
fn pieces(template: &[u8]) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.iter().position(|byte| *byte == b'{') {
        pieces.push(Piece::Text(&rest[..open]));
        rest = &rest[open + 1..];
        if let Some(literal) = rest.strip_prefix(b"{") {
            pieces.push(Piece::Text(b"{"));
            rest = literal;
            continue;
        }
        let close = rest.iter().position(|byte| *byte == b'}')?;
        let name = std::str::from_utf8(&rest[..close]).ok()?;
        VARIABLES.contains(&name).then_some(())?;
        pieces.push(Piece::Variable(name));
        rest = &rest[close + 1..];
    }
    pieces.push(Piece::Text(rest));
    Some(pieces)
}

/// Checks a template.
pub(super) fn check(template: &[u8]) -> Result<(), &'static str> {
    match pieces(template) {
        Some(_) if template.iter().any(|b| *b != b' ') => Ok(()),
        _ => Err("template format is invalid or contains unknown variables"),
    }
}

impl Config {
    /// The port that people mean: the plain one, or the one for TLS where there is no other.
    pub fn main_port(&self) -> u16 {
        match self.port {
            0 => self.tls_port,
            port => port,
        }
    }
}

/// The title of a process: `title` is the program for the server itself, a name of its work for a child.
pub fn process_title(config: &Config, title: &str, config_file: Option<&Path>) -> String {
    let unixsocket = config.unixsocket.as_deref().unwrap_or_default();
    let unixsocket = String::from_utf8_lossy(unixsocket);
    let port = config.main_port();
    let address = match (port, config.bind.0.first()) {
        (0, _) => unixsocket.to_string(),
        (_, Some(address)) => format!("{address}:{port}"),
        (_, None) => format!("*:{port}"),
    };
    let mut out = String::new();
    for piece in pieces(&config.proc_title_template).unwrap_or_default() {
        match piece {
            Piece::Text(text) => out.push_str(&String::from_utf8_lossy(text)),
            Piece::Variable(name) => out.push_str(&match name {
                "title" => title.to_owned(),
                "listen-addr" => address.clone(),
                "server-mode" if config.cluster_enabled => "[cluster]".to_owned(),
                "port" => config.port.to_string(),
                "tls-port" => config.tls_port.to_string(),
                "unixsocket" => unixsocket.to_string(),
                "config-file" => config_file
                    .map(|path| path.display().to_string())
                    .unwrap_or_default(),
                _ => String::new(),
            }),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let mut config = Config::default();
        let title = |config: &Config| process_title(config, "redvault", Some(Path::new("/r.conf")));
        assert_eq!(title(&config), "redvault *:6379");
        config.cluster_enabled = true;
        config.bind.0 = vec!["127.0.0.1".to_owned()];
        assert_eq!(title(&config), "redvault 127.0.0.1:6379 [cluster]");
        config.port = 0;
        config.unixsocket = Some(b"/s".to_vec());
        config.proc_title_template =
            b"{{x} {title}|{listen-addr}|{port}|{tls-port}|{unixsocket}|{config-file} ".to_vec();
        assert_eq!(title(&config), "{x} redvault|/s|0|0|/s|/r.conf");
    }

    #[test]
    fn faulty_templates_are_refused() {
        for template in ["", "  ", "{", "{title", "{x}", "{}", "a {title} {b}"] {
            assert!(check(template.as_bytes()).is_err(), "{template}");
        }
        for template in ["x", "{title}", "}", "{{", "{{{title}"] {
            assert!(check(template.as_bytes()).is_ok(), "{template}");
        }
    }
}
