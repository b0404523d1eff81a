-- Compare and set a sender's record, and keep the index by state with it.
--
-- KEYS: record, then one index set per indexed state
-- ARGV: expected version, record, state, name, then the indexed states
-- Returns {1, new version, ''} or {0, current version, current record}.
--
-- A retried call finds its own record and changes nothing. Versions are the
-- server's microseconds, never less than the last one plus one: counting from 1
-- again after a loss of data could meet the version that an instance remembers.
local stored = redis.call('GET', KEYS[1])
local version, record = '0', ''
if stored then
  local head, stop = string.match(stored, '^(%d+) %l+\n()')
  if not head then
    return redis.error_reply('DAMAGED record; delete the key to have it rebuilt')
  end
  version, record = head, string.sub(stored, stop)
end
if version ~= ARGV[1] then
  if stored and record == ARGV[2] then
    return {1, version, ''}
  end
  return {0, version, record}
end
local time = redis.call('TIME')
local new = math.max(time[1] * 1000000 + time[2], tonumber(version) + 1)
new = string.format('%.0f', new)
local value = new .. ' ' .. ARGV[3] .. '\n' .. ARGV[2]
if ARGV[3] == 'normal' then
  -- A sender that was silent for half a year is as good as new, and senders whose
  -- names anybody can make up must not fill Redis for ever.
  redis.call('SET', KEYS[1], value, 'EX', 180 * 86400)
else
  redis.call('SET', KEYS[1], value)
end
for i = 2, #KEYS do
  local verb = ARGV[i + 3] == ARGV[3] and 'SADD' or 'SREM'
  redis.call(verb, KEYS[i], ARGV[4])
end
return {1, new, ''}
