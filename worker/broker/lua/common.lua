-- What the scripts share; it stands before each of them.
-- A script's first write frees memory, where it can: Redis with its memory full refuses a script's first write if that
-- needs memory, and lets it finish once it has written.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function decode(text)
  local ok, value = pcall(cjson.decode, text)
  if ok and type(value) == 'table' then
    return value
  end
  return nil
end

local function field(value, name)
  if type(value) == 'table' then
    return value[name]
  end
  return nil
end

-- A row of `unacked` is `[message, "exchange", "queue"]`: the message's own text, and its queue.
local function message_of(row)
  return string.match(row, '^%[(.*), ?"[^"]*", ?"[^"]*"%]$')
end

local function queue_of(row)
  local queue = string.match(row, '"([^"]*)"%]$')
  if queue and string.find(queue, '\\', 1, true) then
    return decode('["' .. queue .. '"]')[1]
  end
  return queue
end

local function quoted(text)
  if string.find(text, '["\\%c]') then
    return cjson.encode(text)
  end
  return '"' .. text .. '"' -- cjson would escape every slash
end

local function with_mark(message, object)
  local at = '"' .. object .. '"%s*:%s*{'
  local marked = string.gsub(message, '(' .. at .. '%s*)(.)', function(start, next)
    if next == '}' then
      return start .. '"redelivered": true}'
    end
    return start .. '"redelivered": true, ' .. next
  end, 1)
  return marked
end

-- Mark a message as Kombu does when it returns one. JSON is not decoded and encoded for it: Lua can't tell an empty
-- list from an empty object.
local function redelivered(message)
  local before = decode(message)
  if field(field(before, 'headers'), 'redelivered') == true then
    return message
  end
  local marked = with_mark(with_mark(message, 'headers'), 'delivery_info')
  local after = decode(marked)
  local info = field(field(after, 'properties'), 'delivery_info')
  if field(field(after, 'headers'), 'redelivered') == true and field(info, 'redelivered') == true then
    return marked
  end
  return message
end

-- The list of a queue that a message belongs to by its priority, as Kombu chooses it.
local function list_of(prefix, queue, sep, steps, message)
  local priority = tonumber(field(field(decode(message), 'properties'), 'priority') or 0) or 0
  local chosen = nil
  for step in string.gmatch(steps, '%-?%d+') do
    if chosen == nil or tonumber(step) <= priority then
      chosen = tonumber(step)
    end
  end
  if chosen == nil or chosen == 0 then
    return prefix .. queue
  end
  return prefix .. queue .. sep .. string.format('%d', chosen)
end
