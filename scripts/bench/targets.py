"""The figures to reach: a ratio to redis-server 7.0.15 in the same run, or a value of our own."""
from hitratio import METRIC as HITS, POLICIES
from operations import METRIC, OPERATIONS
from replication import FULL, PRIMARY, REPLICA, RESUMED

RATIO = {
    "set P1 c50 cpu us/req": 1.15, "get P1 c50 cpu us/req": 1.15,
    "set P16 cpu us/req": 2.2, "get P16 cpu us/req": 2.0, "incr P16 cpu us/req": 1.9, "mset10 P16 cpu us/req": 5.0,
    "set 1KiB P16 cpu us/req": 2.4, "get 1KiB P16 cpu us/req": 2.2,
    "set P100 cpu us/req": 5.0, "get P100 cpu us/req": 4.0,
    "get P16 over 8,000,000 keys cpu us/req": 2.1,
    "lpush P16 cpu us/req": 1.3, "lpop P16 cpu us/req": 1.5, "sadd P16 cpu us/req": 1.8, "hset P16 cpu us/req": 2.2,
    "zadd P16 cpu us/req": 3.5, "zpopmin P16 cpu us/req": 2.6, "lrange100 P1 cpu us/req": 1.8,
    "xadd P16 cpu us/req": 1.8, "eval P16 cpu us/req": 1.6,
    "publish to 100 P16 cpu us/req": 1.5, "set P16, 100,000 keys tracked, these cpu us/req": 1.3,
    "set P16 under allkeys-lru eviction cpu us/req": 2.0,
    "tls set P16 cpu us/req": 1.3,
    "aof everysec set P16 cpu us/req": 2.2, "bgsave s": 4, "load s (RDB)": 5, "load s (AOF)": 3,
    "COW MiB while saving under writes": 2, "fork pause us": 2,
    PRIMARY: 1.9, REPLICA: 2.5, FULL: 3,
}
# No operation over many elements is dearer than there.
RATIO.update({METRIC.format(name): 1 for name, _, _ in OPERATIONS})
# No eviction chooses worse.
RATIO.update({HITS.format(*policy): 1 for policy in POLICIES})
VALUE = {   # at most
    "memory bytes per string 8B": 48, "memory bytes per string 8B + TTL": 64, "memory bytes per string 100B": 147,
    "memory bytes per hash of 5": 122, "memory bytes per hash field (big hash)": 47, "memory bytes per list of 10": 125,
    "memory bytes per set member (big set)": 40, "memory bytes per zset member (big zset)": 60,
    "memory bytes per stream entry": 13, "bytes per idle connection (8000)": 1000,
    "get P16 over 8,000,000 keys / over 10,000": 1.3, "set P16 with KEA / without": 1.03,
    "longest turn us while growing to 8,000,000 keys": 1000, "longest turn us while they expire": 1000,
    "s from the last of 1,000,000 deadlines to an empty keyspace": 0.1,
    RESUMED: 1.5,
}


def judge(metric, mine, ratio):
    """What to print behind a row: the figure to reach, and whether it is."""
    if metric in RATIO and ratio is not None:
        return f"x {RATIO[metric]:g}", ratio >= RATIO[metric]
    if metric in VALUE and mine is not None:
        return f"<= {VALUE[metric]:g}", mine <= VALUE[metric]
    return None
