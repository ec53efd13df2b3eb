-- Correct a count by hand, unless it was corrected since it was read.
-- KEYS  1 counts
-- ARGV  1 the field  2 by how much  3 the field that tells of corrections  4 what it was when the books were read
-- Returns 1 if it was corrected.
if (redis.call('HGET', KEYS[1], ARGV[3]) or '0') ~= ARGV[4] then
  return 0
end
redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] ~= ARGV[1] then
  redis.call('HINCRBY', KEYS[1], ARGV[3], ARGV[2])
end
return 1
