//! The libraries in a state of Lua by themselves: `cases.txt` holds expressions, one after another in one state,
//! and what redis-server 7.0.15 says to each.
use mlua::Lua;

const CASES: &str = include_str!("cases.txt");

/// Evaluates an expression in protection: all that it gives, as text; what cannot be printed in hexadecimal.
const WRAPPED: &str = include_str!("cases.lua");

fn state() -> Lua {
    let lua = Lua::new();
    super::install(&lua).unwrap();
    // All that the expressions want of the server.
    let sha1hex = lua.create_function(|_, bytes: mlua::LuaString| {
        use sha1::{Digest, Sha1};
        let sum = Sha1::digest(&*bytes.as_bytes());
        Ok(sum.iter().map(|b| format!("{b:02x}")).collect::<String>())
    });
    let redis = lua.create_table().unwrap();
    redis.set("sha1hex", sha1hex.unwrap()).unwrap();
    lua.globals().set("redis", redis).unwrap();
    lua
}

fn ask(lua: &Lua, expression: &str) -> String {
    let code = WRAPPED.replace("EXPR", expression);
    let chunk = lua.load(code).set_name("=user_script");
    match chunk.eval::<mlua::LuaString>() {
        Ok(text) => text.to_string_lossy(),
        Err(error) => format!("ERROR {error}"),
    }
}

#[test]
fn libraries_answer_as_those_of_redis_do() {
    let lua = state();
    let mut wrong = Vec::new();
    let mut lines = CASES.lines();
    while let (Some(expression), Some(expected)) = (lines.next(), lines.next()) {
        let expected = expected.strip_prefix("  = ").unwrap();
        let got = ask(&lua, expression);
        if got != expected {
            wrong.push(format!("{expression}\n  = {expected}\n  ! {got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Inputs that ask for more than there is: depth, length, memory. Each is an error, and the state goes on.
#[test]
fn hostile_inputs_are_errors() {
    let lua = state();
    lua.set_memory_limit(32 << 20).unwrap();
    for (expression, text) in [
        (
            "cjson.encode_max_depth(2^31-1), cjson.decode_max_depth(2^31-1)",
            "2147483647 2147483647",
        ),
        (
            "cjson.decode(string.rep('[',1e6))",
            "Found too many nested data structures",
        ),
        (
            "cjson.decode(string.rep('{\"a\":',1e5))",
            "Found too many nested data structures",
        ),
        (
            "(function() local t={} for i=1,1e5 do t={t} end return cjson.encode(t) end)()",
            "Cannot serialise, excessive nesting",
        ),
        (
            "(function() local t={} for i=1,1e5 do t={a=t} end return cjson.encode(t) end)()",
            "Cannot serialise, excessive nesting",
        ),
        (
            "(function() local t={} t[1]=t return cmsgpack.pack(t) end)()",
            "91919191919191919191919191919191c0",
        ),
        (
            "(function() local s,t=string.rep('x',1e6),{} for i=1,1000 do t[i]=s end \
             return cjson.encode(t) end)()",
            "not enough memory",
        ),
        (
            "(function() local s,t=string.rep('x',1e6),{} for i=1,1000 do t[i]=s end \
             return cmsgpack.pack(t) end)()",
            "not enough memory",
        ),
        (
            "(cjson.encode_sparse_array(false,0)) == false and cjson.encode({[2^31-1]=1})",
            "not enough memory",
        ),
        (
            "cmsgpack.unpack(string.rep('\\221\\255\\255\\255\\255',1e5))",
            "stack overflow",
        ),
        (
            "cmsgpack.unpack(string.rep('\\129\\1',1e5))",
            "stack overflow",
        ),
        (
            "struct.pack('c2147483647',string.rep('x',1e6))",
            "string too short",
        ),
        (
            "struct.pack(string.rep('i32',1e5))",
            "number expected, got nil",
        ),
        (
            "struct.unpack('c0',string.rep('x',10),2^53)",
            "data string too short",
        ),
        ("#cjson.encode({string.rep('x',1e6)})", "1000004"),
    ] {
        let got = ask(&lua, expression);
        assert!(got.contains(text), "{expression}: {got}");
    }
    assert_eq!(ask(&lua, "cjson.encode({1})"), "[1]");
}

/// Random bytes, and random changes of good ones, never do more than fail.
#[test]
fn random_inputs_are_values_or_errors() {
    let lua = state();
    let code = "
        math.randomseed(7)
        local good = {'{\"a\":[1,2.5e3,null,true,\"x\\\\u00e9\\\\n\"],\"b\":{}}',
            cmsgpack.pack({a={1,2,{x='y'}},b=-1.5,[3]=false}, 'text', 70000), '!4bihs>dc3 fI3xc0'}
        local readers = {cjson.decode, cmsgpack.unpack, cmsgpack.unpack_one, struct.size,
            function(s) return struct.unpack(s, good[2]) end,
            function(s) return struct.pack(s, 1, 2, 3, 'abc', 4, 5, 6, 7) end}
        local fine = 0
        for round = 1, 30000 do
            local s = good[math.random(3)]
            for change = 1, math.random(0, 3) do
                local at = math.random(0, #s)
                local with = string.char(math.random(0, 255)):rep(math.random(0, 2))
                s = s:sub(1, at) .. with .. s:sub(at + math.random(1, 3))
            end
            for _, read in ipairs(readers) do
                local ok, value = pcall(function() return (read(s)) end)
                if ok then fine = fine + 1 else assert(type(value) == 'string') end
                if ok and type(value) == 'table' then
                    pcall(cjson.encode, value)
                    cmsgpack.pack(value)
                end
            end
        end
        return fine";
    let fine: u32 = lua.load(code).eval().unwrap();
    assert!(fine > 1000);
}
