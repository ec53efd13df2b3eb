-- One moment of a queue, and whether what is in Redis hangs together.
-- KEYS, ARGV  as in `moment.lua`, and ARGV 3: how many entries of the lists are looked at one by one, at most
-- Returns {{holder, …} as in `snapshot.lua`, the moment,
--          orphaned  {{delivery tag, message}, …}: in flight, but neither under a lease nor in the index: no worker returns them
--          index     {delivery tag, …}: in the index, but not in flight
--          held      {{holder, delivery tag}, …}: under a lease, but not in flight
--          unreadable {delivery tag, …}: under no lease, and no row of `unacked`
--          1 if the entries of the lists were looked at, 0 if there are too many
--          entries that are not counted as accepted yet, entries that are no messages,
--          {dead letter, …}: those that are being replayed by a message in flight or in a list}
local uncounted, no_message = 0, 0
local orphaned, index, dropped, unreadable, replays = {}, {}, {}, {}, {}

local function note_replay(entry)
  local row = replayed(entry)
  if row then
    replays[#replays + 1] = row
  end
end

local holders, others = holders_of(KEYS[5], LAST_LIST + 1, OWN_ARGUMENTS + 1, HOLDERS)
if not holders then
  return {others}
end
local held = {}
for _, holder in ipairs(holders) do
  for _, tag in ipairs(redis.call('SMEMBERS', holder.held)) do
    held[tag] = true
    if redis.call('HEXISTS', KEYS[3], tag) == 0 then
      dropped[#dropped + 1] = {holder.name, tag}
    end
  end
end

local rows = redis.call('HGETALL', KEYS[3])
for at = 1, #rows, 2 do
  local tag = rows[at]
  local queue, message = read_row(rows[at + 1])
  if not queue then
    if not held[tag] then
      unreadable[#unreadable + 1] = tag
    end
  elseif queue == ARGV[1] then
    note_replay(message)
    if not held[tag] then
      if not redis.call('ZSCORE', KEYS[4], tag) then
        orphaned[#orphaned + 1] = {tag, message}
      elseif not judge(message) then
        uncounted = uncounted + 1 -- a plain Celery worker has it, which counts nothing
      end
    end
  end
end
for _, tag in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
  if redis.call('HEXISTS', KEYS[3], tag) == 0 then
    index[#index + 1] = tag
  end
end

local now = moment(holders)
local look = now[4] + now[5] <= tonumber(ARGV[3])
if look then
  for at = OWN_KEYS + 1, LAST_LIST, 2 do
    for _, entries in ipairs({redis.call('LRANGE', KEYS[at], 0, -1), redis.call('ZRANGE', KEYS[at + 1], 0, -1)}) do
      for _, entry in ipairs(entries) do
        local counted, usable = judge(entry)
        uncounted = uncounted + (counted and 0 or 1)
        no_message = no_message + (usable and 0 or 1)
        note_replay(entry)
      end
    end
  end
end
return {{}, now, orphaned, index, dropped, unreadable, look and 1 or 0, uncounted, no_message, replays}
