-- Hand messages over: from the lists of queues to the owner of a lease, in one step.
-- KEYS  1 unacked  2 unacked_index  3 unacked_leases  4 unacked_held:<holder>
--       then four for each list, in the order in which they are emptied:
--       the list, its delayed messages, the queue's counts and the queue's hold (unacked again where there is none)
-- ARGV  1 holder  2 lease (ms)  3 how many at most
--       then two for each list: the queue's name, and '1' if its messages are acknowledged
--       then, if they are given: what no other fetch has, `hex.number`, of which the delivery tags are made; and how
--       many bytes an entry of a counted queue may have
-- Returns {now (ms), when to look again (ms; 0: not before something changes),
--          {{number of the list, delivery tag, message, 1 if it is a hold's probe}, …}}
local HEAD, PER_LIST, FIRST_ARGUMENT = 4, 4, 3
local DUE_AT_ONCE = 1000
local BYTES_AT_ONCE = 8 * 1024 * 1024 -- of entries: then the rest is fetched the next time
local PREVIEW = 64 * 1024 -- bytes of an entry that is too large
local PROBE_LASTS = 60000
local SUSPECT, ASK_AGAIN = 3, 50
local NEVER = 2 ^ 53 -- ms; what is due then can't be told as a number
local NONE = KEYS[1]
local now = now_ms()
local lists = (#KEYS - HEAD) / PER_LIST
local fetch, most_bytes = ARGV[FIRST_ARGUMENT + lists * 2 + 1], ARGV[FIRST_ARGUMENT + lists * 2 + 2]
local room, bytes = tonumber(ARGV[3]), 0
most_bytes = tonumber(most_bytes or math.huge)
if not fetch then
  fetch = string.sub(redis.sha1hex(ARGV[1] .. table.concat(redis.call('TIME'), ' ')), 1, 12) .. '.0'
end
local tags = string.format('%d-%s-', now, fetch)
local taken, look_again, allowed = {}, 0, {}
local leased = false

local function sooner(moment)
  moment = tonumber(moment)
  if moment and moment < NEVER and (look_again == 0 or moment < look_again) then
    look_again = moment
  end
end

-- How many of a queue's messages may be handed out, and whether it is as a probe.
local function allowance(hold)
  if hold == NONE or redis.call('EXISTS', hold) == 0 then
    return room, false
  end
  local said = redis.pcall('HGET', hold, 'probe_at') -- whatever stands there: nothing is handed out because of it
  local probe_at = type(said) == 'string' and tonumber(said) or nil
  if probe_at and probe_at <= now then
    return math.min(room, 1), true
  end
  sooner(probe_at)
  return 0, false
end

-- Whether an entry is not to be decoded: only its beginning goes on, to the dead letters. What was handed out before has
-- grown by its marks, or is in hex.
local function is_too_large(entry)
  return #entry > most_bytes
    and (#entry > 2 * most_bytes + 1024 or not string.find(entry, '"redelivered": true', 1, true))
end

-- Every entry is a message of its own. One that was handed out before is still the message that it was then; if that
-- one is in flight, the entry is a copy.
local function tag_of(message)
  local tag = identity_of(message)
  if tag and redis.call('HEXISTS', KEYS[1], tag) == 0 then
    return tag
  end
  return tags .. #taken
end

local function take_in_flight(entry, message, queue)
  local tag = tag_of(message)
  if not usable(message) then
    entry = wrapped(entry, tag, queue, false)
  end
  redis.call('HSET', KEYS[1], tag, '[' .. entry .. ', "", ' .. quoted(queue) .. ']')
  redis.call('ZADD', KEYS[2], string.format('%.3f', now / 1000), tag)
  redis.call('SADD', KEYS[4], tag)
  if not leased then
    redis.call('ZADD', KEYS[3], now + tonumber(ARGV[2]), ARGV[1])
    leased = true
  end
  return tag
end

-- A message over which several workers were lost goes to a worker that holds nothing else, which loses nothing else.
local function must_wait(suspect)
  return suspect and (#taken > 0 or redis.call('SCARD', KEYS[4]) > 0)
end

for number = 1, lists do
  local at = HEAD + (number - 1) * PER_LIST
  local list, delayed, counts, hold = KEYS[at + 1], KEYS[at + 2], KEYS[at + 3], KEYS[at + 4]
  local queue, acknowledged = ARGV[FIRST_ARGUMENT + number * 2 - 1], ARGV[FIRST_ARGUMENT + number * 2] == '1'

  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, DUE_AT_ONCE)
  for index = #due, 1, -1 do -- what was due first is the next to go
    redis.call('ZREM', delayed, due[index])
    redis.call('RPUSH', list, due[index])
  end

  -- The lists of one queue share its allowance.
  if hold == NONE or allowed[hold] == nil then
    local free, probing = allowance(hold)
    allowed[hold] = {free = free, probing = probing}
  end
  local share = allowed[hold]
  while room > 0 and share.free > 0 do
    local entry = redis.call('RPOP', list)
    if not entry then
      break
    end
    local size = #entry
    local message = nil
    if counts ~= NONE and is_too_large(entry) then
      entry = wrapped(string.sub(entry, 1, PREVIEW), '', queue, false, size)
      message = {headers = {}, properties = {delivery_info = {}}}
    else
      message = decode(entry)
    end
    local suspect = acknowledged and times_unended(message) >= SUSPECT
    if must_wait(suspect) then
      redis.call('RPUSH', list, entry)
      sooner(now + ASK_AGAIN)
      room = 0
      break
    end
    bytes = bytes + size
    local tag = ''
    if acknowledged then
      tag = take_in_flight(entry, message, queue)
    end
    if counts ~= NONE and not counted(message) then
      count(counts, 'accepted', 1)
    end
    if share.probing then
      redis.call('HSET', hold, 'probe_at', now + PROBE_LASTS)
      redis.pcall('HINCRBY', hold, 'probes', 1)
    end
    taken[#taken + 1] = {number, tag, entry, share.probing and 1 or 0}
    room, share.free = room - 1, share.free - 1
    if bytes > BYTES_AT_ONCE or suspect then
      room = 0
    end
    if not acknowledged then
      room = 0 -- nothing brings it back if the consumer leaves: one at a time
    end
  end
  sooner(redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2])
end
return {now, look_again, taken}
