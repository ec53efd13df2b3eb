-- An operator resumes an org, or the orgs of a key.
-- KEYS  1 holds (as in begin_org_hold.lua)  2 counts (as in hold_org.lua)
-- ARGV  1 scope
-- Returns 1 if it was held.
local was = redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HINCRBY', KEYS[2], 'org_hold_changes', 1)
return was
