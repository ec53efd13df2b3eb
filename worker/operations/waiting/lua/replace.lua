-- Scheduled messages go on in another form: at the head of their list, or scheduled as before.
-- KEYS  1 the delayed messages  2 their list  3 the queue's counts
-- ARGV  1 'send' or 'keep'  then two for each message, what is due last first: as it waits, and as it goes on
-- What was due first is the next to be handed out, as in fetch.lua.
-- Returns for each message as what it is there now; '' if it was not there: a worker has it.
local replaced = {}
for at = 2, #ARGV, 2 do
  local message, other, place = ARGV[at], ARGV[at + 1], #replaced + 1
  local due = redis.call('ZSCORE', KEYS[1], message)
  replaced[place] = ''
  if due then
    redis.call('ZREM', KEYS[1], message)
    if ARGV[1] == 'send' then
      redis.call('RPUSH', KEYS[2], other)
      replaced[place] = other
    else
      replaced[place] = schedule(KEYS[1], due, other)
    end
    -- A message of a foreign client is counted once it says that it is; and no longer if it says so no more.
    if other ~= message then
      local before, after = counted(decode(message)), counted(decode(other))
      if before ~= after then
        count(KEYS[3], 'accepted', after and 1 or -1)
      end
    end
  end
end
return replaced
