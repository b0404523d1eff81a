-- Mark that an instance has stored what it knows.
--
-- KEYS: mark
-- ARGV: token of this call, seconds to keep, token of the call before
-- Returns 1 when the mark is not that of the call before: it was not there, or is an
-- older one, as Redis came back from an older dump. So does a retry of the call.
local stored = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return stored == ARGV[3] and 0 or 1
