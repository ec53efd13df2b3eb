-- The next probe of a hold that has probes is due: now, or when AquilaX said.
-- A wrong key is another matter: a new one need not wait.
-- KEYS  1 hold (as in begin_hold.lua)
local kind, probe_at, not_before = unpack(redis.call('HMGET', KEYS[1], 'kind', 'probe_at', 'not_before'))
if probe_at then
  local due = now_ms()
  if kind ~= 'locked_out' then
    due = math.max(due, tonumber(not_before or 0) or 0)
  end
  redis.call('HDEL', KEYS[1], '') -- as in claim.lua
  redis.call('HSET', KEYS[1], 'probe_at', due)
end
