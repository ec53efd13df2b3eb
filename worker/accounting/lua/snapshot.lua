-- KEYS and ARGV: see `moment.lua`.
-- Returns {{}, the moment}; or {{holder, …}} if there are others than those that were named (`entries.lua`)
local holders, others = holders_of(KEYS[5], LAST_LIST + 1, OWN_ARGUMENTS + 1, HOLDERS)
if not holders then
  return {others}
end
return {{}, moment(holders)}
