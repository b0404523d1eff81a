-- Compare and set the entry of a suppressed address.
--
-- KEYS: entry
-- ARGV: expected value ('' for none), new value ('' to delete), seconds to keep
--       it (0 for ever)
-- Returns {1, ''} or {0, current value}. A retried call finds its own value.
local current = redis.call('GET', KEYS[1]) or ''
if current == ARGV[2] then
  return {1, ''}
end
if current ~= ARGV[1] then
  return {0, current}
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
elseif ARGV[3] == '0' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
end
return {1, ''}
