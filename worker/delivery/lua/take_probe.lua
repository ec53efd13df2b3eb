-- Take the probe that is due, to lend it to a partition that has messages.
-- KEYS  1 hold (as in begin_hold.lua)
-- ARGV  1 how long it has been due at least (ms): the first partition has its own messages handed out as probes
-- Returns 1 if it was due, and no other worker has taken it.
local PROBE_LASTS = 60000 -- as in fetch.lua
local hold = KEYS[1]
local kind, probe_at = unpack(redis.call('HMGET', hold, 'kind', 'probe_at'))
local now = now_ms()
if not kind or kind == 'operator' or not probe_at or tonumber(probe_at) + tonumber(ARGV[1]) > now then
  return 0
end
redis.call('HDEL', hold, '') -- as in claim.lua
redis.call('HSET', hold, 'probe_at', now + PROBE_LASTS)
redis.pcall('HINCRBY', hold, 'probes', 1)
return 1
