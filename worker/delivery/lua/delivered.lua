-- Was this very message delivered?
-- KEYS  1 dedup (dedup.lua)
-- ARGV  1 digest of the request_id  2 digest of the message_id (as in claim.lua)
-- Returns 1 if the last vote that AquilaX took is of this message.
local _, _, vote = recall(KEYS[1], ARGV[1])
local _, _, _, message = read(vote or '')
return message == ARGV[2] and 1 or 0
