-- One moment of a queue, in numbers.
-- KEYS  1 counts  2 hold  3 unacked  4 unacked_index  5 unacked_leases
--       then two for each list of the queue: the list, its delayed messages
-- ARGV  1 the queue  2 prefix of the held sets  3 how many entries to look at, from each end of a list, for the oldest
-- Returns {now (ms), counts, hold, queued, scheduled, in flight, oldest ('' or a time), {{holder, lease's end (ms), held}, …}}
local OWN_KEYS = 5

-- The hold's fields. Another type of value stops deliveries like a hold (fetch.lua), and is told as one.
local function hold_fields(key)
  local fields = redis.pcall('HGETALL', key)
  if fields.err then
    return {'unreadable', redis.call('TYPE', key).ok}
  end
  return fields
end

local function moment()
  local queued, scheduled, in_flight, oldest = 0, 0, 0, ''

  local function older(entry)
    local at = enqueued_at(entry)
    if at and (oldest == '' or at < oldest) then
      oldest = at
    end
  end

  local ends = tonumber(ARGV[3])
  for at = OWN_KEYS + 1, #KEYS, 2 do
    queued = queued + redis.call('LLEN', KEYS[at])
    scheduled = scheduled + redis.call('ZCARD', KEYS[at + 1])
    for _, range in ipairs({{0, ends - 1}, {-ends, -1}}) do
      for _, entry in ipairs(redis.call('LRANGE', KEYS[at], range[1], range[2])) do
        older(entry)
      end
      for _, entry in ipairs(redis.call('ZRANGE', KEYS[at + 1], range[1], range[2])) do
        older(entry)
      end
    end
  end
  for _, row in ipairs(redis.call('HVALS', KEYS[3])) do
    local queue, message = read_row(row)
    if queue == ARGV[1] then
      in_flight = in_flight + 1
      older(message)
    end
  end
  local holders = {}
  for _, holder in ipairs(holders_of(KEYS[5], ARGV[2])) do
    holders[#holders + 1] = {holder.name, holder.until_ms, redis.call('SCARD', holder.held)}
  end
  local counts, hold = redis.call('HGETALL', KEYS[1]), hold_fields(KEYS[2])
  return {now_ms(), counts, hold, queued, scheduled, in_flight, oldest, holders}
end
