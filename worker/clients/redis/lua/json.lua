-- Reading JSON that a client wrote: nil for what is no table.
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

