"""What Redis itself does for a ledger, in one step each: the books of `ledger`, as Lua.

One period of one account is a hash (`usd`, `tokens`, `held_usd`, `held_tokens`, in whole nano-dollars)
and a sorted set of leases. In the hash, `h:<id>` is what a reservation holds, `x:<id>` a reservation
whose lease has run out, and `p:<id>` something counted without one. So a message that is sent twice,
because the reply to the first was lost, counts once. All keys of one account share a hash slot.

Redis compares in floating point: above 9 million dollars in a period (2^53 nano-dollars) a comparison
may be wrong by some nano-dollars, the sums themselves stay exact.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote

__all__ = ["PROBE_S", "RESERVE", "RESERVE_SHA", "SETTLE", "SETTLE_SHA", "keys_of"]

PROBE_S = 60
"""How long the key stays that is written to see whether Redis takes writes, seconds."""

_COMMON = """
local function less(key, field, number)
    if number ~= '0' then redis.call('HINCRBY', key, field, '-' .. number) end
end
local function give_back(key, id, held)
    local usd, tokens = string.match(held, '^(%d+):(%d+)$')
    less(key, 'held_usd', usd)
    less(key, 'held_tokens', tokens)
    redis.call('HDEL', key, 'h:' .. id)
end
"""

RESERVE = (
    _COMMON
    + """
-- KEYS: for each period its hash and its leases.
-- ARGV: id, nano-dollars or '', tokens or '', lease in ms (0: only look),
--       then for each period: limit in nano-dollars or '', limit in tokens or '', seconds to keep it.
-- Reply: 1 and nothing when held; 0 and usd, tokens, held_usd, held_tokens of each period when not.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id, usd, tokens, lease = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local fits, reply = lease > 0, {0}
local function refuses(limit, amount, spent, held)
    if limit == '' then return false end
    if amount == '' then return true end
    local used, most = tonumber(spent) + tonumber(held), tonumber(limit)
    return used >= most or used + tonumber(amount) > most
end
for i = 1, #KEYS, 2 do
    local key, leases, at = KEYS[i], KEYS[i + 1], 5 + (i - 1) / 2 * 3
    for _, over in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, 1000)) do
        local held = redis.call('HGET', key, 'h:' .. over)
        if held then
            give_back(key, over, held)
            redis.call('HSET', key, 'x:' .. over, 1)
        end
        redis.call('ZREM', leases, over)
    end
    if redis.call('HEXISTS', key, 'h:' .. id) == 1 then return {1} end
    local count = redis.call('HMGET', key, 'usd', 'tokens', 'held_usd', 'held_tokens')
    for j = 1, 4 do
        count[j] = count[j] or '0'
        reply[#reply + 1] = count[j]
    end
    if refuses(ARGV[at], usd, count[1], count[3]) or refuses(ARGV[at + 1], tokens, count[2], count[4]) then
        fits = false
    end
end
if not fits then return reply end
if usd == '' then usd = '0' end
if tokens == '' then tokens = '0' end
for i = 1, #KEYS, 2 do
    local key, leases, keep = KEYS[i], KEYS[i + 1], ARGV[7 + (i - 1) / 2 * 3]
    redis.call('HINCRBY', key, 'held_usd', usd)
    redis.call('HINCRBY', key, 'held_tokens', tokens)
    redis.call('HSET', key, 'h:' .. id, usd .. ':' .. tokens)
    redis.call('ZADD', leases, now + lease, id)
    redis.call('EXPIRE', key, keep)
    redis.call('EXPIRE', leases, keep)
end
return {1}
"""
)

SETTLE = (
    _COMMON
    + """
-- KEYS: as above. ARGV: id, nano-dollars, tokens, whether to count what is not known ('1' or '0'),
--       then for each period the seconds to keep it.
local id, usd, tokens, anyway = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
for i = 1, #KEYS, 2 do
    local key, leases = KEYS[i], KEYS[i + 1]
    local held = redis.call('HGET', key, 'h:' .. id)
    local counts = false
    if held then
        give_back(key, id, held)
        redis.call('ZREM', leases, id)
        counts = true
    elseif redis.call('HDEL', key, 'x:' .. id) == 1 then
        counts = true
    elseif anyway then
        counts = redis.call('HSETNX', key, 'p:' .. id, 1) == 1
    end
    if counts then
        redis.call('HINCRBY', key, 'usd', usd)
        redis.call('HINCRBY', key, 'tokens', tokens)
        redis.call('EXPIRE', key, ARGV[5 + (i - 1) / 2])
    end
end
return 1
"""
)


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


RESERVE_SHA = _sha(RESERVE)
SETTLE_SHA = _sha(SETTLE)


def keys_of(prefix: str, account: str, per: str, period: str) -> tuple[str, str]:
    """Return the names of a period's hash and of its leases.

    The account is quoted, since a brace in it would move its keys to different hash slots.
    """
    tag = quote(account, safe="", errors="surrogatepass")
    key = f"{prefix}:{{{tag}}}:{per}:{period}"
    return key, key + ":leases"
