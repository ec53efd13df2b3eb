-- Writes down what is known of notifications, if this worker still notifies, which it goes on to do for a while.
-- KEYS: the lease, the state. ARGV: the worker's token, the state, the lease's length in ms.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
