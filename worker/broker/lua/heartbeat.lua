-- Renew a holder's lease, and return what dead holders held.
-- KEYS  1 unacked  2 unacked_index  3 unacked_leases  4 unacked_held:<holder>  5 unacked_pulse
-- ARGV  1 holder  2 lease (ms)  3 prefix of all keys  4 separator  5 priority steps  6 prefix of the held sets
-- Returns {1 if the lease had not been lost, messages returned, holders found dead}
local LONGEST_GRACE = 24 * 3600 * 1000
local now, lease = now_ms(), tonumber(ARGV[2])
redis.call('ZREM', KEYS[3], '') -- frees nothing, but comes before the first write that needs memory

-- If no lease was renewed for a while, Redis itself was unavailable, and no lease that ended meanwhile counts as ended.
-- What is no number there, or a grace that lasts longer than any does, is as good as none.
local pulse, grace = unpack(redis.call('HMGET', KEYS[5], 'at', 'grace'))
pulse, grace = tonumber(pulse or ''), tonumber(grace or 0) or 0
if grace > now + LONGEST_GRACE then
  grace = 0
end
if not pulse or now - pulse > lease / 2 then
  grace = now + math.floor(lease / 2)
  redis.call('HSET', KEYS[5], 'grace', grace)
end
redis.call('HSET', KEYS[5], 'at', now)

local lives = redis.call('ZSCORE', KEYS[3], ARGV[1]) and 1 or 0
redis.call('ZADD', KEYS[3], now + lease, ARGV[1])
for _, tag in ipairs(redis.call('SMEMBERS', KEYS[4])) do
  redis.call('ZADD', KEYS[2], 'XX', string.format('%.3f', now / 1000), tag)
end

local returned, dead = 0, {}
if now >= grace then
  dead = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)
  for _, holder in ipairs(dead) do
    local held = ARGV[6] .. holder
    for _, tag in ipairs(redis.call('SMEMBERS', held)) do
      redis.call('SREM', held, tag)
      local row = redis.call('HGET', KEYS[1], tag)
      local message = row and message_of(row)
      if message then
        redis.call('HDEL', KEYS[1], tag)
        redis.call('ZREM', KEYS[2], tag)
        local list = list_of(ARGV[3], queue_of(row), ARGV[4], ARGV[5], message)
        redis.call('RPUSH', list, unended(message, tag, queue_of(row)))
        returned = returned + 1
      end
    end
    redis.call('ZREM', KEYS[3], holder)
  end
end
return {lives, returned, dead}
