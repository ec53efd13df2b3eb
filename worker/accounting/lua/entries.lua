-- What the scripts of the accounts share; it stands before each of them, after the MESSAGE of `worker.broker.scripts`.

-- Whether an entry is counted as accepted already, and whether it is a message.
local function judge(entry)
  -- As our producers spell it, and as our workers do: that saves decoding it.
  if string.find(entry, '"feedback":{"v":2,', 1, true) or string.find(entry, '"feedback": {"v": 2,', 1, true) then
    return true, true
  end
  local message = decode(entry)
  return counted(message), usable(message)
end

-- The dead letter that a message replays, as text; nil if it is no replay.
local function replayed(entry)
  local at = string.find(entry, '"dead_letter"', 1, true) -- a pattern alone would take ten times as long
  return at and string.match(entry, '^"dead_letter"%s*:%s*(%d+)', at)
end

-- When an event was first enqueued, as text; in UTC, as we write it, the least is the oldest.
local function enqueued_at(entry)
  local at = string.find(entry, '"enqueued_at"', 1, true)
  return at and string.match(entry, '^"enqueued_at"%s*:%s*"([^"]+%+00:00)"', at)
end

-- The queue and the message of a row of `unacked`; nil, nil if it is none.
local function read_row(row)
  local ok, queue = pcall(queue_of, row)
  local message = message_of(row)
  if not ok or not queue or not message then
    return nil, nil
  end
  return queue, message
end

-- The holders, each with the end of its lease and its set. The sets' keys are declared by the client, which has been told
-- the names of all holders before: KEYS has them from `key` on for the `how_many` names that ARGV has from `argument` on.
-- If another holder has come since, returned is nil, and the names of all: the client asks again, of a later moment.
local function holders_of(leases, key, argument, how_many)
  local held, found, names = {}, {}, {}
  for number = 0, how_many - 1 do
    held[ARGV[argument + number]] = KEYS[key + number]
  end
  local flat = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES')
  for at = 1, #flat, 2 do
    names[#names + 1] = flat[at]
    if held[flat[at]] then
      found[#found + 1] = {name = flat[at], until_ms = flat[at + 1], held = held[flat[at]]}
    end
  end
  if #found < #names then
    return nil, names
  end
  return found
end
