-- Messages in flight that are not due yet wait in Redis.
-- KEYS  1 unacked  2 unacked_index  3 unacked_held:<holder>
-- ARGV  1 prefix of all keys  2 separator  3 priority steps  4 suffix of the keys of delayed messages
--       then two for each message: its delivery tag, and when it is due: ms of Redis' clock, or '+' and ms from now
local now = now_ms()
for at = 5, #ARGV, 2 do
  local tag, due = ARGV[at], ARGV[at + 1]
  if string.sub(due, 1, 1) == '+' then
    due = now + tonumber(string.sub(due, 2))
  end
  if redis.call('SREM', KEYS[3], tag) == 1 then
    local row = redis.call('HGET', KEYS[1], tag)
    local message = row and message_of(row)
    if message then
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[2], tag)
      local list = list_of(ARGV[1], queue_of(row), ARGV[2], ARGV[3], message)
      schedule(list .. ARGV[4], due, redelivered(message, tag, queue_of(row)))
    end
  end
end
