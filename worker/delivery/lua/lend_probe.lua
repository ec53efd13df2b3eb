-- Let a partition hand out one message as the probe of the hold.
-- KEYS  1 hold of this partition (mirror_hold.lua)
-- Returns 1 if it stands.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HDEL', KEYS[1], '') -- as in claim.lua
redis.call('HSET', KEYS[1], 'probe_at', now_ms())
return 1
