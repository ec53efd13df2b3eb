-- Messages as they lie in Redis: how to read, mark and wrap one. After `json.lua` of `worker.clients.redis`.

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

-- Text as JSON. A quotation mark in it is written by its number, so that rows can be read without decoding them.
local function quoted(text)
  return '"' .. string.gsub(text, '[%c"\\]', function(char) return string.format('\\u%04x', string.byte(char)) end) .. '"'
end

-- Where the JSON value that begins at `at` ends. The text is known to be JSON.
local function value_end(text, at)
  local depth = 0
  while true do
    local first = string.sub(text, at, at)
    if first == '"' then
      repeat
        at = string.find(text, '["\\]', at + 1)
        local escape = string.sub(text, at, at) == '\\'
        if escape then
          at = at + 1
        end
      until not escape
    elseif first == '{' or first == '[' then
      depth = depth + 1
    elseif first == '}' or first == ']' then
      depth = depth - 1
    elseif depth == 0 then -- a number or a word
      return (string.find(text, '[%s,%]}]', at) or #text + 1) - 1
    end
    if depth == 0 then
      return at
    end
    at = string.find(text, '["%[%]{}]', at + 1)
  end
end

-- Where the member of an object begins and ends, its value only; nil if it has none of that name.
local function member(text, object, name)
  local at, first, last = string.find(text, '%S', object + 1), nil, nil
  while at and string.sub(text, at, at) == '"' do
    local key_end = value_end(text, at)
    local value = string.find(text, '[^%s:]', key_end + 1)
    local behind = value_end(text, value)
    if string.sub(text, at, key_end) == '"' .. name .. '"' then
      first, last = value, behind -- of two with one name the last counts
    end
    at = string.find(text, '[^%s,]', behind + 1)
  end
  return first, last
end

-- The text with a member, its value given as JSON, in the object that begins at `at`; nil if none does.
local function with_member(text, at, name, value)
  if not at or string.sub(text, at, at) ~= '{' then
    return nil
  end
  local first, last = member(text, at, name)
  if first then
    return string.sub(text, 1, first - 1) .. value .. string.sub(text, last + 1)
  end
  local separator = string.find(text, '^%s*}', at + 1) and '' or ', '
  return string.sub(text, 1, at) .. '"' .. name .. '": ' .. value .. separator .. string.sub(text, at + 1)
end

-- Bytes in hex. The table of all bytes is made when it is needed, and not whenever a script runs; without one, 20 MB take
-- five times as long, and Redis serves no other client meanwhile.
local hex = nil
local function in_hex(bytes)
  if not hex then
    hex = {}
    for byte = 0, 255 do
      hex[string.char(byte)] = string.format('%02x', byte)
    end
  end
  return (string.gsub(bytes, '.', hex))
end

-- A message that stands for an entry which is none, and which it carries in hex; or for one that is too large, whose
-- beginning it carries, and whose `size` in bytes it tells.
local function wrapped(entry, tag, queue, marked, size)
  local mark = marked and '"redelivered": true, ' or ''
  local whole = size and '"poison_size": ' .. string.format('%d', size) .. ', ' or ''
  return '{"body": "", "content-encoding": "binary", "content-type": "application/octet-stream", "headers": {' .. mark
    .. whole .. '"poison": "' .. in_hex(entry) .. '"}, "properties": {"delivery_tag": ' .. quoted(tag)
    .. ', "delivery_info": {' .. mark .. '"exchange": "", "routing_key": ' .. quoted(queue) .. '}, "priority": 0}}'
end

-- The identity of a message is the delivery tag that `fetch.lua` made when it was first handed out: when that was (ms),
-- by which holder, in which fetch, and which of its messages. What a client writes as its delivery tag says nothing:
-- some write the same one into all messages.
local function made_here(tag)
  return type(tag) == 'string' and string.find(tag, '^%d+%-%x+%.%d+%-%d+$') ~= nil
end

-- The identity that a message was given when it was handed out before; nil if it never was.
local function identity_of(message)
  local info = field(field(message, 'properties'), 'delivery_info')
  local tag = field(info, 'handed_out_as')
  if field(info, 'redelivered') == true and made_here(tag) then
    return tag
  end
  return nil
end

-- Whether an entry is a message that any Kombu can put back. (Celery's and Kombu's own code fail on all others.)
local function usable(message)
  local properties = field(message, 'properties')
  return type(field(message, 'headers')) == 'table' and type(field(properties, 'delivery_info')) == 'table'
end

-- Whether a message is counted as accepted: by its producer, or when it was handed out before.
local function counted(message)
  local headers = field(message, 'headers')
  if field(headers, 'redelivered') == true then
    return true
  end
  local version = field(field(headers, 'feedback'), 'v')
  return type(version) == 'number' and version >= 2
end

-- Mark a message as Kombu does when it returns one, and let it keep the identity under which it was in flight. JSON is not
-- decoded and encoded for it: Lua can't tell an empty list from an empty object. What has no place for the marks is
-- wrapped: all that was handed out can be told.
local function redelivered(message, tag, queue)
  local before = decode(message)
  local identity = identity_of(before) or (made_here(tag) and tag) or nil

  local function is_marked(candidate)
    return candidate and usable(candidate) and field(candidate.headers, 'redelivered') == true
      and candidate.properties.delivery_info.redelivered == true and identity_of(candidate) == identity
  end

  local function with_marks(text)
    local object = string.find(text, '{', 1, true)
    local marked = with_member(text, (member(text, object, 'headers')), 'redelivered', 'true')
    for name, value in pairs({redelivered = 'true', handed_out_as = identity and quoted(identity)}) do
      local properties = marked and member(marked, object, 'properties')
      local info = properties and string.sub(marked, properties, properties) == '{'
        and member(marked, properties, 'delivery_info')
      marked = marked and with_member(marked, info, name, value)
    end
    return marked
  end

  if not usable(before) then
    message = wrapped(message, tag, queue, true)
  elseif is_marked(before) then
    return message
  end
  local marked = with_marks(message)
  if is_marked(marked and decode(marked)) then
    return marked
  end
  return with_marks(wrapped(message, tag, queue, true))
end

-- How often a message was handed out and did not come to an end, as its own header says.
local function times_unended(message)
  local times = field(field(message, 'headers'), 'feedback_unended')
  return type(times) == 'number' and times >= 0 and times < 1000 and math.floor(times) or 0
end

-- Mark a message that was handed out and did not come to an end: as `redelivered`, and one time more.
local function unended(message, tag, queue)
  local marked = redelivered(message, tag, queue)
  local times = string.format('%d', times_unended(decode(marked)) + 1)
  local object = string.find(marked, '{', 1, true)
  local noted = with_member(marked, (member(marked, object, 'headers')), 'feedback_unended', times)
  return noted and usable(decode(noted)) and noted or marked
end

