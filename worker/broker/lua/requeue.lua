-- Messages go back to their queues.
-- KEYS  1 unacked  2 unacked_index  3 unacked_leases  4 unacked_held:<holder>  then the lists of queues (queue.lua)
-- ARGV  1 holder  2 'head' (to be handed out next) or 'back'  3 '1': the holder keeps nothing but what is named as kept
--       then the queues (queue.lua)
--       then how many messages are named, and their delivery tags; then the tags that are kept
-- Returns {how many went back, {queue, …}}: the messages of these were left in flight, as their lists were not declared
local place_of, undeclared, first = places_from(5, 4)
local named = tonumber(ARGV[first])
local keep, returned = {}, 0
for at = first + named + 1, #ARGV do
  keep[ARGV[at]] = true
end

local function requeue(tag)
  if redis.call('SISMEMBER', KEYS[4], tag) == 0 then
    return
  end
  local row = redis.call('HGET', KEYS[1], tag)
  local message = row and message_of(row)
  local list = message and place_of(queue_of(row), message)
  if message and not list then
    return
  end
  redis.call('SREM', KEYS[4], tag)
  if not message then
    return -- settled before; or none of ours, which the visibility timeout brings back
  end
  redis.call('HDEL', KEYS[1], tag)
  redis.call('ZREM', KEYS[2], tag)
  redis.call(ARGV[2] == 'head' and 'RPUSH' or 'LPUSH', list, redelivered(message, tag, queue_of(row)))
  returned = returned + 1
end

for at = first + 1, first + named do
  requeue(ARGV[at])
end
if ARGV[3] == '1' then
  for _, tag in ipairs(redis.call('SMEMBERS', KEYS[4])) do
    if not keep[tag] then
      requeue(tag)
    end
  end
  if redis.call('EXISTS', KEYS[4]) == 0 then
    redis.call('ZREM', KEYS[3], ARGV[1])
  end
end
return {returned, undeclared}
