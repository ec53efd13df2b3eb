-- Renew a holder's lease, and tell whose have ended: reclaim.lua returns what those held.
-- KEYS  1 unacked_index  2 unacked_leases  3 unacked_held:<holder>  4 unacked_pulse
-- ARGV  1 holder  2 lease (ms)
-- Returns {1 if the lease had not been lost, {holder, …}}: those whose leases have ended
local now, lease = now_ms(), tonumber(ARGV[2])
redis.call('ZREM', KEYS[2], '') -- frees nothing, but comes before the first write that needs memory

-- If no lease was renewed for a while, Redis itself was unavailable, and no lease that ended meanwhile counts as ended.
local pulse, grace = pulse_of(KEYS[4], now)
if not pulse or now - pulse > lease / 2 then
  grace = now + math.floor(lease / 2)
  redis.call('HSET', KEYS[4], 'grace', grace)
end
redis.call('HSET', KEYS[4], 'at', now)

local lives = redis.call('ZSCORE', KEYS[2], ARGV[1]) and 1 or 0
redis.call('ZADD', KEYS[2], now + lease, ARGV[1])
for _, tag in ipairs(redis.call('SMEMBERS', KEYS[3])) do
  redis.call('ZADD', KEYS[1], 'XX', string.format('%.3f', now / 1000), tag)
end
return {lives, now >= grace and redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now) or {}}
