-- AquilaX took the word: remember it, give the claim back, and let the message come to its end.
-- KEYS  1 word  2 claim (as in claim.lua)  3 unacked  4 unacked_index  5 unacked_held:<holder>, or ''  6 counts
-- ARGV  1 status  2 occurred_at (20 digits)  3 message_id  4 token  5 ttl (ms)
--       6 delivery tag of the message; '' if it does not end yet
-- Returns 1 if the message was in hand, and has ended.
redis.call('HDEL', KEYS[1], '') -- as in claim.lua
local occurred_at, message = unpack(redis.call('HMGET', KEYS[1], 'occurred_at', 'message'))
local claim = ARGV[3] .. ' ' .. ARGV[4]
local holder = redis.call('GET', KEYS[2])
if message ~= ARGV[3] then
  if not occurred_at or ARGV[2] > occurred_at then
    redis.call('HSET', KEYS[1], 'status', ARGV[1], 'occurred_at', ARGV[2], 'message', ARGV[3])
    redis.call('HDEL', KEYS[1], 'unsure')
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
  end
  if holder ~= claim then
    -- The lease ended before the answer came: another word may have overtaken this one, or be on its way.
    redis.call('HSET', KEYS[1], 'unsure', 1)
  end
end
if holder == claim then
  redis.call('DEL', KEYS[2])
end
return ends(KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[6], {'delivered'})
