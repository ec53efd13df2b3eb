-- Messages go from a list that no worker reads to the queue, behind all others.
-- KEYS  1 the list
-- ARGV  1 prefix of all keys  2 the queue  3 separator  4 priority steps  5… the messages, the oldest first
-- Returns how many were there, and have gone.
local moved = 0
for at = 5, #ARGV do
  if redis.call('LREM', KEYS[1], -1, ARGV[at]) == 1 then
    redis.call('LPUSH', list_of(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[at]), ARGV[at])
    moved = moved + 1
  end
end
return moved
