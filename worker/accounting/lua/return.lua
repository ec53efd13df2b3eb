-- What is in flight under no lease goes back to the head of its queue; what can't be read, to the queue that is named.
-- KEYS  1 unacked  2 unacked_index  3 unacked_leases
-- ARGV  1 prefix of the held sets  2 prefix of all keys  3 separator  4 priority steps
--       5 the list for what can't be read  6 … delivery tags
-- Returns {delivery tag, …}: those that went back
local held = {}
for _, holder in ipairs(holders_of(KEYS[3], ARGV[1])) do
  for _, tag in ipairs(redis.call('SMEMBERS', holder.held)) do
    held[tag] = true
  end
end
local returned = {}
for at = 6, #ARGV do
  local tag = ARGV[at]
  local row = not held[tag] and redis.call('HGET', KEYS[1], tag)
  if row then
    local queue, message = read_row(row)
    if not queue or not redis.call('ZSCORE', KEYS[2], tag) then
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[2], tag)
      if queue then
        redis.call('RPUSH', list_of(ARGV[2], queue, ARGV[3], ARGV[4], message), redelivered(message, tag, queue))
      else
        redis.call('RPUSH', ARGV[5], row) -- a worker makes a dead letter `invalid` of it
      end
      returned[#returned + 1] = tag
    end
  end
end
return returned
