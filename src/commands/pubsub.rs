//! Publish and subscribe: channels, patterns, shard channels, and looking at them.
use crate::base::glob;
use crate::exec::command::{
    Channels, CmdResult, Command, KeySpec, NO_KEYS, Outcome, acl, cmd, container, flag, key_flag,
};
use crate::exec::ctx::Ctx;
use crate::exec::error::subcommand_syntax;
use crate::exec::registry::Family;
use crate::resp::reply::Writer;
use crate::state::client::ReplyMode;
use crate::state::pubsub::Topic;
use flag::{FAST, LOADING, MAY_REPLICATE, NOSCRIPT, STALE, SUBSCRIBED_OK};

const SUBSCRIBING: u32 = flag::PUBSUB | NOSCRIPT | LOADING | STALE | SUBSCRIBED_OK;
const PUBLISHING: u32 = flag::PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE;
const ASKING: u32 = flag::PUBSUB | LOADING | STALE;
/// Shard channels are placed like keys, and are none.
const SHARDS: &[KeySpec] = &[KeySpec::range(key_flag::NOT_KEY, 1, -1, 1)];
const SHARD: &[KeySpec] = &[KeySpec::range(key_flag::NOT_KEY, 1, 1, 1)];

#[rustfmt::skip]
const SUBS: &[Command] = &[
    cmd("channels", -2, ASKING, acl::NONE, NO_KEYS, channels),
    cmd("numsub", -2, ASKING, acl::NONE, NO_KEYS, numsub),
    cmd("numpat", 2, ASKING, acl::NONE, NO_KEYS, numpat),
    cmd("shardchannels", -2, ASKING, acl::NONE, NO_KEYS, shardchannels),
    cmd("shardnumsub", -2, ASKING, acl::NONE, NO_KEYS, shardnumsub),
    cmd("help", 2, LOADING | STALE, acl::NONE, NO_KEYS, help),
];

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    cmd("subscribe", -2, SUBSCRIBING, acl::NONE, NO_KEYS, subscribe).on_channels(Channels::All),
    cmd("unsubscribe", -1, SUBSCRIBING, acl::NONE, NO_KEYS, unsubscribe),
    cmd("psubscribe", -2, SUBSCRIBING, acl::NONE, NO_KEYS, psubscribe).on_channels(Channels::Patterns),
    cmd("punsubscribe", -1, SUBSCRIBING, acl::NONE, NO_KEYS, punsubscribe),
    cmd("ssubscribe", -2, SUBSCRIBING, acl::NONE, SHARDS, ssubscribe).on_channels(Channels::All),
    cmd("sunsubscribe", -1, SUBSCRIBING, acl::NONE, SHARDS, sunsubscribe),
    cmd("publish", 3, PUBLISHING, acl::NONE, NO_KEYS, publish).on_channels(Channels::First),
    cmd("spublish", 3, PUBLISHING, acl::NONE, SHARD, spublish).on_channels(Channels::First),
    container("pubsub", -2, 0, acl::NONE, SUBS),
];

/// Publish and subscribe.
pub static FAMILY: Family = Family {
    group: "pubsub",
    acl: 0,
    commands: COMMANDS,
};

fn subscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    begin(ctx, Topic::Channel, b"subscribe")
}

fn psubscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    begin(ctx, Topic::Pattern, b"psubscribe")
}

fn ssubscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    begin(ctx, Topic::ShardChannel, b"ssubscribe")
}

/// One push for each name, with the number of subscriptions after it.
fn begin(ctx: &mut Ctx<'_>, topic: Topic, word: &[u8]) -> CmdResult {
    for name in ctx.argv.from(1).iter() {
        let count = ctx.state.subscribe(ctx.me, topic, name);
        confirm(ctx, word, Some(name), count);
    }
    Ok(Outcome::Done)
}

fn unsubscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    end(ctx, Topic::Channel, b"unsubscribe")
}

fn punsubscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    end(ctx, Topic::Pattern, b"punsubscribe")
}

fn sunsubscribe(ctx: &mut Ctx<'_>) -> CmdResult {
    end(ctx, Topic::ShardChannel, b"sunsubscribe")
}

/// The same for ending; without names all of the kind end, and where there is none one push says so.
fn end(ctx: &mut Ctx<'_>, topic: Topic, word: &[u8]) -> CmdResult {
    if ctx.argc() > 1 {
        for name in ctx.argv.from(1).iter() {
            let count = ctx.state.unsubscribe(ctx.me, topic, name);
            confirm(ctx, word, Some(name), count);
        }
        return Ok(Outcome::Done);
    }
    let names = ctx.state.subscriptions_of(ctx.me, topic);
    if names.is_empty() {
        let count = ctx
            .client()
            .subscriptions
            .as_ref()
            .map_or(0, |s| s.count(topic));
        confirm(ctx, word, None, count);
    }
    for name in names {
        let count = ctx.state.unsubscribe(ctx.me, topic, &name);
        confirm(ctx, word, Some(&name), count);
    }
    Ok(Outcome::Done)
}

fn confirm(ctx: &mut Ctx<'_>, word: &[u8], name: Option<&[u8]>, count: usize) {
    let write = |out: &mut Writer| {
        out.push(3);
        out.bulk(word);
        match name {
            Some(name) => out.bulk(name),
            None => out.null(),
        }
        out.int(count as i64);
    };
    if ctx.client().reply_mode == ReplyMode::On {
        write(ctx.out);
        return;
    }
    // A push comes to those, too, who want no replies.
    let mut apart = Writer::new(ctx.out.resp3);
    write(&mut apart);
    let outbox = &mut ctx.state.outbox;
    let message = outbox.encode(|bytes| bytes.extend_from_slice(&apart.to_vec()));
    outbox.post(ctx.me, message);
}

fn publish(ctx: &mut Ctx<'_>) -> CmdResult {
    let (channel, message) = (ctx.arg(1), ctx.arg(2));
    let receivers = ctx.state.publish(ctx.group(), channel, message);
    tell_replicas(ctx);
    ctx.int(receivers as i64)
}

fn spublish(ctx: &mut Ctx<'_>) -> CmdResult {
    let (channel, message) = (ctx.arg(1), ctx.arg(2));
    let receivers = ctx.state.publish_to_shard(ctx.group(), channel, message);
    tell_replicas(ctx);
    ctx.int(receivers as i64)
}

/// Who listens at a replica hears it, too; it is nothing to keep in a file.
fn tell_replicas(ctx: &mut Ctx<'_>) {
    if ctx.state.repl.feeds() {
        ctx.state.prop.to_replicas();
    }
}

fn channels(ctx: &mut Ctx<'_>) -> CmdResult {
    list(ctx, Topic::Channel)
}

fn shardchannels(ctx: &mut Ctx<'_>) -> CmdResult {
    list(ctx, Topic::ShardChannel)
}

/// The names that have subscribers, those that match a pattern if one is given.
fn list(ctx: &mut Ctx<'_>, topic: Topic) -> CmdResult {
    if ctx.argc() > 3 {
        return Err(subcommand_syntax(ctx.arg(1), "PUBSUB"));
    }
    let pattern = (ctx.argc() == 3).then(|| ctx.arg(2));
    let hole = ctx.out.open();
    let mut n = 0;
    for name in ctx.state.pubsub.of(ctx.group()).names(topic) {
        if pattern.is_none_or(|pattern| glob::matches(pattern, name, false)) {
            ctx.out.bulk(name);
            n += 1;
        }
    }
    ctx.out.close_array(hole, n);
    Ok(Outcome::Done)
}

fn numsub(ctx: &mut Ctx<'_>) -> CmdResult {
    count(ctx, Topic::Channel)
}

fn shardnumsub(ctx: &mut Ctx<'_>) -> CmdResult {
    count(ctx, Topic::ShardChannel)
}

/// Each name asked for, with the number of its subscribers.
fn count(ctx: &mut Ctx<'_>, topic: Topic) -> CmdResult {
    let names = ctx.argv.from(2);
    ctx.out.array(names.len() * 2);
    for name in names.iter() {
        let subscribers = ctx.state.pubsub.of(ctx.group()).subscribers(topic, name);
        ctx.out.bulk(name);
        ctx.out.int(subscribers as i64);
    }
    Ok(Outcome::Done)
}

fn numpat(ctx: &mut Ctx<'_>) -> CmdResult {
    let patterns = ctx.state.pubsub.of(ctx.group()).len(Topic::Pattern);
    ctx.int(patterns as i64)
}

fn help(ctx: &mut Ctx<'_>) -> CmdResult {
    ctx.help(&[
        "CHANNELS [<pattern>]",
        "    List the channels that have subscribers, or those that match <pattern>.",
        "NUMPAT",
        "    Tell how many patterns are subscribed to.",
        "NUMSUB [<channel> ...]",
        "    Tell how many clients subscribed to each channel, patterns not counted.",
        "SHARDCHANNELS [<pattern>]",
        "    List the shard channels that have subscribers, or those that match <pattern>.",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Tell how many clients subscribed to each shard channel.",
    ])
}
