-- May this word be sent?
-- KEYS  1 word    hash: status, occurred_at, message of the last word delivered for the request_id; and `unsure`, while
--                 AquilaX may have taken another word since
--       2 claim   string: the token of the worker that is sending a word of the request_id
--       3 counts  hash: events of each kind
-- ARGV  1 status  2 occurred_at (20 digits)  3 message_id  4 token  5 lease (ms)  6 ttl (ms)
-- Returns {"claimed" | "busy" | "settled" | "duplicate" | "stale", milliseconds left of another's claim}
local word = redis.call('HMGET', KEYS[1], 'status', 'occurred_at', 'message', 'unsure')
local status, occurred_at, message, unsure = unpack(word)
local holder = redis.call('GET', KEYS[2])
if status then
  if message == ARGV[3] then
    return {'settled', 0}
  end
  local later = ARGV[2] > occurred_at
  if status ~= ARGV[1] and not later then
    redis.call('HINCRBY', KEYS[3], 'stale', 1)
    return {'stale', 0}
  end
  -- A word said again later is sent all the same while an opposite word is on its way, or may have arrived unseen.
  if status == ARGV[1] and not (later and (holder or unsure)) then
    -- An opposite word from between the two must find itself stale.
    if later then
      redis.call('HSET', KEYS[1], 'occurred_at', ARGV[2])
      redis.call('PEXPIRE', KEYS[1], ARGV[6])
    end
    redis.call('HINCRBY', KEYS[3], 'duplicate', 1)
    return {'duplicate', 0}
  end
end
-- The same token is this very call, made again by the client because the answer got lost.
if holder and holder ~= ARGV[4] then
  return {'busy', redis.call('PTTL', KEYS[2])}
end
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
if status then
  -- From here to its record nobody knows which word AquilaX has, should the answer or the worker be lost.
  redis.call('HSET', KEYS[1], 'unsure', 1)
end
return {'claimed', 0}
