-- Take the probe of a held key, if it is due.
-- KEYS  1 holds (as in begin_org_hold.lua)
-- ARGV  1 scope
-- Returns 1 if it was due, and no other worker has taken it; 2 if there is no hold any more.
local PROBE_LASTS = 60000 -- as in fetch.lua
local text = redis.call('HGET', KEYS[1], ARGV[1])
if not text then
  return 2
end
local hold, now = decode(text), now_ms()
local probe_at = hold and hold.kind ~= 'operator' and tonumber(hold.probe_at)
if not probe_at or probe_at > now then
  return 0
end
redis.call('HDEL', KEYS[1], '') -- as in claim.lua
hold.probe_at, hold.probes = now + PROBE_LASTS, (tonumber(hold.probes) or 0) + 1
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(hold))
return 1
