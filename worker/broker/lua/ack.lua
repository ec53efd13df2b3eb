-- Messages that have ended.
-- KEYS  1 unacked  2 unacked_index  3 unacked_held:<holder>
-- ARGV  1 the queues that are counted, as a JSON object: queue -> key of its counts
--       then two for each message: its delivery tag, and what to count, as `field` or `field,field`; '' if nobody said
-- What the holder does not hold is not its own to end. What was settled before is not counted again.
local counts = cjson.decode(ARGV[1])
local ended = 0
for at = 2, #ARGV, 2 do
  local tag, label = ARGV[at], ARGV[at + 1]
  if redis.call('SREM', KEYS[3], tag) == 1 then
    local row = redis.call('HGET', KEYS[1], tag)
    if row then
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[2], tag)
      ended = ended + 1
      local key = counts[queue_of(row) or '']
      if key then
        if label == '' then
          label = 'revoked' -- Celery ended it; no task of ours did
        end
        for name in string.gmatch(label, '[^,]+') do
          redis.call('HINCRBY', key, name, 1)
        end
      end
    end
  end
end
return ended
