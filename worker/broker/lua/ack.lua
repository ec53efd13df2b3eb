-- Messages that have ended.
-- KEYS  1 unacked  2 unacked_index  3 unacked_held:<holder>
--       then the lists of each queue that is counted (queue.lua), then the counts of each
-- ARGV  the queues that are counted (queue.lua)
--       then two for each message: its delivery tag, and what to count, as `field` or `field,field`; '' for nothing
-- What the holder does not hold is not its own to end. What was settled before is not counted again. A message of a
-- counted queue that is acknowledged without a label has not ended: it goes to the back of its queue, with a note of that.
local place_of, _, first = places_from(4, 1)
local counts, queues = {}, tonumber(ARGV[2])
for number = 1, queues do
  counts[ARGV[2 + number]] = KEYS[#KEYS - queues + number]
end
local ended = 0
for at = first, #ARGV, 2 do
  local tag, label = ARGV[at], ARGV[at + 1]
  if redis.call('SREM', KEYS[3], tag) == 1 then
    local row = redis.call('HGET', KEYS[1], tag)
    if row then
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[2], tag)
      local queue = queue_of(row) or ''
      local key, message = counts[queue], message_of(row)
      if key and label == '' and message then
        redis.call('LPUSH', place_of(queue, message), unended(message, tag, queue))
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
