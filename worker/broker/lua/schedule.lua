-- Messages in flight that are not due yet wait in Redis.
-- KEYS  1 unacked  2 unacked_index  3 unacked_held:<holder>  then the delayed messages of queues (queue.lua)
-- ARGV  the queues (queue.lua)
--       then two for each message: its delivery tag, and when it is due: ms of Redis' clock, or '+' and ms from now
-- Returns {{queue, …}}: the messages of these were left in flight, as their keys were not declared
local now = now_ms()
local place_of, undeclared, first = places_from(4, 1)
for at = first, #ARGV, 2 do
  local tag, due = ARGV[at], ARGV[at + 1]
  if string.sub(due, 1, 1) == '+' then
    due = now + tonumber(string.sub(due, 2))
  end
  if redis.call('SISMEMBER', KEYS[3], tag) == 1 then
    local row = redis.call('HGET', KEYS[1], tag)
    local message = row and message_of(row)
    local delayed = message and place_of(queue_of(row), message)
    if delayed or not message then
      redis.call('SREM', KEYS[3], tag)
    end
    if delayed then
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[2], tag)
      schedule(delayed, due, redelivered(message, tag, queue_of(row)))
    end
  end
end
return {undeclared}
