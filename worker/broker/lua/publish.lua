-- Publish a message: at once or for later, and in place of the one in flight that it takes over from.
-- KEYS  1 list  2 its delayed messages  3 unacked  4 unacked_index
--       5 unacked_held:<holder>, or unacked again if it is not known
-- ARGV  1 message  2 when it is due (ms of Redis' clock; '' at once)  3 delivery tag of the message in flight; '' if none
-- Returns 1 if it was published; 0 if the one in flight is no longer there: then another holder has it, whole.
if ARGV[3] ~= '' then
  if redis.call('HDEL', KEYS[3], ARGV[3]) == 0 then
    return 0
  end
  redis.call('ZREM', KEYS[4], ARGV[3])
  if KEYS[5] ~= KEYS[3] then
    redis.call('SREM', KEYS[5], ARGV[3])
  end
end
local due = tonumber(ARGV[2])
if due and due > now_ms() then
  schedule(KEYS[2], due, ARGV[1])
else
  redis.call('LPUSH', KEYS[1], ARGV[1])
end
return 1
