-- Take the counts, on their way to another Redis: they wait in a parcel until they have arrived there.
-- KEYS  1 the counts  2 the parcel
-- ARGV  1 a name for the parcel
-- Returns the parcel as a flat list of fields and values, of which '' is its name; {} if there is nothing.
if redis.call('EXISTS', KEYS[2]) == 0 and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('RENAME', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[2], '', ARGV[1])
end
return redis.call('HGETALL', KEYS[2])
