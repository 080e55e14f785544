//! The tools over files in a directory. What the checks print was asked of redis-check-rdb and
//! redis-check-aof 7.0.15, file by file.
use std::path::{Path, PathBuf};

use super::check_aof::{self, Cut};
use super::check_rdb;
use super::console::Console;
use super::recover::{self, Order};
use crate::base::disk::RealDisk;
use crate::state::prop::push_request;
use crate::types::saved::Loading;

const MANIFEST: &str = "appendonly.aof.manifest";
const BASE: &str = "appendonly.aof.1.base.aof";
const INCR: &str = "appendonly.aof.1.incr.aof";
const INCR_2: &str = "appendonly.aof.2.incr.aof";
const BASE_LINE: &str = "file appendonly.aof.1.base.aof seq 1 type b\n";
const INCR_LINE: &str = "file appendonly.aof.1.incr.aof seq 1 type i\n";
const INCR_2_LINE: &str = "file appendonly.aof.2.incr.aof seq 2 type i\n";

/// A request of words.
fn req(line: &str) -> String {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut bytes = Vec::new();
    push_request(&mut bytes, &words);
    String::from_utf8(bytes).expect("made of text")
}

/// Annotations (`#5`) and requests.
fn log(lines: &[&str]) -> String {
    let piece = |line: &&str| match line.strip_prefix('#') {
        Some(time) => format!("#TS:{time}\r\n"),
        None => req(line),
    };
    lines.iter().map(piece).collect()
}

/// A snapshot without keys, made then.
fn empty_rdb(created_s: i64) -> Vec<u8> {
    let time = created_s.to_string();
    let mut rdb = b"REDIS0010\xfa\x05ctime".to_vec();
    rdb.push(time.len() as u8);
    rdb.extend_from_slice(time.as_bytes());
    rdb.extend_from_slice(b"\xff\0\0\0\0\0\0\0\0");
    rdb
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(files: &[(&str, &[u8])]) -> Files {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, bytes) in files {
            let path = dir.path().join(name);
            let folder = path.parent().expect("it is below");
            std::fs::create_dir_all(folder).expect("made");
            std::fs::write(path, bytes).expect("written");
        }
        Files { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        let bytes = std::fs::read(self.path(name)).expect(name);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What a tool printed, with this directory's name left out, and its exit code.
    fn run(&self, answer: &str, tool: impl FnOnce(&mut Console<'_>) -> i32) -> (String, i32) {
        let (mut out, mut input) = (Vec::new(), answer.as_bytes());
        let code = tool(&mut Console::new(&mut out, &mut input, false));
        let dir = format!("{}/", self.dir.path().display());
        (String::from_utf8_lossy(&out).replace(&dir, ""), code)
    }

    fn check_aof(&self, name: &str, cut: Cut, answer: &str) -> (String, i32) {
        let (path, how) = (self.path(name), Loading::for_tests());
        self.run(answer, |console| {
            check_aof::run(console, &RealDisk, &path, cut, &how)
        })
    }

    fn check_rdb(&self, name: &str) -> (String, i32) {
        let (path, how) = (self.path(name), Loading::for_tests());
        self.run("", |console| {
            check_rdb::run(console, &RealDisk, &path, &how)
        })
    }

    fn recover(&self, to: Option<i64>, before: Option<&str>) -> (String, i32) {
        let order = Order {
            dir: self.dir.path().to_owned(),
            to,
            before: before.map(|name| name.as_bytes().to_vec()),
            out: Some(self.path("out")),
        };
        let how = Loading::for_tests();
        self.run("", |console| recover::run(console, &RealDisk, &order, &how))
    }
}

#[test]
fn one_file_of_requests() {
    let two = log(&["set a b", "set c d"]);
    let cases: &[(&str, &str, &str)] = &[
        ("", "", "AOF x is empty\n"),
        (&two, "size=54, ok_up_to=54, ok_up_to_line=15, diff=0", ""),
        (
            "#a comment\r\n#TS:5\r\n",
            "size=19, ok_up_to=19, ok_up_to_line=1, diff=0",
            "",
        ),
    ];
    for (text, analyzed, printed) in cases {
        let files = Files::new(&[("x", text.as_bytes())]);
        let expected = match *analyzed {
            "" => format!("Start checking Old-Style AOF\n{printed}"),
            line => format!(
                "Start checking Old-Style AOF\nAOF analyzed: filename=x, {line}\nAOF x is valid\n"
            ),
        };
        for cut in [Cut::Nothing, Cut::Broken, Cut::LaterThan(0)] {
            assert_eq!(files.check_aof("x", cut, "y\n"), (expected.clone(), 0));
        }
        assert_eq!(files.read("x"), *text);
    }
}

/// What is wrong, where, and how much of the file is whole.
#[test]
fn faults_are_told_with_their_offset() {
    let one = req("set a b");
    let open = format!("{one}{}", req("multi"));
    let cases: &[(&str, &str, &str, &str)] = &[
        (
            &one,
            "!!!",
            "AOF x format error",
            "size=30, ok_up_to=27, ok_up_to_line=8",
        ),
        (
            &one,
            "*3\r\n$3\r\nse",
            "0x              23: Expected to read 5 bytes, got 2 bytes",
            "size=37, ok_up_to=27, ok_up_to_line=10",
        ),
        (
            &one,
            "*3\r\n$3",
            "0x              1f: Expected \\r\\n, got: 0000",
            "size=33, ok_up_to=27, ok_up_to_line=9",
        ),
        (
            &one,
            "*x\r\n",
            "0x              1b: Expected \\r\\n, got: 780d",
            "size=31, ok_up_to=27, ok_up_to_line=8",
        ),
        (
            &one,
            "*1\n$4\nPING\r\n",
            "0x              1b: Expected \\r\\n, got: 0a00",
            "size=39, ok_up_to=27, ok_up_to_line=8",
        ),
        (
            &one,
            "*1\r\n:3\r\n",
            "0x              1f: Expected prefix '$', got: ':'",
            "size=35, ok_up_to=27, ok_up_to_line=9",
        ),
        (
            &one,
            "*1\r\n$3\r\nabcde\r\n",
            "0x              23: Expected \\r\\n, got: 6465",
            "size=42, ok_up_to=27, ok_up_to_line=10",
        ),
        (
            &one,
            "*1\r\n$-1\r\n",
            "0x              1f: Expected to read string of -1 bytes, which is not in the suitable range",
            "size=36, ok_up_to=27, ok_up_to_line=10",
        ),
        (
            &one,
            "*1\r\n$99999999999999999\r\nab\r\n",
            "0x              33: Expected to read 100000000000000001 bytes, got 4 bytes",
            "size=55, ok_up_to=27, ok_up_to_line=10",
        ),
        (
            &one,
            "*1\r\n$4\r\nexec\r\n",
            "0x              23: Unexpected EXEC in AOF x",
            "size=41, ok_up_to=27, ok_up_to_line=11",
        ),
        (
            &open,
            "*1\r\n$5\r\nMulti\r\n",
            "0x              32: Unexpected MULTI in AOF x",
            "size=57, ok_up_to=27, ok_up_to_line=14",
        ),
        (
            &open,
            "",
            "0x              23: Reached EOF before reading EXEC for MULTI",
            "size=42, ok_up_to=27, ok_up_to_line=11",
        ),
        // A server would not load it either.
        (
            &one,
            "*0\r\n",
            "0x              1b: Expected at least 1 argument, got 0",
            "size=31, ok_up_to=27, ok_up_to_line=9",
        ),
        // Whatever is appended to it would be part of it.
        (
            &one,
            "#TS:12",
            "0x              1b: Annotation without an end",
            "size=33, ok_up_to=27, ok_up_to_line=8",
        ),
    ];
    for (whole, rest, fault, analyzed) in cases {
        let text = format!("{whole}{rest}");
        let files = Files::new(&[("x", text.as_bytes())]);
        let diff = text.len() - 27;
        let expected = format!(
            "Start checking Old-Style AOF\n{fault}\nAOF analyzed: filename=x, {analyzed}, diff={diff}\n"
        );
        let not_valid = "AOF x is not valid. Use the --fix option to try fixing it.\n";
        let checked = files.check_aof("x", Cut::Nothing, "");
        assert_eq!(checked, (format!("{expected}{not_valid}"), 1));

        let shrink = format!(
            "This will shrink the AOF x from {} bytes, with {diff} bytes, to 27 bytes\nContinue? [y/N]: ",
            text.len()
        );
        let (out, code) = files.check_aof("x", Cut::Broken, "n\n");
        assert_eq!((out, code), (format!("{expected}{shrink}Aborting...\n"), 1));
        assert_eq!(files.read("x"), text);
        let (out, code) = files.check_aof("x", Cut::Broken, "y\n");
        let done = format!("{expected}{shrink}Successfully truncated AOF x\n");
        assert_eq!((out, code), (done, 0));
        assert_eq!(files.read("x"), one);
    }
}

#[test]
fn all_files_of_a_manifest() {
    let one = req("set a b");
    let manifest = [BASE_LINE, INCR_LINE, INCR_2_LINE].concat();
    let files = |base: &str, incr: &str, incr_2: &str| {
        Files::new(&[
            (MANIFEST, manifest.as_bytes()),
            (BASE, base.as_bytes()),
            (INCR, incr.as_bytes()),
            (INCR_2, incr_2.as_bytes()),
        ])
    };
    let (out, code) = files(&one, &one, "").check_aof(MANIFEST, Cut::Nothing, "");
    assert_eq!(
        out,
        "Start checking Multi Part AOF\n\
         Start to check BASE AOF (RESP format).\n\
         AOF analyzed: filename=appendonly.aof.1.base.aof, size=27, ok_up_to=27, ok_up_to_line=8, diff=0\n\
         BASE AOF appendonly.aof.1.base.aof is valid\n\
         Start to check INCR files.\n\
         AOF analyzed: filename=appendonly.aof.1.incr.aof, size=27, ok_up_to=27, ok_up_to_line=15, diff=0\n\
         INCR AOF appendonly.aof.1.incr.aof is valid\n\
         INCR AOF appendonly.aof.2.incr.aof is empty\n\
         All AOF files and manifest are valid\n"
    );
    assert_eq!(code, 0);

    // Only the end of the last file is cut off.
    let (out, code) = files(&one, "zz", &one).check_aof(MANIFEST, Cut::Broken, "y\n");
    let last = "Failed to truncate AOF appendonly.aof.1.incr.aof because it is not the last file\n";
    assert!(out.ends_with(last) && code == 1, "{out}");
    let torn = files(&one, &one[..9], "");
    assert_eq!(
        torn.check_aof(MANIFEST, Cut::Broken, "y\n").1,
        0,
        "empty ones follow"
    );
    assert_eq!(torn.read(INCR), "");
    let broken = files(&one, &one, "zz");
    let (out, code) = broken.check_aof(MANIFEST, Cut::Broken, "y\n");
    assert!(
        out.ends_with("is not valid\nAll") || out.contains("Successfully truncated"),
        "{out}"
    );
    assert_eq!((code, broken.read(INCR_2).len()), (0, 0));

    std::fs::remove_file(broken.path(INCR)).expect("removed");
    let (out, code) = broken.check_aof(MANIFEST, Cut::Nothing, "");
    let gone =
        "Cannot open file appendonly.aof.1.incr.aof: No such file or directory, aborting...\n";
    assert!(out.ends_with(gone) && code == 1, "{out}");
}

#[test]
fn manifests_that_cannot_be_used() {
    let files = Files::new(&[
        (MANIFEST, b"file a seq 1 type z\n"),
        ("empty.manifest", b""),
        ("junk.manifest", b"junk\n"),
    ]);
    let (out, code) = files.check_aof(MANIFEST, Cut::Nothing, "");
    assert_eq!(
        out,
        "Start checking Multi Part AOF\n\n*** FATAL AOF MANIFEST FILE ERROR ***\n\
         Reading the manifest file, at line 1\n>>> 'file a seq 1 type z'\nUnknown AOF file type\n"
    );
    assert_eq!(code, 1);
    let (out, code) = files.check_aof("empty.manifest", Cut::Nothing, "");
    assert!(
        out.ends_with("Found an empty AOF manifest\n") && code == 1,
        "{out}"
    );
    let (out, code) = files.check_aof("junk.manifest", Cut::Nothing, "");
    assert!(
        out.contains("AOF junk.manifest format error") && code == 1,
        "{out}"
    );
    let (out, code) = files.check_aof("none", Cut::Nothing, "");
    let none = "Cannot open file none: No such file or directory\n";
    assert_eq!((&out[..], code), (none, 1));
    let (out, code) = files.check_aof(".", Cut::Nothing, "");
    assert_eq!((&out[..], code), ("Cannot read file: .\n", 1));
}

#[test]
fn what_is_younger_than_a_moment_is_cut_off() {
    let text = log(&[
        "#10", "set a b", "#11", "set c d", "#12", "#13", "set e f", "#14",
    ]);
    for (time, left) in [(10, 35), (11, 70), (12, 78), (13, 113)] {
        let files = Files::new(&[(MANIFEST, INCR_LINE.as_bytes()), (INCR, text.as_bytes())]);
        let (out, code) = files.check_aof(MANIFEST, Cut::LaterThan(time), "");
        let done = format!("Successfully truncated AOF {INCR} to timestamp {time}\n");
        assert!(out.contains(&done) && code == 0, "{out}");
        assert_eq!(files.read(INCR), text[..left]);
        let (out, code) = files.check_aof(MANIFEST, Cut::LaterThan(time), "");
        let nothing = format!("Truncate nothing in AOF {INCR} to timestamp {time}\n");
        assert!(out.contains(&nothing) && code == 0, "{out}");
        let (out, code) = files.check_aof(MANIFEST, Cut::LaterThan(9), "");
        assert!(out.ends_with("has nothing before timestamp 9, aborting...\n") && code == 1);
    }

    // A transaction stays or goes as a whole.
    let text = log(&[
        "#10", "set a b", "multi", "set c d", "#20", "set e f", "exec",
    ]);
    let files = Files::new(&[("x", text.as_bytes())]);
    assert_eq!(files.check_aof("x", Cut::LaterThan(15), "").1, 0);
    assert_eq!(files.read("x"), log(&["#10", "set a b"]));

    let text = log(&["#10", "set a b", "#20", "set c d"]);
    let manifest = [INCR_LINE, INCR_2_LINE].concat();
    let files = Files::new(&[
        (MANIFEST, manifest.as_bytes()),
        (INCR, text.as_bytes()),
        (INCR_2, b"#TS:30\r\n"),
    ]);
    let (out, code) = files.check_aof(MANIFEST, Cut::LaterThan(15), "");
    let failed = "Failed to truncate AOF appendonly.aof.1.incr.aof to timestamp 15 to offset 35 \
                  because it is not the last file.\nIf you insist, please delete all files after \
                  this file according to the manifest file and delete the corresponding records in \
                  manifest file manually. Then re-run redis-check-aof.\n";
    assert!(out.ends_with(failed) && code == 1, "{out}");
    assert_eq!(files.read(INCR), text);

    let files = Files::new(&[("x", b"#TS:1x\r\n")]);
    let (out, code) = files.check_aof("x", Cut::LaterThan(15), "");
    assert!(
        out.ends_with("Invalid timestamp annotation\n") && code == 1,
        "{out}"
    );
}

#[test]
fn snapshots_are_gone_through() {
    let key = b"REDIS0010\xfe\0\0\x01k\x01v";
    let with = |rest: &[u8]| [&key[..], rest].concat();
    let sum = |bytes: &[u8]| {
        let mut crc = crate::base::crc64::Crc64::new();
        crc.update(bytes);
        [bytes, &crc.value().to_le_bytes()].concat()
    };
    let deadlines =
        with(b"\xfc\x01\0\0\0\0\0\0\0\0\x01l\x01v\xfc\xff\xff\xff\xff\xff\xff\0\0\0\x01m\x01v\xff");
    let files = Files::new(&[
        ("fine", &sum(&deadlines)),
        ("unsummed", &with(b"\xff\0\0\0\0\0\0\0\0")),
        ("wrong", &with(b"\xff\x01\0\0\0\0\0\0\0")),
        ("cut", &with(b"\x02\x01s\x05\x01a")),
        ("type", &with(b"\x63\x01s\x05")),
        ("junk", b"*1\r\n$4\r\nping\r\n"),
        ("new", b"REDIS0099\xff"),
    ]);
    let (out, code) = files.check_rdb("fine");
    assert_eq!(
        out,
        "[offset 0] Checking RDB file fine\n[offset 11] Selecting DB ID 0\n\
         [offset 53] Checksum OK\n[offset 53] \\o/ RDB looks OK! \\o/\n\
         [info] 3 keys read\n[info] 2 expires\n[info] 1 already expired\n"
    );
    assert_eq!(code, 0);
    let none = "RDB file was saved with checksum disabled: no check performed.";
    let (out, code) = files.check_rdb("unsummed");
    assert!(out.contains(none) && code == 0, "{out}");
    for (name, told) in [
        (
            "wrong",
            "[offset 25] RDB CRC error\n[additional info] While doing: check-sum\n[info] 1 keys",
        ),
        (
            "cut",
            "[offset 20] Unexpected EOF reading RDB file\n[additional info] While doing: \
             read-object-value\n[additional info] Reading key 's'\n[additional info] Reading type 2 \
             (set-hashtable)\n[info] 2 keys read\n",
        ),
        (
            "type",
            "[offset 17] Invalid object type: 99\n[additional info] While doing: read-type\n",
        ),
        (
            "junk",
            "[offset 9] Wrong signature trying to load DB from file\n",
        ),
        ("new", "[offset 9] Can't handle RDB format version 99\n"),
    ] {
        let (out, code) = files.check_rdb(name);
        assert!(out.contains(told) && code == 1, "{out}");
    }
    let (out, code) = files.check_rdb("none");
    assert!(
        out.contains("No such file or directory") && code == 1,
        "{out}"
    );
}

/// The base of second 100, and two files of changes.
fn three_files(first: &str, second: &str) -> Files {
    let manifest = ["file b.rdb seq 1 type b\n", INCR_LINE, INCR_2_LINE].concat();
    let at = |name: &str| format!("appendonlydir/{name}");
    Files::new(&[
        (&at(MANIFEST), manifest.as_bytes()),
        (&at("b.rdb"), &empty_rdb(100)),
        (&at(INCR), first.as_bytes()),
        (&at(INCR_2), second.as_bytes()),
    ])
}

fn out_of(files: &Files, name: &str) -> Option<String> {
    let path = files.path("out/appendonlydir").join(name);
    path.exists()
        .then(|| files.read(&format!("out/appendonlydir/{name}")))
}

#[test]
fn a_moment_is_gone_back_to() {
    let first = log(&["#101", "set a 1", "#105", "set a 2"]);
    let second = log(&[
        "#107", "set a 3", "multi", "set b 1", "exec", "#109", "flushall",
    ]);
    let transaction = second.find("#TS:109");
    for (to, first_len, second_len) in [
        (100, 0, None),
        (104, 36, None),
        (106, 72, Some(0)),
        (108, 72, transaction),
        (109, 72, Some(second.len())),
        (999, 72, Some(second.len())),
    ] {
        let files = three_files(&first, &second);
        let (out, code) = files.recover(Some(to), None);
        assert_eq!(code, 0, "{out}");
        assert!(
            out.contains("Recovered: the data as they were at 1970-01-01T00:"),
            "{out}"
        );
        assert!(out.ends_with("out --appendonly yes\n"), "{out}");
        let parts = ["file b.rdb seq 1 type b\n", INCR_LINE, INCR_2_LINE];
        let kept = 2 + usize::from(second_len.is_some());
        assert_eq!(out_of(&files, MANIFEST), Some(parts[..kept].concat()));
        assert_eq!(
            out_of(&files, INCR),
            Some(first[..first_len].to_owned()),
            "{to}"
        );
        let second_part = second_len.map(|len| second[..len].to_owned());
        assert_eq!(out_of(&files, INCR_2), second_part, "{to}");
        let base = std::fs::read(files.path("out/appendonlydir/b.rdb")).expect("copied");
        assert_eq!(base, empty_rdb(100));
        // What was there is as it was.
        assert_eq!(files.read(&format!("appendonlydir/{INCR_2}")), second);
        // And what was recovered is not overwritten.
        let (out, code) = files.recover(Some(to), None);
        assert!(out.contains("out is not empty") && code == 1, "{out}");
    }
}

#[test]
fn a_command_by_mistake_is_undone() {
    let first = log(&["#101", "set a 1", "FlushAll", "set a 2"]);
    let second = log(&[
        "set b 1", "multi", "set c 1", "flushall", "exec", "#109", "set d 1",
    ]);
    let files = three_files(&first, &second);
    let (out, code) = files.recover(None, Some("flushall"));
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("before FLUSHALL: 0 keys and 4 requests"),
        "{out}"
    );
    assert_eq!(out_of(&files, INCR_2), Some(req("set b 1")));

    // The first of them by the time.
    let first = log(&["#101", "set a 1", "flushall", "#102", "set a 2"]);
    let files = three_files(&first, &second);
    let (out, code) = files.recover(Some(101), Some("flushall"));
    assert_eq!(code, 0, "{out}");
    assert_eq!(out_of(&files, INCR), Some(log(&["#101", "set a 1"])));
    assert_eq!(out_of(&files, INCR_2), None);

    let files = three_files("", "");
    let (out, code) = files.recover(None, Some("flushall"));
    assert!(
        out.contains("there is no FLUSHALL in the files") && code == 1,
        "{out}"
    );
    assert!(!files.path("out").exists());
}

#[test]
fn a_moment_that_the_files_do_not_know_is_refused() {
    let none = |files: &Files, to, why: &str| {
        let (out, code) = files.recover(Some(to), None);
        assert!(
            out.contains("Nothing was recovered") && out.contains(why),
            "{out}"
        );
        assert_eq!(code, 1);
        assert!(!files.path("out").exists());
    };
    // Older than the base.
    let files = three_files(&log(&["#101", "set a 1"]), "");
    none(
        &files,
        99,
        "holds the data of 1970-01-01T00:01:40Z and nothing before",
    );
    // No times at all; the file was written now.
    let files = three_files(&log(&["set a 1"]), "");
    none(&files, 200, "aof-timestamp-enabled was no");
    // Times only from 150 on.
    let files = three_files(&log(&["set a 1", "#150", "set a 2"]), "");
    none(
        &files,
        120,
        "before 1970-01-01T00:02:30Z, which is the first moment",
    );
    let (out, code) = files.recover(Some(150), None);
    assert_eq!(code, 0, "{out}");
    // A new file goes on in the second of the one before.
    let files = three_files(
        &log(&["#101", "set a 1"]),
        &log(&["set a 2", "#105", "set a 3"]),
    );
    let (out, code) = files.recover(Some(103), None);
    assert!(
        out.contains("taken as of 1970-01-01T00:01:41Z") && code == 0,
        "{out}"
    );
    assert_eq!(out_of(&files, INCR_2), Some(req("set a 2")));

    let empty = Files::new(&[]);
    none(&empty, 5, "has no append-only file");
}

#[test]
fn broken_files_are_refused_and_torn_ends_left_out() {
    let torn = format!("{}*3\r\n$3\r\nse", log(&["#107", "set a 3"]));
    let files = three_files("", &torn);
    let (out, code) = files.recover(Some(200), None);
    assert!(
        out.contains("the end is unfinished, from offset 36 on") && code == 0,
        "{out}"
    );
    assert_eq!(out_of(&files, INCR_2), Some(log(&["#107", "set a 3"])));

    let files = three_files(&torn, "");
    assert_eq!(files.recover(Some(200), None).1, 0);
    assert_eq!(out_of(&files, INCR), Some(log(&["#107", "set a 3"])));
    assert_eq!(out_of(&files, INCR_2), None);

    let junk = format!("{}zzz", log(&["#107", "set a 3"]));
    let more = log(&["#108", "set a 4"]);
    for files in [three_files("", &junk), three_files(&torn, &more)] {
        let (out, code) = files.recover(Some(200), None);
        assert!(out.contains("is broken at offset ") && code == 1, "{out}");
        assert!(!files.path("out").exists());
        // Behind the moment it does not matter.
        assert_eq!(files.recover(Some(106), None).1, 0);
    }
    std::fs::write(files.path("appendonlydir/b.rdb"), b"REDIS0010\xfa").expect("written");
    let files = Files { dir: files.dir };
    std::fs::remove_dir_all(files.path("out")).expect("removed");
    let (out, code) = files.recover(Some(200), None);
    assert!(
        out.contains("b.rdb is broken at offset 10") && code == 1,
        "{out}"
    );
}

/// With aof-disable-auto-gc a rewrite leaves the files that it replaced.
#[test]
fn history_reaches_further_back() {
    let at = |name: &str| format!("appendonlydir/{name}");
    let first = log(&["#101", "set a 1", "#140", "flushall", "set a 2"]);
    let second = log(&["#160", "set a 3"]);
    let manifest = "file c.base.rdb seq 2 type b\nfile appendonly.aof.1.incr.aof seq 1 type h\n\
                    file b.base.rdb seq 1 type h\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
    let files = Files::new(&[
        (&at(MANIFEST), manifest.as_bytes()),
        (&at("b.base.rdb"), &empty_rdb(100)),
        (&at("c.base.rdb"), &empty_rdb(150)),
        (&at(INCR), first.as_bytes()),
        (&at(INCR_2), second.as_bytes()),
    ]);
    let (out, code) = files.recover(Some(120), None);
    assert_eq!(code, 0, "{out}");
    assert_eq!(out_of(&files, INCR), Some(log(&["#101", "set a 1"])));
    let kept = "file b.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    assert_eq!(out_of(&files, MANIFEST).as_deref(), Some(kept));

    std::fs::remove_dir_all(files.path("out")).expect("removed");
    let (out, code) = files.recover(None, Some("flushall"));
    assert!(
        code == 0 && out.contains("going back to the files"),
        "{out}"
    );
    assert_eq!(
        out_of(&files, INCR),
        Some(log(&["#101", "set a 1", "#140"]))
    );
    std::fs::remove_dir_all(files.path("out")).expect("removed");
    let (out, code) = files.recover(None, Some("hset"));
    assert!(code == 1 && out.contains("there is no HSET in"), "{out}");

    assert_eq!(files.recover(Some(155), None).1, 0);
    let kept = "file c.base.rdb seq 2 type b\nfile appendonly.aof.2.incr.aof seq 2 type i\n";
    assert_eq!(out_of(&files, MANIFEST).as_deref(), Some(kept));
}

#[test]
fn the_one_file_of_an_older_server_and_other_ways_to_name_files() {
    let text = log(&["#10", "set a 1", "#20", "flushall"]);
    let files = Files::new(&[("appendonly.aof", text.as_bytes()), ("dump.rdb", b"")]);
    let (out, code) = files.recover(Some(15), None);
    assert_eq!(code, 0, "{out}");
    assert_eq!(
        out_of(&files, "appendonly.aof"),
        Some(log(&["#10", "set a 1"]))
    );
    let manifest = out_of(&files, MANIFEST);
    assert_eq!(
        manifest.as_deref(),
        Some("file appendonly.aof seq 1 type b\n")
    );

    let files = three_files(&log(&["#101", "set a 1"]), "");
    for dir in ["", "appendonlydir", "appendonlydir/appendonly.aof.manifest"] {
        let order = Order {
            dir: files.path(dir),
            to: Some(101),
            before: None,
            out: Some(files.path("out")),
        };
        let how = Loading::for_tests();
        let (out, code) = files.run("", |console| recover::run(console, &RealDisk, &order, &how));
        assert_eq!(code, 0, "{out}");
        std::fs::remove_dir_all(files.path("out")).expect("removed");
    }
    let other = files.path("other");
    std::fs::create_dir(&other).expect("made");
    let copy = |to: &Path| std::fs::copy(files.path("appendonlydir").join(MANIFEST), to);
    copy(&other.join("x.manifest")).expect("copied");
    let (out, code) = files.recover(Some(101), None);
    assert!(
        out.contains("there are several manifests") && code == 1,
        "{out}"
    );
}
