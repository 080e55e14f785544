//! The first line of a script that declares what it needs: `#!lua flags=no-writes,allow-oom`.
use super::perform::script_flag;
use crate::exec::error::{CmdError, shown};
use crate::resp::argv::{Argv, Span};
use crate::resp::words::split_words;

/// The longest first line that is taken apart.
const LINE_MAX: usize = 1 << 16;

/// What a script declares, and where its Lua begins: at the end of the first line, so that the lines keep
/// their numbers.
pub fn parse(body: &[u8]) -> Result<(u32, usize), CmdError> {
    if !body.starts_with(b"#!") {
        return Ok((script_flag::UNDECLARED, 0));
    }
    let end = memchr::memchr(b'\n', body)
        .filter(|end| *end <= LINE_MAX)
        .ok_or(CmdError::new("ERR Invalid script shebang"))?;
    let mut line = body[..end].to_vec();
    let mut spans: Vec<Span> = Vec::new();
    split_words(&mut line, 0, &mut spans)
        .filter(|_| !spans.is_empty())
        .ok_or(CmdError::new("ERR Invalid engine in script shebang"))?;
    let words = Argv::new(&line, &spans);
    if words.get(0) != b"#!lua" {
        return Err(CmdError::showing(
            "ERR Unexpected engine in script shebang: ",
            shown(words.get(0), 128),
            "",
        ));
    }
    let mut flags = 0;
    for word in words.iter().skip(1) {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err(CmdError::showing(
                "ERR Unknown lua shebang option: ",
                shown(word, 128),
                "",
            ));
        };
        flags |= flag_list(list)?;
    }
    Ok((flags, end))
}

fn flag_list(list: &[u8]) -> Result<u32, CmdError> {
    let mut flags = 0;
    if list.is_empty() {
        return Ok(flags);
    }
    for name in list.split(|b| *b == b',') {
        let known = script_flag::NAMES
            .iter()
            .find(|(_, known)| known.as_bytes() == name);
        let Some((flag, _)) = known else {
            return Err(CmdError::showing(
                "ERR Unexpected flag in script shebang: ",
                shown(name, 128),
                "",
            ));
        };
        flags |= flag;
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What redis-server 7.0.15 answered to EVAL.
    #[test]
    fn the_first_line_declares_flags() {
        let (writes, oom) = (script_flag::NO_WRITES, script_flag::ALLOW_OOM);
        for (body, found) in [
            ("return 1", (script_flag::UNDECLARED, 0)),
            ("#!lua\nreturn 1", (0, 5)),
            ("#!lua flags=\nreturn 1", (0, 12)),
            (
                "#!lua flags=no-writes flags=allow-oom\n",
                (writes | oom, 37),
            ),
            ("#!lua  'flags=no-writes'  \n", (writes, 26)),
        ] {
            assert_eq!(parse(body.as_bytes()), Ok(found), "{body}");
        }
        for (body, text) in [
            ("#!lua", "Invalid script shebang"),
            ("#!lua \"\n", "Invalid engine in script shebang"),
            ("#!\n", "Unexpected engine in script shebang: #!"),
            ("#! lua\n", "Unexpected engine in script shebang: #!"),
            ("#!LUA\n", "Unexpected engine in script shebang: #!LUA"),
            ("#!lua name=x\n", "Unknown lua shebang option: name=x"),
            (
                "#!lua flags=no-writes,\n",
                "Unexpected flag in script shebang: ",
            ),
            ("#!lua flags=a,b\n", "Unexpected flag in script shebang: a"),
        ] {
            let error = parse(body.as_bytes()).unwrap_err();
            let told = String::from_utf8_lossy(error.text()).into_owned();
            assert_eq!(told, format!("ERR {text}"), "{body}");
        }
    }
}
