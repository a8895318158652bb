"""What Redis itself does for limits and breakers that processes share, in one step each, as Lua.

The limits of one key are a hash (`r`, `t`: levels of the two buckets, `at`: when they were that) and a
sorted set of leases, one for each call in flight; both share a hash slot. A lease that nobody renews
runs out. Time is that of Redis, so that the clocks of machines do not matter.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote

__all__ = ["ENTER", "LEAVE", "OPENED", "RENEW", "VERDICTS", "digest", "keys_of", "quoted"]

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_FILL = """
local function filled(level, at, per_s, burst)
    if not level then return burst end
    return math.min(burst, tonumber(level) + math.max(0, now - at) * per_s / 1000)
end
"""

ENTER = (
    _NOW
    + _FILL
    + """
-- KEYS: hash, leases. ARGV: id, lease in ms, most in flight or '', requests a second or '', their burst,
--       tokens a second or '', their burst, tokens of this call, ms to keep the keys.
-- Reply: {1} when it may go; {0, ms until the rates may have room, which: 1 in flight, 2 requests, 3 tokens}.
local id, lease, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local keep = tonumber(ARGV[9])
if most then
    redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
    if redis.call('ZCARD', KEYS[2]) >= most then return {0, 0, 1} end
end
local requests_per_s, tokens_per_s = tonumber(ARGV[4]), tonumber(ARGV[6])
local requests, tokens
if requests_per_s or tokens_per_s then
    local kept = redis.call('HMGET', KEYS[1], 'r', 't', 'at')
    local at = tonumber(kept[3] or now)
    local wait, why = 0, 0
    if requests_per_s then
        requests = filled(kept[1], at, requests_per_s, tonumber(ARGV[5]))
        if requests < 1 then
            wait, why = math.ceil((1 - requests) / requests_per_s * 1000), 2
        end
    end
    if tokens_per_s then
        local burst, amount = tonumber(ARGV[7]), tonumber(ARGV[8])
        tokens = filled(kept[2], at, tokens_per_s, burst)
        local needed = math.min(amount, burst)
        if tokens < needed then
            local ms = math.ceil((needed - tokens) / tokens_per_s * 1000)
            if ms > wait then wait, why = ms, 3 end
        end
    end
    if why > 0 then return {0, wait, why} end
    if requests then redis.call('HSET', KEYS[1], 'r', tostring(requests - 1)) end
    if tokens then redis.call('HSET', KEYS[1], 't', tostring(tokens - tonumber(ARGV[8]))) end
    redis.call('HSET', KEYS[1], 'at', now)
    redis.call('PEXPIRE', KEYS[1], keep)
end
if most then
    redis.call('ZADD', KEYS[2], now + lease, id)
    redis.call('PEXPIRE', KEYS[2], math.max(keep, lease))
end
return {1}
"""
)

LEAVE = """
-- KEYS: as above. ARGV: id, requests to give back, their burst or '', tokens to give back (may be
--       negative), their burst or ''. Levels that are forgotten are full ones.
redis.call('ZREM', KEYS[2], ARGV[1])
local function give(field, amount, burst)
    local level = redis.call('HGET', KEYS[1], field)
    if level and burst and amount ~= 0 then
        redis.call('HSET', KEYS[1], field, tostring(math.min(burst, tonumber(level) + amount)))
    end
end
give('r', tonumber(ARGV[2]), tonumber(ARGV[3]))
give('t', tonumber(ARGV[4]), tonumber(ARGV[5]))
return 1
"""

RENEW = (
    _NOW
    + """
-- KEYS: leases. ARGV: lease in ms, ids.
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[1])
return 1
"""
)

OPENED = (
    _NOW
    + """
-- KEYS: verdicts. ARGV: whose, ms for which its breaker stays open. The longest holds.
local until_ms = now + ARGV[2]
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not before or tonumber(before) < until_ms then redis.call('ZADD', KEYS[1], until_ms, ARGV[1]) end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], math.floor(last[2]) + 1000)
return 1
"""
)

VERDICTS = (
    _NOW
    + """
-- KEYS: verdicts. Reply: whose breaker is open and for how many ms more, one after the other.
local reply = {}
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'WITHSCORES')
for i = 1, #found, 2 do
    reply[i] = found[i]
    reply[i + 1] = math.floor(found[i + 1] - now)
end
return reply
"""
)


def digest(script: str) -> str:
    """Return the name under which Redis knows a script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def keys_of(prefix: str, scope: str, key: str) -> tuple[str, str]:
    """Return the names of the hash and of the leases of one key."""
    name = f"{prefix}{{{quoted(scope)}:{quoted(key)}}}"
    return name, name + ":leases"


def quoted(text: str) -> str:
    """Return text without braces, which would move its keys to other hash slots."""
    return quote(text, safe="", errors="surrogatepass")
