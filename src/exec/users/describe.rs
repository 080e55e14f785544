//! Users as text: what rules make such a user again.
use crate::state::groups::Groups;
use crate::state::users::pattern::Access;
use crate::state::users::selector::{Commands, Dbs, Selector};
use crate::state::users::{Sanitize, User};

/// Names of a user's flags, as ACL GETUSER shows them.
pub fn flags(user: &User) -> Vec<&'static str> {
    let mut flags = vec![if user.enabled { "on" } else { "off" }];
    if user.nopass {
        flags.push("nopass");
    }
    flags.push(match user.sanitize {
        Sanitize::Yes => "sanitize-payload",
        Sanitize::Skip => "skip-sanitize-payload",
    });
    flags
}

/// `~a %R~b`.
pub fn keys(selector: &Selector) -> Vec<u8> {
    if selector.keys.allows_all() {
        return b"~*".to_vec();
    }
    let patterns = selector.keys.patterns().iter().map(|(pattern, access)| {
        let sign: &[u8] = match *access {
            Access::READ => b"%R~",
            Access::WRITE => b"%W~",
            _ => b"~",
        };
        [sign, pattern.text()].concat()
    });
    patterns.collect::<Vec<_>>().join(&b' ')
}

/// `&a &b`.
pub fn channels(selector: &Selector) -> Vec<u8> {
    if selector.channels.allows_all() {
        return b"&*".to_vec();
    }
    let patterns = selector.channels.patterns().iter();
    let patterns = patterns.map(|pattern| [b"&", pattern.text()].concat());
    patterns.collect::<Vec<_>>().join(&b' ')
}

/// `-@all +get`.
pub fn commands(commands: &Commands) -> Vec<u8> {
    let mut text = match commands.from_all {
        true => b"+@all".to_vec(),
        false => b"-@all".to_vec(),
    };
    for rule in &commands.rules {
        text.extend_from_slice(if rule.allow { b" +" } else { b" -" });
        text.extend_from_slice(&rule.text);
    }
    text
}

/// `db=0,1`; none where all databases may be used.
pub fn databases(selector: &Selector) -> Option<Vec<u8>> {
    match &selector.dbs {
        Dbs::All => None,
        Dbs::These(dbs) if dbs.is_empty() => Some(b"resetdbs".to_vec()),
        Dbs::These(dbs) => {
            let numbers: Vec<String> = dbs.iter().map(u32::to_string).collect();
            Some(format!("db={}", numbers.join(",")).into_bytes())
        }
    }
}

/// The name of the group the user is in, or waits for; none for the default one.
pub fn group<'g>(user: &'g User, groups: &'g Groups) -> Option<&'g str> {
    match &user.awaits_group {
        Some(name) => Some(name),
        None if user.group.is_default() => None,
        None => Some(groups.name(user.group)),
    }
}

fn selector_rules(selector: &Selector) -> Vec<Vec<u8>> {
    let mut rules = Vec::new();
    rules.push(keys(selector));
    if !selector.channels.allows_all() {
        rules.push(b"resetchannels".to_vec());
    }
    rules.push(channels(selector));
    rules.extend(databases(selector));
    rules.push(commands(&selector.commands));
    rules.retain(|rule| !rule.is_empty());
    rules
}

/// All rules of a user, in an order in which they make it again.
pub fn rules(user: &User, groups: &Groups) -> Vec<Vec<u8>> {
    let mut rules: Vec<Vec<u8>> = flags(user).into_iter().map(|flag| flag.into()).collect();
    for hash in &user.passwords {
        rules.push(format!("#{}", hash.text()).into_bytes());
    }
    if let Some(name) = group(user, groups) {
        rules.push(format!("group:{name}").into_bytes());
    }
    if let Some(at) = user.expires {
        rules.push(format!("expires:{at}").into_bytes());
    }
    rules.extend(selector_rules(user.root()));
    for selector in &user.selectors[1..] {
        let inside = selector_rules(selector).join(&b' ');
        rules.push([b"(", &inside[..], b")"].concat());
    }
    rules
}

/// The line of a user in ACL LIST and in files, without its end.
pub fn line(user: &User, groups: &Groups) -> Vec<u8> {
    let rules = rules(user, groups).join(&b' ');
    [b"user ", &*user.name, b" ", &rules].concat()
}
