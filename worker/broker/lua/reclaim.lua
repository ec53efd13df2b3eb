-- Return what the holders of ended leases held. heartbeat.lua has told which those are; it does not do this itself, as
-- their sets' keys have to be declared. A worker that dies in between leaves it to the next one that renews its lease.
-- KEYS  1 unacked  2 unacked_index  3 unacked_leases  4 unacked_pulse
--       then unacked_held:<holder> of each holder, then the lists of queues (queue.lua)
-- ARGV  1 lease (ms) of the one that asks  2 how many holders there are, then their names
--       then the queues (queue.lua)
-- Returns {messages returned, {holder, …}, {queue, …}}: holders that hold nothing any more, and are dropped; and queues
--         whose messages were left in flight, as their lists were not declared
local OWN_KEYS = 4
local now, holders = now_ms(), tonumber(ARGV[2])
local place_of, undeclared = places_from(OWN_KEYS + holders + 1, 3 + holders)
local returned, dropped = 0, {}

-- A lease may have been renewed since that was told, and Redis may have been unavailable.
local pulse, grace = pulse_of(KEYS[4], now)
if not pulse or now - pulse > tonumber(ARGV[1]) / 2 or now < grace then
  return {0, {}, {}}
end

local function reclaim(held, tag)
  local row = redis.call('HGET', KEYS[1], tag)
  local message = row and message_of(row)
  local list = message and place_of(queue_of(row), message)
  if message and not list then
    return false
  end
  redis.call('SREM', held, tag)
  if message then
    redis.call('HDEL', KEYS[1], tag)
    redis.call('ZREM', KEYS[2], tag)
    redis.call('RPUSH', list, unended(message, tag, queue_of(row)))
    returned = returned + 1
  end
  return true
end

for number = 1, holders do
  local holder, held = ARGV[2 + number], KEYS[OWN_KEYS + number]
  local until_ms = redis.call('ZSCORE', KEYS[3], holder)
  if until_ms and tonumber(until_ms) <= now then
    local all = true
    for _, tag in ipairs(redis.call('SMEMBERS', held)) do
      all = reclaim(held, tag) and all
    end
    if all then
      redis.call('ZREM', KEYS[3], holder)
      dropped[#dropped + 1] = holder
    end
  end
end
return {returned, dropped, undeclared}
