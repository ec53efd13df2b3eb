-- What is in flight under no lease goes back to the head of its queue; what can't be read, to the queue that is named.
-- KEYS  1 unacked  2 unacked_index  3 unacked_leases  4 the list for what can't be read
--       then the set of each holder, then the lists of queues (queue.lua of the broker)
-- ARGV  1 how many holders there are, then their names; then the queues (queue.lua); then the delivery tags
-- Returns {{holder, …} as in `snapshot.lua`, {delivery tag, …}: those that went back, {queue, …}: those whose messages did
--         not, as their lists were not declared}
local OWN_KEYS, named = 4, tonumber(ARGV[1])
local holders, others = holders_of(KEYS[3], OWN_KEYS + 1, 2, named)
if not holders then
  return {others, {}, {}}
end
local place_of, undeclared, first = places_from(OWN_KEYS + named + 1, 2 + named)
local held = {}
for _, holder in ipairs(holders) do
  for _, tag in ipairs(redis.call('SMEMBERS', holder.held)) do
    held[tag] = true
  end
end
local returned = {}
for at = first, #ARGV do
  local tag = ARGV[at]
  local row = not held[tag] and redis.call('HGET', KEYS[1], tag)
  if row then
    local queue, message = read_row(row)
    local list = KEYS[4]
    if queue then
      list = not redis.call('ZSCORE', KEYS[2], tag) and place_of(queue, message)
    end
    if list then
      redis.call('HDEL', KEYS[1], tag)
      redis.call('ZREM', KEYS[2], tag)
      -- A worker makes a dead letter `invalid` of a row that can't be read.
      redis.call('RPUSH', list, queue and redelivered(message, tag, queue) or row)
      returned[#returned + 1] = tag
    end
  end
end
return {{}, returned, undeclared}
