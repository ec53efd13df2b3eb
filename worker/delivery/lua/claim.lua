-- May this vote be sent?
-- KEYS  1 dedup   (dedup.lua) the last vote delivered for each request_id; unsure, while AquilaX may have taken another
--                 since
--       2 bucket  that of the request_id
--       3 claim   string: the message that is being sent, and a token: `message token`
--       4 hold    hash: kind, comment, … of why nothing is sent
-- ARGV  1 digest of the request_id (16 bytes)  2 status (1)  3 occurred_at (15 hex digits)
--       4 digest of the message_id (8 bytes)  5 ttl (ms)  6 message_id  7 token  8 lease (ms)  9 '1' for a hold's probe
-- Returns {"claimed" | "busy" | "settled" | "duplicate" | "stale" | "held",
--          milliseconds left of another's claim, or the hold's comment, the hold's kind}; or as dedup.lua has it
local hold = redis.pcall('HMGET', KEYS[4], 'kind', 'comment')
if hold.err then
  return {'held', 'the hold is unreadable', 'operator'}
end
local kind, comment = unpack(hold)
if kind and (ARGV[9] ~= '1' or kind == 'operator') then
  return {'held', comment or '', kind}
end
local buckets, vote = recall(KEYS[1], KEYS[2], ARGV[1])
if not buckets then
  return vote
end
-- Redis with its memory full refuses a script's first write if it needs memory. This one does not.
redis.call('HDEL', KEYS[4], '')
local claim = ARGV[6] .. ' ' .. ARGV[7]
local holder = redis.call('GET', KEYS[3])
-- A claim of this very message is that of a worker that is dead: no message is in flight twice.
local own = holder and string.sub(holder, 1, #ARGV[6] + 1) == ARGV[6] .. ' '
if holder and not own and redis.call('PTTL', KEYS[3]) == -1 then
  holder = nil -- every claim expires: this is none
end
if vote then
  local status, unsure, occurred_at, message = read(vote)
  if message == ARGV[4] then
    return {'settled', 0}
  end
  local later = ARGV[3] > occurred_at
  if status ~= ARGV[2] and not later then
    return {'stale', 0}
  end
  -- A vote said again later is sent all the same while an opposite vote is being sent, or may have arrived unseen.
  if status == ARGV[2] and not (later and (holder or unsure == '1')) then
    -- An opposite vote from between the two must find itself stale.
    if later then
      remember(KEYS[1], KEYS[2], buckets, ARGV[1], tonumber(ARGV[5]), status, unsure, ARGV[3], message)
    end
    return {'duplicate', 0}
  end
end
if holder and not own then
  return {'busy', redis.call('PTTL', KEYS[3])}
end
redis.call('SET', KEYS[3], claim, 'PX', ARGV[8])
if vote then
  -- From here to its record it is not known which vote AquilaX has, should the answer or the worker be lost.
  mark_unsure(KEYS[2], ARGV[1], vote)
end
return {'claimed', 0}
