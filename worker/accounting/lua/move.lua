-- Messages go from a list that no worker reads to the queue, behind all others.
-- KEYS  1 the list  then the lists of the queue (queue.lua of the broker)
-- ARGV  1 the queue  then the same (queue.lua), then the messages, the oldest first
-- Returns how many were there, and have gone.
local place_of, _, first = places_from(2, 2)
local moved = 0
for at = first, #ARGV do
  if redis.call('LREM', KEYS[1], -1, ARGV[at]) == 1 then
    redis.call('LPUSH', place_of(ARGV[1], ARGV[at]), ARGV[at])
    moved = moved + 1
  end
end
return moved
