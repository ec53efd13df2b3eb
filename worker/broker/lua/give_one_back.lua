-- One message of those that are set aside under a name goes to the head of its queue.
-- KEYS  two for each list of the queue: the list, its delayed messages
-- ARGV  1 the moment of the name (ms)
-- Returns 1 if there was one.
for at = 1, #KEYS, 2 do
  local entry = redis.call('ZRANGEBYSCORE', KEYS[at + 1], ARGV[1], ARGV[1], 'LIMIT', 0, 1)[1]
  if entry then
    redis.call('ZREM', KEYS[at + 1], entry)
    redis.call('RPUSH', KEYS[at], entry)
    return 1
  end
end
return 0
