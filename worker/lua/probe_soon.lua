-- The next probe of a hold that has probes is due now.
-- KEYS  1 hold (as in begin_hold.lua)
local time = redis.call('TIME')
if redis.call('HEXISTS', KEYS[1], 'probe_at') == 1 then
  redis.call('HSET', KEYS[1], 'probe_at', time[1] * 1000 + math.floor(time[2] / 1000), 'interval', ARGV[1])
end
