-- Entries about messages that are not in flight.
-- KEYS  1 unacked  2 where to drop them: unacked_index, or the set of a holder
-- ARGV  delivery tags
-- Returns how many were dropped.
local dropped = 0
local remove = redis.call('TYPE', KEYS[2]).ok == 'zset' and 'ZREM' or 'SREM'
for _, tag in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1], tag) == 0 then
    dropped = dropped + redis.call(remove, KEYS[2], tag)
  end
end
return dropped
