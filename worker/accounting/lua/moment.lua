-- One moment of a queue, in numbers.
-- KEYS  1 counts  2 hold  3 unacked  4 unacked_index  5 unacked_leases
--       then two for each list of the queue: the list, its delayed messages; then the set of each holder
-- ARGV  1 the queue  2 how many entries to look at, from each end of a list, for the oldest  3 see `check.lua`
--       4… the names of the holders
-- Returns {now (ms), counts, hold, queued, scheduled, in flight, oldest ('' or a time), {{holder, lease's end (ms), held}, …}}
local OWN_KEYS, OWN_ARGUMENTS = 5, 3
local HOLDERS = #ARGV - OWN_ARGUMENTS
local LAST_LIST = #KEYS - HOLDERS

-- The hold's fields. Another type of value stops deliveries like a hold (fetch.lua), and is told as one.
local function hold_fields(key)
  local fields = redis.pcall('HGETALL', key)
  if fields.err then
    return {'unreadable', redis.call('TYPE', key).ok}
  end
  return fields
end

local function moment(holders)
  local queued, scheduled, in_flight, oldest = 0, 0, 0, ''

  local function older(entry)
    local at = enqueued_at(entry)
    if at and (oldest == '' or at < oldest) then
      oldest = at
    end
  end

  local ends = tonumber(ARGV[2])
  for at = OWN_KEYS + 1, LAST_LIST, 2 do
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
  local told = {}
  for number, holder in ipairs(holders) do
    told[number] = {holder.name, holder.until_ms, redis.call('SCARD', holder.held)}
  end
  local counts, hold = redis.call('HGETALL', KEYS[1]), hold_fields(KEYS[2])
  return {now_ms(), counts, hold, queued, scheduled, in_flight, oldest, told}
end
