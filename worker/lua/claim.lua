-- May this word be sent?
-- KEYS  1 word    hash: status, occurred_at, message of the last word delivered for the request_id; and `unsure`, while
--                 AquilaX may have taken another word since
--       2 claim   string: the message that is being sent, and a token: `message token`
--       3 hold    hash: kind, reason, … of why nothing is sent
-- ARGV  1 status  2 occurred_at (20 digits)  3 message_id  4 token  5 lease (ms)  6 ttl (ms)  7 '1' for a hold's probe
-- Returns {"claimed" | "busy" | "settled" | "duplicate" | "stale" | "held",
--          milliseconds left of another's claim, or the hold's reason, the hold's kind}
local kind, reason = unpack(redis.call('HMGET', KEYS[3], 'kind', 'reason'))
if kind and (ARGV[7] ~= '1' or kind == 'operator') then
  return {'held', reason or '', kind}
end
-- Redis with its memory full refuses a script's first write if it needs memory. This one does not.
redis.call('HDEL', KEYS[1], '')
local word = redis.call('HMGET', KEYS[1], 'status', 'occurred_at', 'message', 'unsure')
local status, occurred_at, message, unsure = unpack(word)
local claim = ARGV[3] .. ' ' .. ARGV[4]
local holder = redis.call('GET', KEYS[2])
-- A claim of this very message is that of a worker that is dead: no message is in two hands.
local own = holder and string.sub(holder, 1, #ARGV[3] + 1) == ARGV[3] .. ' '
if status then
  if message == ARGV[3] then
    return {'settled', 0}
  end
  local later = ARGV[2] > occurred_at
  if status ~= ARGV[1] and not later then
    return {'stale', 0}
  end
  -- A word said again later is sent all the same while an opposite word is on its way, or may have arrived unseen.
  if status == ARGV[1] and not (later and (holder or unsure)) then
    -- An opposite word from between the two must find itself stale.
    if later then
      redis.call('HSET', KEYS[1], 'occurred_at', ARGV[2])
      redis.call('PEXPIRE', KEYS[1], ARGV[6])
    end
    return {'duplicate', 0}
  end
end
if holder and not own then
  return {'busy', redis.call('PTTL', KEYS[2])}
end
redis.call('SET', KEYS[2], claim, 'PX', ARGV[5])
if status then
  -- From here to its record nobody knows which word AquilaX has, should the answer or the worker be lost.
  redis.call('HSET', KEYS[1], 'unsure', 1)
end
return {'claimed', 0}
