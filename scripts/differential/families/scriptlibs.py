"""The libraries of scripts and FUNCTION: random values and spoilt texts through cjson, cmsgpack, struct and bit, and
random libraries loaded, replaced, called and carried. Error texts are compared to the byte."""
import json

LIBS = """
10 EVAL jsonread '0 jsontext
8 EVAL anywrite '0
8 EVAL msgread '0 msgbytes number
6 EVAL packed '0
6 EVAL unpackedby '0 structformat msgbytes
6 EVAL bits '0
"""
FUNCTIONS = """
8 FUNCTION LOAD [REPLACE] library
8 FCALL funname '1 akey value
4 FCALL_RO funname '0
3 FCALL funname numkeys akey value
2 FUNCTION DELETE libname
1 FUNCTION FLUSH [ASYNC|SYNC|value]
2 FUNCTION STATS
1 GET akey
1 SET akey value
"""


def lua(raw):
    """A string of Lua that is these bytes."""
    return b'"' + b"".join(b"\\%03d" % c for c in raw) + b'"'


def number(m):
    return m.rng.choice([0, 1, -1, 2, 7, -32, -33, 127, 128, 255, 256, 65535, 65536, 2**31, -(2**31) - 1, 2**32, 2**53, 2**63, -(2**63),
                         0.5, -1.5, 0.1, 1e15, 1e100, -1e-7, 123456.789, m.rng.randrange(-1000, 1000), m.rng.random()])


def table(m, depth=3):
    """A value of Lua, as Lua."""
    r = m.rng.random()
    if depth == 0 or r < 0.4:
        n = number(m)
        return m.rng.choice([b"%r" % n if isinstance(n, int) else repr(n).encode(), lua(text(m)), b"true", b"false", b"cjson.null"])
    if r < 0.7:
        return b"{" + b",".join(table(m, depth - 1) for _ in range(m.rng.randrange(5))) + b"}"
    # Debian's Lua has another hash for strings of 32 bytes and more, and so another order of keys.
    keys = [b"[" + lua(text(m)[:31]) + b"]" if m.rng.random() < 0.7 else b"[%d]" % m.rng.randrange(-1, 30) for _ in range(m.rng.randrange(4))]
    return b"{" + b",".join(k + b"=" + table(m, depth - 1) for k in keys) + b"}"


def text(m):
    return m.rng.choice([b"", b"a", b"key", b'q"/\\', b"\n\t\r\b\f", b"\x00\x01\x1f\x7f", b"\xc3\xa9", b"\xff\xfe", b"x" * m.rng.choice([31, 32, 255, 256, 600])])


def plain(m, depth=3):
    r = m.rng.random()
    if depth == 0 or r < 0.45:
        return m.rng.choice([number(m), "", "x/y", "\u00e9\u20ac\U0001f600", True, False, None, "\n\"\\"])
    if r < 0.75:
        return [plain(m, depth - 1) for _ in range(m.rng.randrange(4))]
    return {m.rng.choice(["a", "b", "1", "", "c d"]): plain(m, depth - 1) for _ in range(m.rng.randrange(4))}


def spoil(m, raw, marks):
    raw = bytearray(raw)
    for _ in range(m.rng.choice([0, 0, 1, 1, 2])):
        at = m.rng.randrange(len(raw) + 1)
        raw[at : at + m.rng.randrange(3)] = m.rng.choice(marks)
    return bytes(raw)


JSON_MARKS = [b"", b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u12", b"\\ud800", b"\\udc00", b"\\x", b"nan", b"-", b"0x1f", b"1e", b"inf",
              b"tru", b" ", b"\0", b"01", b".5", b"+1", b"1e5", b"5."]
MSG_MARKS = [b"", b"\x90", b"\x91", b"\x81", b"\xc0", b"\xc1", b"\xc4", b"\xd9\x02", b"\xdc\0\1", b"\xdf\0\0\0\1", b"\xcf" + b"\xff" * 8, b"\xcb\x7f",
             b"\xca\x7f\xc0\0\0", b"\xdd\xff\xff\xff\xff", b"a", b"\x01"]


def msgpack(m, depth=3):
    r = m.rng.random()
    if depth == 0 or r < 0.5:
        return m.rng.choice([b"\x00", b"\x7f", b"\xff", b"\xcc\x80", b"\xd1\x80\x00", b"\xcb?\xf0\0\0\0\0\0\0", b"\xca?\x80\0\0", b"\xa1a", b"\xa0", b"\xc3",
                             b"\xc2", b"\xc0", b"\xd9\x03abc", b"\xcf\0\x20\0\0\0\0\0\1", b"\xd3" + b"\xff" * 8])
    n = m.rng.randrange(4)
    if r < 0.75:
        return bytes([0x90 | n]) + b"".join(msgpack(m, depth - 1) for _ in range(n))
    return bytes([0x80 | n]) + b"".join(m.rng.choice([b"\xa1a", b"\x01", b"\xa1b", b"\x05"]) + msgpack(m, depth - 1) for _ in range(n))


def structformat(m):
    return spoil(m, b"".join(m.rng.choice([b"b", b"B", b"h", b"H", b"i", b"I", b"l", b"L", b"T", b"f", b"d", b"s", b"c0", b"c2", b"x", b"<", b">", b"!", b"!4",
                                           b"!8", b" ", b"i3", b"I7", b"i12", b"i32", b"c"]) for _ in range(m.rng.randrange(6))),
                 [b"", b"i33", b"!3", b"z", b"%", b"9", b"\0"])


SHOW = b"""local function show(v) if type(v)~='table' then return type(v)..':'..tostring(v) end
local o={} for k,x in pairs(v) do o[#o+1]=show(k)..'='..show(x) end return '{'..table.concat(o,',')..'}' end
local function all(ok,...) local o={tostring(ok)} for i=1,select('#',...) do o[#o+1]=show((select(i,...))) end return o end """


def json_read(m):
    settings = m.rng.choice([b"", b"", b"cjson.decode_invalid_numbers(false) ", b"cjson.decode_max_depth(2) "])
    restore = b" cjson.decode_invalid_numbers(true) cjson.decode_max_depth(1000) "
    return SHOW + settings + b"local r=all(pcall(cjson.decode,ARGV[1]))" + restore + b"return r"


def any_write(m):
    settings = m.rng.choice([b"", b"", b"", b"cjson.encode_number_precision(%d) " % m.rng.randrange(0, 16), b"cjson.encode_max_depth(2) ",
                             b"cjson.encode_sparse_array(true,2,3) ", b"cjson.encode_invalid_numbers('null') "])
    restore = b" cjson.encode_number_precision(14) cjson.encode_max_depth(1000) cjson.encode_sparse_array(false,2,10) cjson.encode_invalid_numbers(false) "
    call = m.rng.choice([b"cjson.encode", b"cjson.encode", b"cmsgpack.pack"])
    return (b"local ok,e=pcall(function() " + settings + b"local t=" + table(m) + b" return {" + call + b"(t)," + call + b"(" + table(m, 1) + b")} end)"
            + restore + b"if ok then return e end return {'error',e}")


def msg_read(m):
    call = m.rng.choice([b"cmsgpack.unpack,ARGV[1]", b"cmsgpack.unpack_one,ARGV[1],tonumber(ARGV[2])",
                         b"cmsgpack.unpack_limit,ARGV[1],%d,tonumber(ARGV[2])" % m.rng.randrange(-1, 4)])
    return SHOW + b"return all(pcall(" + call + b"))"


def pack(m):
    args = b"".join(b"," + (repr(number(m)).encode() if m.rng.random() < 0.8 else lua(text(m))) for _ in range(m.rng.randrange(7)))
    return b"return {pcall(struct.pack," + lua(structformat(m)) + args + b")}"


def bits(m):
    name = m.rng.choice([b"tobit", b"bnot", b"band", b"bor", b"bxor", b"lshift", b"rshift", b"arshift", b"rol", b"ror", b"bswap", b"tohex"])
    args = b"".join(b"," + m.rng.choice([repr(number(m)).encode()] * 6 + [b"'12'", b"'x'", b"nil", b"{}", b"1/0"]) for _ in range(m.rng.randrange(4)))
    return b"local ok,e=pcall(bit." + name + args + b") return {tostring(ok),tostring(e)}"


NAMES = [b"f", b"F", b"g", b"h"]
BODIES = [b"return {keys,args}", b"return redis.call('set',keys[1],args[1])", b"return redis.call('get',keys[1])", b"return redis.call('incr',keys[1])",
          b"error('boom')", b"return nosuch", b"x=1", b"return redis.pcall('nosuch')", b"return {err='MY error'}", b"return redis.error_reply('X y')",
          b"return cjson.encode({keys,args})", b"return redis.status_reply('fine')", b"return redis.register_function", b"redis.setresp(3) return 1"]


def library(m):
    rng = m.rng
    head = rng.choice([b"#!lua name=%s\n"] * 8 + [b"#!lua\n", b"#!LUA name=%s \n", b"#!x name=%s\n", b"#!lua name=%s name=b\n", b"#!lua name=%s", b"name=%s\n",
                                                   b"#!lua name='%s'\n", b"#!lua name=%s y=1\n", b"#!lua name=%s!\n"])
    head = head % rng.choice(LIBRARIES) if b"%s" in head else head
    out = []
    used = {}
    for _ in range(rng.randrange(1, 4)):
        name, body = rng.choice(NAMES), rng.choice(BODIES)
        if used.setdefault(name.lower(), name) != name:
            continue  # the real server dies of two names that differ in case
        callback = b"function(keys,args) " + body + b" end"
        if rng.random() < 0.5:
            out.append(b"redis.register_function('" + name + b"'," + callback + b")")
            continue
        fields = [b"function_name='" + name + b"'", b"callback=" + callback]
        if rng.random() < 0.6:
            fields.append(b"flags={" + b",".join(rng.sample([b"'no-writes'", b"'allow-oom'", b"'allow-stale'", b"'no-cluster'"], rng.randrange(3))) + b"}")
        if rng.random() < 0.3:
            fields.append(rng.choice([b"description='d'", b"description={}", b"flags=1", b"flags={1}", b"zz=1", b"callback=1", b"function_name=true"]))
        if rng.random() < 0.1:
            fields.pop(0)
        out.append(b"redis.register_function{" + b",".join(fields) + b"}")
    if rng.random() < 0.15:
        out.append(rng.choice([b"x=1", b"bad lua", b"redis.call('ping')", b"error('x')", b"redis.register_function(1)", b"return math.pi", b"redis.x=2"]))
    return head + rng.choice([b"\n", b" ", b"\n\n"]).join(out)


LIBRARIES = [b"one", b"two", b"One"]
POOLS = {
    "jsonread": json_read, "anywrite": any_write, "msgread": msg_read, "packed": pack, "bits": bits, "structformat": structformat,
    "unpackedby": lambda m: SHOW + m.rng.choice([b"return all(pcall(struct.unpack,ARGV[1],ARGV[2]))", b"return all(pcall(struct.size,ARGV[1]))"]),
    "jsontext": lambda m: spoil(m, json.dumps(plain(m), ensure_ascii=m.rng.random() < 0.5).encode(), JSON_MARKS),
    "msgbytes": lambda m: spoil(m, b"".join(msgpack(m) for _ in range(m.rng.randrange(1, 4))), MSG_MARKS),
    "number": lambda m: b"%d" % m.rng.randrange(-1, 6),
    "library": library, "libname": lambda m: m.rng.choice(LIBRARIES), "funname": lambda m: m.rng.choice(NAMES + [b"nope"]),
    "numkeys": lambda m: m.rng.choice([b"0", b"1", b"2", b"3", b"-1", b"x", b""]), "akey": lambda m: b"k%d" % m.rng.randrange(3),
}
# Which of several is met first: the real server walks its functions in the order of their hashes.
TEXTS = [(b"FUNCTION", b"-ERR Function ", b"-ERR Function "), (b"FUNCTION LOAD", b"-ERR Function ", b"-ERR Function ")]
FAMILIES = {"scriptlibs": (LIBS, 1, 20), "functions": (FUNCTIONS, 1, 40)}
