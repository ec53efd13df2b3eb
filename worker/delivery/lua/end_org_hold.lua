-- A probe of a held key was answered, and not with a refusal of the key.
-- KEYS  1 holds (as in begin_org_hold.lua)
-- ARGV  1 scope
-- Returns 1 if a hold ends with this.
return redis.call('HDEL', KEYS[1], ARGV[1])
