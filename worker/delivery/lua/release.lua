-- Give a claim back; only its holder can.
-- KEYS  1 claim (as in claim.lua)  2 counts
-- ARGV  1 message_id  2 token  3 what to count, or ''
if redis.call('GET', KEYS[1]) == ARGV[1] .. ' ' .. ARGV[2] then
  redis.call('DEL', KEYS[1])
end
if ARGV[3] ~= '' then
  count(KEYS[2], ARGV[3], 1)
end
