-- KEYS, ARGV and what it returns: see `moment.lua`.
return moment()
