-- Have a partition hand nothing out, because the hold stands that is in the first partition.
-- KEYS  1 hold of this partition: as in begin_hold.lua, without what says when a probe is due; and mirrors, '1'
-- ARGV  1 kind  2 comment  3 since  4 actor
-- A probe that was lent to this partition, and is not sent yet, stays lent as long as the hold is the same. One that was
-- handed out is over: `lend_probe.lua` lends the next.
local names, now = {'kind', 'since', 'probe_at'}, now_ms()
local kind, since, probe_at = unpack(redis.call('HMGET', KEYS[1], unpack(names)))
redis.call('HDEL', KEYS[1], '') -- as in claim.lua
if kind ~= ARGV[1] or since ~= ARGV[3] then
  redis.call('DEL', KEYS[1])
elseif probe_at and tonumber(probe_at) > now then
  redis.call('HDEL', KEYS[1], 'probe_at')
end
redis.call('HSET', KEYS[1], 'kind', ARGV[1], 'comment', ARGV[2], 'since', ARGV[3], 'actor', ARGV[4], 'mirrors', '1')
