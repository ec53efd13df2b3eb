-- May this word be sent?
-- KEYS  1 word    hash: status, occurred_at, message of the last word delivered for the request_id
--       2 claim   string: the token of the worker that is sending a word of the request_id
--       3 counts  hash: events of each kind
-- ARGV  1 status  2 occurred_at (20 digits)  3 message_id  4 token  5 lease (ms)  6 ttl (ms)
-- Returns {"claimed" | "busy" | "settled" | "duplicate" | "stale", milliseconds left of another's claim}
local status, occurred_at, message = unpack(redis.call('HMGET', KEYS[1], 'status', 'occurred_at', 'message'))
if status then
  if message == ARGV[3] then
    return {'settled', 0}
  end
  if status == ARGV[1] then
    -- Said again later: an opposite word from between the two must find itself stale.
    if ARGV[2] > occurred_at then
      redis.call('HSET', KEYS[1], 'occurred_at', ARGV[2])
      redis.call('PEXPIRE', KEYS[1], ARGV[6])
    end
    redis.call('HINCRBY', KEYS[3], 'duplicate', 1)
    return {'duplicate', 0}
  end
  if ARGV[2] <= occurred_at then
    redis.call('HINCRBY', KEYS[3], 'stale', 1)
    return {'stale', 0}
  end
end
if redis.call('SET', KEYS[2], ARGV[4], 'NX', 'PX', ARGV[5]) then
  return {'claimed', 0}
end
return {'busy', redis.call('PTTL', KEYS[2])}
