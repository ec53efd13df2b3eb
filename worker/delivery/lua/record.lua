-- AquilaX took the vote: remember it, give the claim back, and let the message come to its end.
-- KEYS  1 dedup  2 claim (as in claim.lua)  3 unacked  4 unacked_index  5 unacked_held:<holder>, or ''  6 counts
-- ARGV  1 digest of the request_id  2 status  3 occurred_at  4 digest of the message_id  5 ttl (ms)  6 message_id
--       7 token (all as in claim.lua)  8 delivery tag of the message; '' if it does not end yet
-- Returns 1 if the message was in flight, and has ended.
redis.call('HDEL', KEYS[3], '') -- as in claim.lua
local bucket, buckets, vote = recall(KEYS[1], ARGV[1])
local claim = ARGV[6] .. ' ' .. ARGV[7]
local holder = redis.call('GET', KEYS[2])
local _, _, occurred_at, message = read(vote or '')
if message ~= ARGV[4] then
  -- If the lease ended before the answer came, another vote may have overtaken this one, or be in flight.
  local overtaken = holder ~= claim
  if not vote or ARGV[3] > occurred_at then
    local unsure = overtaken and '1' or '0'
    remember(KEYS[1], bucket, buckets, ARGV[1], tonumber(ARGV[5]), ARGV[2], unsure, ARGV[3], ARGV[4])
  elseif overtaken then
    mark_unsure(KEYS[1], bucket, ARGV[1], vote)
  end
end
if holder == claim then
  redis.call('DEL', KEYS[2])
end
return ends(KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[8], {'delivered'})
