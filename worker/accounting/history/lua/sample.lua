-- Notes a sample of the queue, once for all workers.
-- KEYS: 1 the hash of the history, whose field 'sample' is the last one; then buckets.
-- ARGV: 1 the last sample as the caller has read it, '' for none; 2 this sample, '' for none that another one can go on
-- from; 3 when, in s since 1970; then as add_to_buckets reads it.
if (redis.call('HGET', KEYS[1], 'sample') or '') ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'sample')
else
  redis.call('HSET', KEYS[1], 'sample', ARGV[2])
end
redis.call('HSETNX', KEYS[1], 'since', ARGV[3])
add_to_buckets(2, 4)
return 1
