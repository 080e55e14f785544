"""EVAL and its kin: small Lua programs over keys and arguments, conversions of replies both ways, errors, the sandbox.

A program is lines of Lua drawn from the lists below. What is left out: what has no order (pairs over a table with names,
members of a set), the clock, memory, addresses (a table as text), versions. The libraries (cjson ...) have a family of
their own."""
import hashlib

from grammar import BINARY, FLOATS, INTS, NOT_INTS

SCRIPTS = """
12= EVAL script '2 key key value value
3= EVAL script numkeys key key value
2= EVAL_RO script '2 key key value value
2= SCRIPT LOAD known
3= (EVALSHA|EVALSHA|EVALSHA_RO) sha '2 key key value value
1 SCRIPT EXISTS sha ...
1= SCRIPT FLUSH [ASYNC|SYNC|value]
1 (EVAL|EVALSHA|EVAL_RO|SCRIPT LOAD|SCRIPT KILL|SCRIPT NOSUCH|SCRIPT HELP|SCRIPT FLUSH) [known] [numkeys] [key] [value]
1= EVAL flagged '1 key value
2 SET key value [EX sec]
2 (GET|TYPE|DEL|STRLEN) key
1 HSET key (field value) ...
1 RPUSH key value ...
1 ZADD key index value
1= HELLO ('2|'3)
1= MULTI
2= EXEC
1= WATCH key
1= SELECT ('0|'1|'0)
"""

# Scripts that EVALSHA asks for; some of them are bad.
KNOWN = [b"return 1", b"return redis.call('incr',KEYS[1])", b"return {KEYS[1],KEYS[2],ARGV[1],ARGV[2]}",
         b"return redis.call('get',KEYS[1])", b"return redis.pcall('lpush',KEYS[1],ARGV[1])", b"return #ARGV", b"",
         b"return", b"redis.call('set',KEYS[1],ARGV[1])", b"return nosuch", b"return 'x", b"#!lua flags=no-writes\nreturn 7",
         b"#!lua\nreturn redis.call('set',KEYS[1],'y')"]
FLAGS = [b"", b" flags=", b" flags=no-writes", b" flags=allow-stale,no-cluster", b" flags=no-writes,allow-oom", b" flags=nosuch",
         b" flags=allow-cross-slot-keys", b" name=x", b" flags=no-writes flags=allow-oom", b" x", b" flags", b" flags=no-writes,",
         b" flags=,", b" =", b"flags=no-writes"]

# Numbers and texts as Lua has them.
LITERALS = """0 1 -1 2.5 3.0 -0.5 3.99 1e15 1e17 123456789012 9007199254740993 1e100 1e300 0/0 1/0 -1/0 true false nil 'x' '' 'abc'
'12' '1.5' ' 7 ' '0x10' '1e3' 'a\\0b' 'a\\r\\nb' '\\255' {} {1,2,3} {1,nil,3} {'a',{'b',{'c'}}} {ok='fine'} {ok='a\\r\\nb'} {err='ERR\\040bad'}
{err='MY\\040own\\040text'} {err='nospace'} {err='-DASH\\040x'} {err=''} {err=5} {ok=5} {ok={}} {1,2,ok='both',err='both'} {1.5,'2',true,false}
{false} {{}} {double=3.25} {double=1e15} {double='x'} {double=1/0} {map={a=1}} {map={}} {map=1} {set={x=true}} {set={}}
{big_number='12345678901234567890'} {big_number='1\\r\\n2'} {verbatim_string={format='txt',string='hi'}} {verbatim_string={format='toolong',string='hi'}}
{verbatim_string={}} {x=1} {[1]='a',[2]='b',[4]='d'} {nil,1} #KEYS #ARGV KEYS[1] KEYS[2] KEYS[3] ARGV[1] ARGV[2] ARGV[3] KEYS ARGV KEYS[1]..ARGV[1]
tonumber(ARGV[1]) tostring(ARGV[2]) tonumber(ARGV[1],16) tostring(1e15) tostring(1e14+0.5) tostring(-0) tostring(nil) 10/3 7%3 -7%3 2^53 2^0.5 1e15/10
math.floor(-2.5) math.max(1,7,3) math.huge math.pi math.fmod(-7,3) #'abc' ('x'):rep(3) string.format('%d|%5.2f|%s|%q|%x',3,2.5,'s','q"\\n',255)
string.format('%.17g',0.1) string.format('%d',3.7) string.byte('A') ('abc'):sub(2) ('a,b,c'):gsub(',',';') ('key=val'):match('(%w+)=(%w+)') ('hello'):find('l')
table.concat({1,2,'x'},',') table.concat(ARGV,'-') unpack({1,2,3}) select('#',1,nil,3) select(2,'a','b','c') type(redis) type(KEYS) type(nil) type(redis.call) type(nosuch)
redis.sha1hex(ARGV[1]) redis.sha1hex('') redis.sha1hex() redis.sha1hex(1,2) redis.sha1hex(5) redis.error_reply('My\\040Err') redis.error_reply('ERR\\040x') redis.error_reply('') redis.error_reply('-x\\040y')
redis.error_reply() redis.error_reply(1) redis.status_reply('st') redis.status_reply('a\\nb') redis.status_reply({}) redis.LOG_DEBUG redis.LOG_WARNING redis.REPL_ALL redis.REPL_SLAVE redis.REPL_NONE redis.nosuch
redis.acl_check_cmd('get','k') redis.acl_check_cmd('nosuch') redis.acl_check_cmd() redis.replicate_commands() redis.set_repl(redis.REPL_ALL) redis.set_repl(77) redis.set_repl() redis.breakpoint() redis.setresp(3) redis.setresp(2) redis.setresp(4) redis.setresp('x')
redis.log(redis.LOG_NOTICE,'hi') redis.log(9,'x') redis.log('x') redis.log() next({}) rawget({a=1},'a') rawequal('a','a') #'' not\\040nil 1==1 'a'<'b' ('x'):upper() ('%d'):format('12') tostring(true)..'x' pcall(error,'e') pcall(error) (pcall(error,{err='t'}))
pcall(function()\\040return\\0401,2\\040end) xpcall(function()\\040error('in')\\040end,function(e)\\040return\\040'H:'..tostring(e)\\040end) loadstring('return\\0405')() loadstring('bad\\040bad') load(function()\\040return\\040nil\\040end) type(loadstring('return\\0401'))
bit.band(255,ARGV[1]) cjson.encode({1,'a'}) cjson.decode('[1,2.5,null]')[3]==cjson.null cmsgpack.unpack(cmsgpack.pack({1,'x'})) struct.unpack('>I2',struct.pack('>I2',258))""".split()

# Statements that go wrong, each in its way, and what the sandbox forbids.
BAD = r"""error('boom') error('boom',0) error('boom',2) error() error(nil) error({err='MY own'}) error({err='nospace'}) error(42) error(true)
error({err='E x',extra=1}) error(redis.error_reply('R x')) local\040x=nil;x.y=1 local\040x=nil;x() local\040x=nosuch nosuch=1 nosuch() _G.x=1 _G['x']=1 rawset(_G,'x',1) rawset(redis,'x',1) rawset(string,'x',1)
redis.x=1 redis=nil KEYS=nil string.x=1 string.format=nil table.insert(redis,1) table.insert(KEYS,'k') ARGV[1]='changed' setmetatable(_G,nil) setmetatable(_G,{}) setmetatable(redis,{}) getmetatable('').__index=nil getmetatable('').x=1 getmetatable(_G).__index=nil
print('x') require('os') dofile('/etc/passwd') loadfile('x') io.open('x') debug.traceback() newproxy() module('x') package.path='x' coroutine.yield() coroutine.wrap(function()coroutine.yield(1)end)() local\040t=setmetatable({},{__index=function()error('meta')end});return\040t.x
local\040a='x'+1 local\040a={}+1 local\040a={}..'x' local\040a=1<'2' local\040a={}<{} local\040a=#5 local\040a=-{} for\040i=1,'x'\040do\040end for\040i='a',2\040do\040end local\040t={};t[nil]=1 local\040t={};t[0/0]=1 string.rep() string.rep('x',-1) ('x'):bad() tonumber() tostring() math.floor('x') math.random(0) math.random(2,1) table.concat({{}}) table.concat({1,nil,2},',',1,3)
unpack() select(0) string.format('%d','x') string.format('%') string.char(256) setmetatable(1,{}) next({},'nokey') ipairs() local\040function\040f()\040return\040f()+1\040end;f() ('x'):rep(10):gsub('(','') string.find('a','[') string.find('a','%') assert(false) assert(false,'msg') assert(nil,{err='T x'}) assert(1,2)
redis.call() redis.pcall() redis.call('') redis.call(nil) redis.call({}) redis.call('get',{}) redis.call('get',nil) redis.call('get',true) redis.call('nosuch') redis.call('get') redis.call('get','a','b') redis.call('set','k') redis.call('multi') redis.call('exec') redis.call('watch','k') redis.call('subscribe','c') redis.call('eval','return\0401','0') redis.call('auth','x') redis.call('client','no-evict','x') redis.call('debug','x')
redis.call('config','nosuch') redis.call('monitor') redis.call('bgsave','x') redis.call('shutdown','x') redis.call('blpop','nokey',0) redis.call('brpoplpush','nokey','x',0) redis.call('object','nosuch') redis.call('object') redis.call('script','load','x') redis.call('hello') redis.call('quit') redis.call('reset') redis.call('select','99') redis.call('select','x') redis.call('select','1')""".split()

CALLS = """get,K set,K,A set,K,A,nx set,K,A,xx,get incr,K incrby,K,N incrbyfloat,K,F append,K,A strlen,K getrange,K,N,N setrange,K,3,A mset,K,A,K2,A2 mget,K,K2 mget,K,nokey getdel,K del,K del,K,K2 exists,K,K2 type,K
expire,K,100000 ttl,nokey persist,K rename,K,K2 copy,K,K2,replace hset,K,f,A hset,K,f,A,g,N hget,K,f hmget,K,f,nofield hincrby,K,f,N hdel,K,f hlen,K hexists,K,f rpush,K,A,A2 lpush,K,N lrange,K,0,-1 lpop,K rpop,K,2 llen,K lindex,K,N linsert,K,before,A,x lset,K,0,A ltrim,K,0,2 lmpop,2,K,K2,left
sadd,K,A srem,K,A scard,K sismember,K,A smismember,K,A,x zadd,K,N,A zadd,K,F,A2 zadd,K,incr,1.5,A zscore,K,A zmscore,K,A,x zincrby,K,F,A zrange,K,0,-1,withscores zrank,K,A zrem,K,A zpopmin,K zcard,K zrangebyscore,K,-inf,+inf zcount,K,-inf,+inf
setbit,K,7,1 getbit,K,7 bitcount,K bitfield,K,get,u8,0 pfadd,K,A pfcount,K xadd,K,1-1,f,A xadd,K,*,f,A xlen,K xrange,K,-,+ geoadd,K,13.36,38.11,A geopos,K,A,x geodist,K,A,x dbsize echo,A ping publish,c,A spublish,c,A exists,nokey dump,nokey lpos,K,A""".split()


def text(m):
    """A piece of Lua text from an argument of any kind."""
    raw = m.rng.choice(INTS + NOT_INTS + FLOATS + BINARY + [b"abc", b"x", b"y"])
    return "'" + "".join(f"\\{byte:03d}" if byte < 32 or byte > 126 or byte in b"'\\" else chr(byte) for byte in raw) + "'"


def argument(m, word):
    if word in ("K", "K2"):
        return "KEYS[1]" if word == "K" else "KEYS[2]"
    if word in ("A", "A2"):
        return m.rng.choice(["ARGV[1]", "ARGV[2]", text(m), "1.0", "17", "2.75", "'v'"])
    if word == "N":
        return m.rng.choice(["1", "-2", "3", "0", "2.0", "'4'", "1.5", "ARGV[1]"])
    if word == "F":
        return m.rng.choice(["0.5", "1e3", "-2.25", "'1.5'", "'1e100'", "'inf'", "0.25"])
    return f"'{word}'" if m.rng.random() < 0.9 else f"'{word.upper()}'"


def call(m):
    words = m.rng.choice(CALLS).split(",")
    # The fields that XADD makes of the clock are no use here.
    words = ["2-2" if word == "*" else word for word in words]
    name = m.rng.choice(["call", "call", "pcall"])
    return f"redis.{name}({','.join(argument(m, word) for word in words)})"


def written(piece):
    return piece.replace("\\040", " ")


def expression(m):
    r = m.rng.random()
    if r < 0.45:
        return call(m)
    if r < 0.9:
        return written(m.rng.choice(LITERALS))
    return "{" + ",".join(expression(m) for _ in range(m.rng.randrange(4))) + "}"


def lines(m):
    out = []
    for n in range(m.rng.choice([0, 0, 1, 1, 2, 3])):
        r = m.rng.random()
        if r < 0.4:
            out.append(call(m))
        elif r < 0.6:
            out.append(f"local v{n} = {expression(m)}")
        elif r < 0.72:
            out.append("redis.setresp(%d)" % m.rng.choice([2, 3, 3]))
        elif r < 0.82:
            out.append(written(m.rng.choice(BAD)))
        elif r < 0.88:
            out.append(f"for i = 1, {m.rng.randrange(4)} do {call(m)} end")
        elif r < 0.94:
            out.append(f"if {expression(m)} then {call(m)} else {call(m)} end")
        else:
            out.append(f"local ok, e = pcall(function() {written(m.rng.choice(BAD))} end) if not ok then return "
                       + m.rng.choice(["e", "tostring(type(e)=='table' and e.err or e)", "{err='ERR again'}", "error(e)"]) + " end")
    r = m.rng.random()
    if r < 0.75:
        out.append(f"return {expression(m)}")
    elif r < 0.85:
        out.append(written(m.rng.choice(BAD)))
    elif r < 0.9:
        out.append(f"return {expression(m)}, {expression(m)}")
    elif r < 0.93:
        out.append(m.rng.choice(["return (", "retrun 1", "x =", "return 1 1", "end", "if", "return 'x", "\x00", "--", "goto x", "return 0x", "return 1..2"]))
    return out


def script(m):
    return m.rng.choice(["\n", "\n", "; ", " \n\n"]).join(lines(m)).encode("latin-1")


def flagged(m):
    return b"#!" + m.rng.choice([b"lua", b"lua", b"lua", b"LUA", b"nosuch", b""]) + m.rng.choice(FLAGS) \
        + m.rng.choice([b"\n", b"\n", b"\r\n", b""]) + script(m)


def sha(m):
    name = hashlib.sha1(m.rng.choice(KNOWN)).hexdigest().encode()
    return m.rng.choice([name, name, name, name.upper(), name[:20], b"x" * 40])


POOLS = {
    "script": script, "flagged": flagged, "sha": sha, "known": lambda m: m.rng.choice(KNOWN),
    "numkeys": lambda m: m.rng.choice([b"0", b"1", b"2", b"2", b"3", b"4", b"-1", b"x", b"", b"1.5", b"99999999999999999999"]),
}
FAMILIES = {"scripts": (SCRIPTS, 1, 50)}
