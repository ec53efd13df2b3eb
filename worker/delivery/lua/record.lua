-- AquilaX took the vote: remember it, give the claim back, and let the message come to its end.
-- KEYS  1 dedup  2 bucket  3 claim (as in claim.lua)  4 unacked  5 unacked_index
--       6 unacked_held:<holder>, or unacked again if it is not known  7 counts
-- ARGV  1 digest of the request_id  2 status  3 occurred_at  4 digest of the message_id  5 ttl (ms)  6 message_id
--       7 token (all as in claim.lua)  8 delivery tag of the message; '' if it does not end yet
-- Returns {1 if the message was in flight, and has ended, how many buckets there are, 1 if two are to be split, else 0};
--         or as dedup.lua has it
local buckets, vote = recall(KEYS[1], KEYS[2], ARGV[1])
if not buckets then
  return vote
end
redis.call('HDEL', KEYS[4], '') -- as in claim.lua
local claim, crowded = ARGV[6] .. ' ' .. ARGV[7], false
local holder = redis.call('GET', KEYS[3])
local _, _, occurred_at, message = read(vote or '')
if message ~= ARGV[4] then
  -- If the lease ended before the answer came, another vote may have overtaken this one, or be in flight.
  local overtaken = holder ~= claim
  if not vote or ARGV[3] > occurred_at then
    local unsure = overtaken and '1' or '0'
    crowded = remember(KEYS[1], KEYS[2], buckets, ARGV[1], tonumber(ARGV[5]), ARGV[2], unsure, ARGV[3], ARGV[4])
  elseif overtaken then
    mark_unsure(KEYS[2], ARGV[1], vote)
  end
end
if holder == claim then
  redis.call('DEL', KEYS[3])
end
return {ends(KEYS[4], KEYS[5], KEYS[6], KEYS[7], ARGV[8], {'delivered'}), buckets, crowded and 1 or 0}
