-- Mark that an instance has stored what it knows.
--
-- KEYS: mark
-- ARGV: token of this call, seconds to keep
-- Returns 1 when the mark was not there, and again to a retry of that call.
local stored = redis.call('GET', KEYS[1])
if stored == ARGV[1] then
  return 1
end
redis.call('SET', KEYS[1], stored or ARGV[1], 'EX', ARGV[2])
return stored and 0 or 1
