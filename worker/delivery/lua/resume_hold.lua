-- An operator resumes. A hold by hand ends; one that had begun by itself beneath it goes on, with a probe as soon as
-- AquilaX allows. Where none is beneath, whatever hold there is ends.
-- KEYS  1 hold (as in begin_hold.lua)  2 counts (as in hold_by_hand.lua)
-- ARGV  1 first interval (ms)
-- Returns 1 if there was a hold.
local hold = KEYS[1]
local found = redis.pcall('HMGET', hold, 'kind', 'beneath_kind', 'not_before')
if found.err then -- it is no hash
  return redis.call('DEL', hold)
end
local kind, beneath, not_before = unpack(found)
if kind ~= 'operator' or not beneath then
  local was = redis.call('DEL', hold)
  redis.call('HINCRBY', KEYS[2], 'hold_changes', 1)
  return was
end
redis.call('HDEL', hold, '') -- as in claim.lua
for _, name in ipairs({'kind', 'comment', 'since', 'actor', 'probes'}) do
  redis.call('HSET', hold, name, redis.call('HGET', hold, 'beneath_' .. name) or '')
  redis.call('HDEL', hold, 'beneath_' .. name)
end
local due = now_ms()
if beneath ~= 'locked_out' then -- as in probe_soon.lua
  due = math.max(due, tonumber(not_before or 0) or 0)
end
redis.call('HSETNX', hold, 'interval', ARGV[1])
redis.call('HSET', hold, 'probe_at', due)
redis.call('HINCRBY', KEYS[2], 'hold_changes', 1)
return 1
