//! What an installation consists of: the unit for systemd and the container's recipe. Neither can be run where
//! tests run; what a program can tell of them is checked.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{binary, is_oracle};

fn read(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// `make install` into a directory: the paths that the files name are the paths where the files are.
#[test]
fn an_installation_is_whole() {
    if is_oracle() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let dest = dir.path().to_str().expect("a plain path");
    // `-o build`: what is installed has been built already.
    let install = || {
        Command::new("make")
            .args(["-s", "-o", "build", "install", "PREFIX=/usr"])
            .arg(format!("DESTDIR={dest}"))
            .arg(format!("BIN={}", binary()))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
    };
    let Ok(done) = install() else {
        return; // A machine without make.
    };
    let complaints = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{complaints}");
    let unit = format!("{dest}/usr/lib/systemd/system/redvault.service");
    let text = fs::read_to_string(&unit).expect("installed");
    let start = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let words: Vec<&str> = start.expect("it starts something").split(' ').collect();
    assert_eq!(
        words[..2],
        ["/usr/bin/redvault", "/etc/redvault/redvault.conf"]
    );
    for path in [
        words[0],
        words[1],
        "/usr/bin/redvault-cli",
        "/usr/lib/sysusers.d/redvault.conf",
    ] {
        assert!(Path::new(&format!("{dest}{path}")).exists(), "{path}");
    }
    let config = format!("{dest}/etc/redvault/redvault.conf");
    let settings = fs::read_to_string(&config).expect("installed");
    assert!(settings.contains("\ndir /var/lib/redvault\n"));
    // A second installation leaves the configuration alone.
    fs::write(&config, "port 7\n").expect("ours");
    assert!(install().expect("make was there").status.success());
    assert_eq!(fs::read_to_string(&config).expect("there"), "port 7\n");

    // Where systemd is, it has the last word; the program has to be where the unit says.
    let here = text.replace(
        "/usr/bin/redvault",
        &fs::canonicalize(binary())
            .expect("there")
            .display()
            .to_string(),
    );
    fs::write(&unit, here).expect("ours");
    if let Ok(checked) = Command::new("systemd-analyze")
        .args(["verify", "--man=no", &unit])
        .output()
    {
        let complaints = String::from_utf8_lossy(&checked.stderr);
        let ours: Vec<&str> = complaints
            .lines()
            .filter(|line| line.contains("redvault"))
            .collect();
        assert!(ours.is_empty(), "{complaints}");
    }
}

/// An instruction of a Dockerfile: its name and the rest, with continued lines joined.
fn instructions(text: &str) -> Vec<(String, String)> {
    let mut joined = String::new();
    for line in text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        match line.strip_suffix('\\') {
            Some(part) => joined.push_str(part),
            None => joined.push_str(&format!("{line}\n")),
        }
    }
    joined
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

#[test]
fn the_container_is_small_and_nobody() {
    if is_oracle() {
        return;
    }
    let all = instructions(&read("Dockerfile"));
    let named = |name: &str| -> Vec<&str> {
        let found = all.iter().filter(|(known, _)| known == name);
        found.map(|(_, rest)| rest.as_str()).collect()
    };
    let known = [
        "FROM",
        "RUN",
        "COPY",
        "WORKDIR",
        "USER",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ];
    for (name, rest) in &all {
        assert!(known.contains(&name.as_str()), "{name} {rest}");
    }
    for image in named("FROM") {
        let tag = image
            .split(' ')
            .next()
            .and_then(|name| name.split_once(':'));
        assert!(
            tag.is_some_and(|(_, tag)| tag != "latest"),
            "{image}: which one?"
        );
    }
    for step in named("RUN") {
        if step.contains("apt-get install") {
            assert!(step.contains("--no-install-recommends"), "{step}");
            assert!(step.contains("rm -rf /var/lib/apt/lists"), "{step}");
        }
        assert!(
            !step.contains("cargo build") || step.contains("--locked"),
            "{step}"
        );
    }
    let last = all
        .iter()
        .rposition(|(name, _)| name == "FROM")
        .expect("an image");
    assert!(last > 0, "the tools of the build stay behind");
    assert!(
        all[last..].iter().all(|(name, _)| name != "RUN"),
        "the last image has no shell"
    );
    let user = named("USER");
    let by_number = |user: &&str| user.bytes().all(|b| b.is_ascii_digit() || b == b':');
    assert!(
        user.last().is_some_and(by_number),
        "a name may not exist: {user:?}"
    );
    assert_ne!(
        user.last().map(|user| user.starts_with('0')),
        Some(true),
        "not root"
    );
    // Without a shell between, signals reach the server.
    for name in ["ENTRYPOINT", "CMD"] {
        assert!(
            named(name).iter().all(|rest| rest.starts_with('[')),
            "{name}"
        );
    }
    assert!(
        named("HEALTHCHECK")
            .iter()
            .all(|rest| rest.contains("CMD [") && rest.contains("\"ping\""))
    );
    assert_eq!(
        (named("VOLUME"), named("EXPOSE")),
        (vec!["/data"], vec!["6379"])
    );

    // What is copied from here must reach the builder.
    let ignored = read(".dockerignore");
    for source in named("COPY").iter().filter(|rest| !rest.contains("--from")) {
        let mut words: Vec<&str> = source.split(' ').collect();
        words.pop();
        for word in words {
            assert!(ignored.contains(&format!("!{word}\n")), "{word} is ignored");
        }
    }
    // The compiler is not older than what Cargo.toml asks for.
    let cargo = read("Cargo.toml");
    let oldest = cargo
        .split("rust-version = \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    assert!(named("FROM")[0].starts_with(&format!("rust:{}-", oldest.expect("said"))));
}
