-- Messages go from a list that no worker reads to the queue, behind all others.
-- KEYS  1 the list  2 the queue's counts (1 again if nothing is to be counted)  then the lists of the queue (queue.lua of
--       the broker)
-- ARGV  1 the queue  then the same (queue.lua), then the messages, the oldest first
-- Returns how many were there, and have gone.
local place_of, _, first = places_from(3, 2)
local moved, accepted = 0, 0
for at = first, #ARGV do
  if redis.call('LREM', KEYS[1], -1, ARGV[at]) == 1 then
    redis.call('LPUSH', place_of(ARGV[1], ARGV[at]), ARGV[at])
    moved = moved + 1
    if KEYS[2] ~= KEYS[1] and counted(decode(ARGV[at])) then
      accepted = accepted + 1
    end
  end
end
if accepted > 0 then
  redis.call('HINCRBY', KEYS[2], 'accepted', accepted)
end
return moved
