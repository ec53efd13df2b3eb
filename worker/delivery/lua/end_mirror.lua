-- Have a partition hand messages out again: the hold in the first partition has ended.
-- KEYS  1 hold of this partition
-- Returns 1 if there was one.
return redis.call('DEL', KEYS[1])
