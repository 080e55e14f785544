"""RESTORE of sound and of spoilt payloads, with all its options. What DUMP replies is compared by value: each server
restores its own reply elsewhere (payloads.py gives one's payloads to the other)."""
import pathlib

DUMP = """
12 RESTORE akey attl payload [REPLACE] [REPLACE|ABSTTL|attl]
6 RESTORE akey attl payload REPLACE [IDLETIME idle|FREQ uses]
3 RESTORE akey deadline payload ABSTTL [REPLACE] [FREQ uses|IDLETIME idle]
2 RESTORE akey attl payload option ...
1 RESTORE akey value value
1 DUMP absentkey
2 TTL akey
2 (DEL|TYPE|EXISTS) akey
2 COPY akey akey [REPLACE]
2 RENAME akey akey
1 SET akey value
1 HSET akey field value
"""
ASSETS = pathlib.Path(__file__).resolve().parents[3] / "tests" / "assets" / "dumps.txt"
# What 7.0 can read, and the same each time it is read: no streams, whose groups have idle times.
SOUND = [bytes.fromhex(line.split()[1]) for line in ASSETS.read_text().splitlines() if not line.startswith("#")]
SOUND = [payload for payload in SOUND if payload[0] <= 18 and payload[0] != 15 and payload[1:2] != b"\x18"]


def payload(m):
    sound = m.rng.choice(SOUND)
    if m.rng.random() < 0.8:
        return sound
    at = m.rng.randrange(len(sound))
    spoilt = sound[:at] + bytes([sound[at] ^ 1 << m.rng.randrange(8)]) + sound[at + 1 :]
    return m.rng.choice([spoilt, sound[:at], sound + b"x", b""])


def pick(*words):
    return lambda m: m.rng.choice(words)


POOLS = {
    "akey": lambda m: b"k%d" % m.rng.randrange(4), "absentkey": pick(b"none"), "payload": payload,
    "attl": pick(b"0", b"0", b"0", b"0", b"100000000", b"9223372036854775807", b"-1", b"x", b""),
    "deadline": pick(b"1", b"1000", b"4000000000000", b"9223372036854775807", b"-5", b"0"),
    "idle": pick(b"0", b"1", b"1000", b"-1", b"x", b"9223372036854775807"),
    "uses": pick(b"0", b"5", b"255", b"256", b"-1", b"x"),
    "option": pick(b"REPLACE", b"ABSTTL", b"IDLETIME", b"FREQ", b"5", b"KEEPTTL", b""),
}
FAMILIES = {"dump": (DUMP, 1, 40)}
