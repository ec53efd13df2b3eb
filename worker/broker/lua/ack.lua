-- Messages that have ended.
-- KEYS  1 unacked  2 unacked_index  3 unacked_held:<holder>
-- ARGV  1 the queues that are counted, as a JSON object: queue -> key of its counts
--       2 prefix of all keys  3 separator  4 priority steps
--       then two for each message: its delivery tag, and what to count, as `field` or `field,field`; '' for nothing
-- What the holder does not hold is not its own to end. What was settled before is not counted again. A message of a
-- counted queue that is acknowledged without a label has not ended: it goes to the back of its queue, with a note of that.
local counts = cjson.decode(ARGV[1])
local ended = 0
for at = 5, #ARGV, 2 do
  local tag, label = ARGV[at], ARGV[at + 1]
  if redis.call('SREM', KEYS[3], tag) == 1 then
    local row = redis.call('HGET', KEYS[1], tag)
    if row then
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[2], tag)
      local queue = queue_of(row) or ''
      local key, message = counts[queue], message_of(row)
      if key and label == '' and message then
        redis.call('LPUSH', list_of(ARGV[2], queue, ARGV[3], ARGV[4], message), unended(message, tag, queue))
      else
        ended = ended + 1
        for name in string.gmatch(key and label or '', '[^,]+') do
          count(key, name, 1)
        end
      end
    end
  end
end
return ended
