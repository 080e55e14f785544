//! `redvault ping`: whether a server serves, as an exit code; for containers and supervisors.
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};

use super::cli::options::of_tls;
use super::link::{Address, Link, Tls};
use crate::resp::value::Value;

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub address: Address,
    pub tls: Option<Box<Tls>>,
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    /// For each step: connecting, authentication, the answer.
    pub patience: Duration,
}

/// The options of TLS that take a value.
const TLS: [(&str, &str, &str); 5] = [
    ("cacert", "FILE", "Whom to trust [the system's authorities]"),
    ("cacertdir", "DIR", "The same, each in a file of its own"),
    ("cert", "FILE", "The certificate to show"),
    ("key", "FILE", "Its key"),
    ("sni", "NAME", "Whom the server is asked for by name"),
];

pub fn command() -> Command {
    Command::new("ping")
        .bin_name("redvault ping")
        .about(
            "Asks a server whether it serves. Exit code: 0 if it does, 1 if it does not, or does not yet.\n\
             A server that asks for a password is up, whether one is given or not.",
        )
        .disable_help_flag(true)
        .arg(Arg::new("host").short('h').value_name("HOST").default_value("127.0.0.1"))
        .arg(
            Arg::new("port")
                .short('p')
                .value_name("PORT")
                .default_value("6379")
                .value_parser(clap::value_parser!(u16)),
        )
        .arg(
            Arg::new("socket")
                .short('s')
                .value_name("SOCKET")
                .value_parser(clap::value_parser!(PathBuf))
                .help("A unix socket, instead of host and port"),
        )
        .arg(
            Arg::new("tls")
                .long("tls")
                .action(clap::ArgAction::SetTrue)
                .help("Speak TLS"),
        )
        .arg(
            Arg::new("insecure")
                .long("insecure")
                .action(clap::ArgAction::SetTrue)
                .help("Take whoever answers for the server"),
        )
        .args(TLS.map(|(name, value, help)| {
            Arg::new(name)
                .long(name)
                .value_name(value)
                .value_parser(clap::value_parser!(OsString))
                .help(help)
        }))
        .arg(
            Arg::new("password")
                .short('a')
                .value_name("PASSWORD")
                .value_parser(clap::value_parser!(OsString))
                .help("Or in the environment as REDISCLI_AUTH, which others cannot see"),
        )
        .arg(Arg::new("user").long("user").value_name("USER").help("With a password"))
        .arg(
            Arg::new("seconds")
                .short('t')
                .value_name("SECONDS")
                .default_value("2")
                .value_parser(clap::value_parser!(u16).range(1..))
                .help("How long to wait for each answer"),
        )
        .arg(
            Arg::new("help")
                .long("help")
                .action(clap::ArgAction::Help)
                .help("Show this text"),
        )
}

/// What the arguments ask for.
pub fn order(matches: &ArgMatches, env: impl Fn(&str) -> Option<OsString>) -> Order {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let address = match matches.get_one::<PathBuf>("socket") {
        Some(path) => Address::Unix(path.clone()),
        None => Address::Tcp(
            text("host").unwrap_or_default(),
            matches.get_one("port").copied().unwrap_or_default(),
        ),
    };
    let password = matches.get_one::<OsString>("password").cloned();
    let mut tls = Tls::default();
    tls.setup.insecure = matches.get_flag("insecure");
    for (name, ..) in TLS {
        if let Some(value) = matches.get_one::<OsString>(name) {
            of_tls(&mut tls, &format!("--{name}"), value);
        }
    }
    Order {
        address,
        tls: matches.get_flag("tls").then(|| Box::new(tls)),
        user: text("user").map(String::into_bytes),
        password: password
            .or_else(|| env("REDISCLI_AUTH"))
            .map(|password| password.as_bytes().to_vec()),
        patience: Duration::from_secs(matches.get_one("seconds").copied().map_or(2, u16::into)),
    }
}

/// Asks; the server's word or what went wrong, and whether it serves.
pub fn run(order: &Order) -> (String, bool) {
    let mut link = match Link::open(&order.address, order.tls.as_deref(), Some(order.patience)) {
        Ok(link) => link,
        Err(why) => {
            return (
                format!("Could not connect to {}: {why}", order.address),
                false,
            );
        }
    };
    let mut words = vec![b"AUTH".to_vec()];
    words.extend(order.user.clone());
    words.extend(order.password.clone());
    if order.password.is_some()
        && let Err(broken) = link.ask(&words)
    {
        return (broken.to_string(), false);
    }
    match link.ask(&["PING"]) {
        Ok(Value::Simple(text)) => (String::from_utf8_lossy(&text).into_owned(), true),
        Ok(Value::Error(text)) => {
            let up = text.starts_with(b"NOAUTH") || text.starts_with(b"NOPERM");
            (String::from_utf8_lossy(&text).into_owned(), up)
        }
        Ok(_) => ("This is no server of this kind".to_owned(), false),
        Err(broken) => (broken.to_string(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_to_ask() {
        let parse = |args: &[&str]| {
            let matches = command().no_binary_name(true).try_get_matches_from(args);
            matches.map(|matches| order(&matches, |_| Some("env".into())))
        };
        let plain = parse(&[]).expect("sound");
        assert!(plain.tls.is_none());
        let secure = parse(&["--tls", "--cacert", "x"]).expect("sound").tls;
        assert_eq!(
            secure.expect("asked for").setup.authorities.file,
            Some("x".into())
        );
        assert_eq!(plain.address, Address::Tcp("127.0.0.1".to_owned(), 6379));
        assert_eq!(plain.password.as_deref(), Some(&b"env"[..]));
        let full = parse(&["-h", "h", "-p", "7", "-a", "x", "--user", "u"]).expect("sound");
        assert_eq!(full.address, Address::Tcp("h".to_owned(), 7));
        assert_eq!(full.password.as_deref(), Some(&b"x"[..]));
        assert_eq!(
            parse(&["-s", "/s"]).expect("sound").address,
            Address::Unix("/s".into())
        );
        for args in [&["-p", "x"][..], &["-t", "0"], &["more"], &["--bogus"]] {
            assert!(parse(args).is_err(), "{args:?}");
        }
        command().debug_assert();
    }
}
