-- Say of rows whose enqueue was cut short whether they have gone; those that have not never will.
-- KEYS  1 the set of the plan's rows that have gone
-- ARGV  1 seconds for which the set is kept from now on  then the ids
-- Returns the ids that have gone.
local gone = {}
for at = 2, #ARGV do
  if redis.call('SISMEMBER', KEYS[1], ARGV[at]) == 1 then
    gone[#gone + 1] = ARGV[at]
  else
    redis.call('SADD', KEYS[1], '-' .. ARGV[at])
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return gone
