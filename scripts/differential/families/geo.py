"""Places on the globe: every option, the poles, the antimeridian and what lies beyond the map.

No two places are the same, but by chance: of several at one distance COUNT takes any in the real server, which sorts in
an order of its own."""
import math

from grammar import NOT_FLOATS, NOT_INTS, from_list, key_of, value
from wire import decode

GEO = """
6 GEOADD geokey (lon lat place) ... ...
3 GEOADD geokey [NX|XX] [CH] (lon lat place) ...
2 GEOADD geokey [NX] [XX] [CH] (lon lat place) ...
2 GEODIST geokey place place [unit]
2 GEOPOS geokey place ...
2 GEOHASH geokey place ...
5 GEORADIUS geokey lon lat radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT places [ANY]] [ASC|DESC]
3 GEORADIUS geokey lon lat radius unit [COUNT places [ANY]] [ASC|DESC] (STORE|STOREDIST) geokey [WITHDIST] [STOREDIST geokey]
2 GEORADIUS_RO geokey lon lat radius unit [WITHDIST] [WITHHASH] [WITHCOORD] [COUNT places] [STORE geokey]
3 GEORADIUSBYMEMBER geokey place radius unit [WITHCOORD] [WITHDIST] [COUNT places [ANY]] [DESC] [ASC]
2 GEORADIUSBYMEMBER geokey place radius unit [COUNT places] [STOREDIST geokey|STORE geokey] [ASC|DESC]
1 GEORADIUSBYMEMBER_RO geokey place radius unit [WITHHASH] [ASC|DESC|STORE geokey] [COUNT places]
5 GEOSEARCH geokey (FROMMEMBER place|FROMLONLAT lon lat) (BYRADIUS radius unit|BYBOX radius radius unit) [ASC|DESC] [COUNT places [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]
4 GEOSEARCH geokey [WITHDIST] (BYBOX radius radius unit|BYRADIUS radius unit) [DESC] (FROMLONLAT lon lat|FROMMEMBER place) [WITHCOORD]
2 GEOSEARCH geokey [FROMMEMBER place] [FROMLONLAT lon lat] [BYRADIUS radius unit] [BYBOX radius radius unit] [ANY] [STOREDIST] [COUNT places]
4 GEOSEARCHSTORE geokey geokey (FROMMEMBER place|FROMLONLAT lon lat) (BYRADIUS radius unit|BYBOX radius radius unit) [ASC|DESC] [COUNT places [ANY]] [STOREDIST] [WITHDIST]
2 ZADD geokey (float place) ...
1 ZREM geokey place ...
2 ZRANGE geokey '0 '-1 WITHSCORES
1 (ZCARD geokey|OBJECT ENCODING geokey|DEL geokey|SET geokey value|COPY geokey geokey|EXPIRE geokey sec|TTL geokey)
1 COMMAND (GETKEYS|GETKEYSANDFLAGS) (GEORADIUS geokey lon lat radius unit [STORE geokey] [COUNT places] [STOREDIST geokey]|GEORADIUSBYMEMBER geokey place radius unit [STORE geokey] [STOREDIST geokey] [ASC])
"""

FAMILIES = {"geo": (GEO, 1, 60)}

# Where cases like to be: mid-latitudes, the equator, both sides of the antimeridian, near the map's ends.
SPOTS = [(13.4, 52.5), (-0.1, 0.1), (179.99, 36.0), (-179.99, -36.0), (45.0, 85.0), (-135.0, 84.0), (100.0, -85.05), (2.35, 48.85)]


def spot(m):
    if not hasattr(m, "spot"):
        m.spot = m.rng.choice(SPOTS)
        m.spread = m.rng.choice([0.001, 0.1, 1, 30])
    return m.spot


def axis(which, most):
    def draw(m):
        r = m.rng.random()
        if r < 0.75:
            at = spot(m)[which] + m.rng.uniform(-1, 1) * m.spread
            if abs(at) > most:
                at -= math.copysign(2 * most, at) if which == 0 else 2 * (at - math.copysign(most, at))
            return b"%.*f" % (m.rng.choice([9, 15]), at)
        if r < 0.93:
            return b"%.*f" % (m.rng.choice([7, 17]), m.rng.uniform(-most, most))
        return m.rng.choice([b"%.8f" % most, b"-%.8f" % most, b"0", b"-0", b"1e-300", b"%.9f" % (most + 1e-8), b"181", b"-86",
                             b"1e30", b"inf", b"-inf"] + NOT_FLOATS)
    return draw


def radius(m):
    spot(m)
    r = m.rng.random()
    if r < 0.7:  # as wide as the places are spread, in one of the units
        return b"%.*f" % (m.rng.choice([0, 4, 17]), m.spread * m.rng.uniform(0, 150) * m.rng.choice([1, 1000, 3280, 0.621, 0.01]))
    if r < 0.93:
        return b"%.3f" % 10 ** m.rng.uniform(-3, 8)
    return m.rng.choice([b"0", b"-0", b"-1", b"1e300", b"inf", b"-inf", b"1e-320", b"20037726.37", b"20015086.8"] + NOT_FLOATS)


def place(m):
    r = m.rng.random()
    return b"p%d" % m.rng.randrange(12) if r < 0.85 else b"%d" % m.rng.randrange(-3, 300) if r < 0.97 else value(m)


POOLS = {
    "geokey": key_of(b"g"), "lon": axis(0, 180), "lat": axis(1, 85.05112878), "radius": radius, "place": place,
    "unit": from_list(b"m", b"km", b"ft", b"mi", b"KM", b"m", b"km", b"M", b"cm", b"", b"miles"),
    "places": lambda m: b"%d" % m.rng.randrange(1, 12) if m.rng.random() < 0.9 else m.rng.choice([b"0", b"-1", b"9223372036854775807"] + NOT_INTS),
}


def scored(values):
    """Members with their scores, of which 7.0 prints other digits than 7.2 for the same number."""
    return [(values[at], float(values[at + 1][1])) for at in range(0, len(values), 2)]


def same_scores(a, b, _free):
    return numbers(decode(a)) == numbers(decode(b))


def numbers(reply):
    """A reply with numbers for what is one."""
    kind, inner = reply
    if isinstance(inner, list):
        return kind, [numbers(v) for v in inner]
    try:
        number = float(inner)
    except (TypeError, ValueError):
        return kind, inner
    return kind, number if number == number else inner


def other_order(a, b, _free):
    """Of seven places on the real server's sort no longer keeps those at one distance as they were."""
    (ka, x), (kb, y) = decode(a), decode(b)
    return ka == kb == b"*" and len(x) == len(y) > 6 and sorted(map(repr, x)) == sorted(map(repr, y))


RULES = {name: other_order for name in (b"GEORADIUS", b"GEORADIUS_RO", b"GEORADIUSBYMEMBER", b"GEORADIUSBYMEMBER_RO", b"GEOSEARCH")}
RULES[b"ZRANGE"] = same_scores
VALUE_OF = {b"zset": (lambda key: [b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"], scored)}
