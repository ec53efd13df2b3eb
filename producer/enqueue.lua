-- Lay messages at the back of their queue and count them as accepted: both, or neither.
-- KEYS  1 the queue's list  2 the hash of its counts
-- ARGV  the messages, the oldest first
-- Returns the list's new length, or as Redis words it the error that kept all of them out.
local counted = redis.pcall('HINCRBY', KEYS[2], 'accepted', #ARGV)
if type(counted) == 'table' then return counted end
local queued = redis.pcall('LPUSH', KEYS[1], unpack(ARGV))
-- A script that fails undoes nothing. LPUSH is refused if the key is no list, or the login may not use it.
if type(queued) == 'table' then redis.call('HINCRBY', KEYS[2], 'accepted', -#ARGV) end
return queued
