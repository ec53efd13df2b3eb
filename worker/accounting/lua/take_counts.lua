-- Take the counts, on their way to another Redis: they wait in a parcel until they have arrived there.
-- KEYS  1 the counts  2 the parcel
-- ARGV  1 a name for the parcel  2 the field that says that they are on their way: it stays
-- Returns the parcel as a flat list of fields and values, of which '' is its name; {} if there is nothing.
local marked = redis.call('HEXISTS', KEYS[1], ARGV[2])
if redis.call('EXISTS', KEYS[2]) == 0 and redis.call('HLEN', KEYS[1]) > marked then
  redis.call('RENAME', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[2], '', ARGV[1])
  if marked == 1 then
    redis.call('HDEL', KEYS[2], ARGV[2])
    redis.call('HSET', KEYS[1], ARGV[2], 1)
  end
end
return redis.call('HGETALL', KEYS[2])
