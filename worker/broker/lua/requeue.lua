-- Messages go back to their queues.
-- KEYS  1 unacked  2 unacked_index  3 unacked_leases  4 unacked_held:<holder>
-- ARGV  1 holder  2 prefix of all keys  3 separator  4 priority steps
--       5 'head' (to be handed out next) or 'back'  6 '1': the holder keeps nothing but what is named as kept
--       7 how many are named, then their delivery tags; then the tags that are kept
local named = tonumber(ARGV[7])
local keep, returned = {}, 0
for at = 8 + named, #ARGV do
  keep[ARGV[at]] = true
end

local function requeue(tag)
  if redis.call('SREM', KEYS[4], tag) == 0 then
    return
  end
  local row = redis.call('HGET', KEYS[1], tag)
  local message = row and message_of(row)
  if not message then
    return -- settled before; or none of ours, which the visibility timeout brings back
  end
  redis.call('HDEL', KEYS[1], tag)
  redis.call('ZREM', KEYS[2], tag)
  local list = list_of(ARGV[2], queue_of(row), ARGV[3], ARGV[4], message)
  redis.call(ARGV[5] == 'head' and 'RPUSH' or 'LPUSH', list, redelivered(message, tag, queue_of(row)))
  returned = returned + 1
end

for at = 8, 7 + named do
  requeue(ARGV[at])
end
if ARGV[6] == '1' then
  for _, tag in ipairs(redis.call('SMEMBERS', KEYS[4])) do
    if not keep[tag] then
      requeue(tag)
    end
  end
  if redis.call('EXISTS', KEYS[4]) == 0 then
    redis.call('ZREM', KEYS[3], ARGV[1])
  end
end
return returned
