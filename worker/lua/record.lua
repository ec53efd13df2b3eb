-- AquilaX took the word: remember it, count it, give the claim back.
-- KEYS  1 word  2 claim  3 counts (as in claim.lua)
-- ARGV  1 status  2 occurred_at (20 digits)  3 message_id  4 token  5 ttl (ms)
local occurred_at, message = unpack(redis.call('HMGET', KEYS[1], 'occurred_at', 'message'))
local holder = redis.call('GET', KEYS[2])
if message ~= ARGV[3] then
  redis.call('HINCRBY', KEYS[3], 'delivered', 1)
  if not occurred_at or ARGV[2] > occurred_at then
    redis.call('HSET', KEYS[1], 'status', ARGV[1], 'occurred_at', ARGV[2], 'message', ARGV[3])
    redis.call('HDEL', KEYS[1], 'unsure')
    redis.call('PEXPIRE', KEYS[1], ARGV[5])
  end
  if holder ~= ARGV[4] then
    -- The lease ended before the answer came: another word may have overtaken this one, or be on its way.
    redis.call('HSET', KEYS[1], 'unsure', 1)
  end
end
if holder == ARGV[4] then
  redis.call('DEL', KEYS[2])
end
