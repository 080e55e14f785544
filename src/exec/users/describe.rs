//! Users as text: what rules make such a user again.
use crate::state::groups::Groups;
use crate::state::users::pattern::{Access, Pattern};
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

fn key_rules(selector: &Selector) -> Vec<Vec<u8>> {
    if selector.keys.allows_all() {
        return vec![b"~*".to_vec()];
    }
    let rule = |(pattern, access): &(Pattern, Access)| {
        let sign: &[u8] = match *access {
            Access::READ => b"%R~",
            Access::WRITE => b"%W~",
            _ => b"~",
        };
        [sign, pattern.text()].concat()
    };
    selector.keys.patterns().iter().map(rule).collect()
}

fn channel_rules(selector: &Selector) -> Vec<Vec<u8>> {
    if selector.channels.allows_all() {
        return vec![b"&*".to_vec()];
    }
    let patterns = selector.channels.patterns().iter();
    let rules = patterns.map(|(pattern, ())| [b"&", pattern.text()].concat());
    rules.collect()
}

fn command_rules(commands: &Commands) -> Vec<Vec<u8>> {
    let first: &[u8] = if commands.from_all {
        b"+@all"
    } else {
        b"-@all"
    };
    let mut rules = vec![first.to_vec()];
    let more = commands.rules.iter();
    rules.extend(more.map(|rule| {
        let sign: &[u8] = if rule.allow { b"+" } else { b"-" };
        [sign, &rule.text].concat()
    }));
    rules
}

/// `~a %R~b`.
pub fn keys(selector: &Selector) -> Vec<u8> {
    key_rules(selector).join(&b' ')
}

/// `&a &b`.
pub fn channels(selector: &Selector) -> Vec<u8> {
    channel_rules(selector).join(&b' ')
}

/// `-@all +get`.
pub fn commands(commands: &Commands) -> Vec<u8> {
    command_rules(commands).join(&b' ')
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
    let mut rules = key_rules(selector);
    if !selector.channels.allows_all() {
        rules.push(b"resetchannels".to_vec());
    }
    rules.extend(channel_rules(selector));
    rules.extend(databases(selector));
    rules.extend(command_rules(&selector.commands));
    rules
}

/// All rules of a user, in an order in which they make it again; each of them is one argument of ACL SETUSER.
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
