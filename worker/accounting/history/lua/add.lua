-- Adds what one writer has counted, once, however often it is sent.
-- KEYS: 1 the hash of the history; 2 what this writer has written; then buckets.
-- ARGV: 1 the number of this writing, which grows; 2 for how many seconds it is remembered; 3 since when there is a
-- history at the latest, in s since 1970; then as add_to_buckets reads it.
if (tonumber(redis.call('GET', KEYS[2]) or '') or 0) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
local since = tonumber(redis.call('HGET', KEYS[1], 'since') or '')
if not since or since > tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], 'since', ARGV[3])
end
add_to_buckets(3, 4)
return 1
