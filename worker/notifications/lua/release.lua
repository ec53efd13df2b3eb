-- Ends a round: the next one may begin after the rest of the period.
-- KEYS: the lease. ARGV: the worker's token, that rest in ms.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
