-- Give a claim back; only its holder can.
-- KEYS  1 word  2 claim  3 counts (as in claim.lua)
-- ARGV  1 token  2 what to count, or ''
if ARGV[2] ~= '' then
  redis.call('HINCRBY', KEYS[3], ARGV[2], 1)
end
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
