-- Scheduled messages come to their end.
-- KEYS  1 the delayed messages  2 the queue's counts
-- ARGV  two for each message: the message, and what to count, as `field,field`
-- Returns for each message 1, or 0 if it was not there: a worker has it, and counts it as it ends.
local ended = {}
for at = 1, #ARGV, 2 do
  local removed = redis.call('ZREM', KEYS[1], ARGV[at])
  if removed == 1 then
    for name in string.gmatch(ARGV[at + 1], '[^,]+') do
      count(KEYS[2], name, 1)
    end
  end
  ended[#ended + 1] = removed
end
return ended
