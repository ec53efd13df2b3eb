-- Copies of messages from a list on another node of the cluster go to the queue, behind all others.
-- KEYS  1 the queue's counts  then the lists of the queue (queue.lua of the broker)
-- ARGV  1 the queue  then the same (queue.lua), then the messages, the oldest first
local place_of, _, first = places_from(2, 2)
local accepted = 0
for at = first, #ARGV do
  redis.call('LPUSH', place_of(ARGV[1], ARGV[at]), ARGV[at])
  if counted(decode(ARGV[at])) then
    accepted = accepted + 1
  end
end
if accepted > 0 then
  redis.call('HINCRBY', KEYS[1], 'accepted', accepted)
end
