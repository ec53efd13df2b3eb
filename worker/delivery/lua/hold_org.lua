-- An operator holds one org back, until an operator resumes it.
-- KEYS  1 holds (as in begin_org_hold.lua)  2 counts: in org_hold_changes, how often operators have held or resumed one
-- ARGV  1 scope  2 comment  3 actor
-- Returns the number of the change.
redis.call('HDEL', KEYS[1], '') -- as in claim.lua
local hold = {kind = 'operator', comment = ARGV[2], actor = ARGV[3], since = now_ms(), probes = 0}
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(hold))
return redis.call('HINCRBY', KEYS[2], 'org_hold_changes', 1)
