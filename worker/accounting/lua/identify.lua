-- The generation of this Redis's data: the number that stands among its counts, drawn once.
-- KEYS  1 counts
-- ARGV  1 a number drawn at random, to be it if there is none
-- Returns the generation.
redis.call('HSETNX', KEYS[1], 'generation', ARGV[1])
return redis.call('HGET', KEYS[1], 'generation')
