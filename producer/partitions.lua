-- Tell with how many partitions a queue was made, and record it if nothing is recorded yet.
-- KEYS  1 the record  2 on one Redis the hash of counts of a queue without partitions, which has no record
-- ARGV  1 the number to record; nothing to record none
-- Returns the number, or 0 if there is none
local found = redis.call('GET', KEYS[1])
if found then return tonumber(found) or redis.error_reply('ERR ' .. KEYS[1] .. ' is no number') end
if not ARGV[1] then return 0 end
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
redis.call('SET', KEYS[1], ARGV[1])
return tonumber(ARGV[1])
