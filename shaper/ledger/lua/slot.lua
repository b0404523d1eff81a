-- Claim a sender's next trickle release.
--
-- KEYS: slot
-- ARGV: now and pause in microseconds, token of this call
-- Returns 0 when granted, else the microseconds to wait.
--
-- The callers' clock decides; the key lives no longer than one pause by the
-- server's clock, so a clock that steps back costs at most one pause. A retried
-- call is recognised by its token.
local now, pause = tonumber(ARGV[1]), tonumber(ARGV[2])
local stored = redis.call('GET', KEYS[1])
if stored then
  local at, token = string.match(stored, '^(%d+) (.*)$')
  if at and token == ARGV[3] then
    return 0
  end
  if at and now < tonumber(at) then
    return tonumber(at) - now
  end
end
if pause < 1000 then
  redis.call('DEL', KEYS[1])
  return 0
end
local next = string.format('%.0f', now + pause)
redis.call('SET', KEYS[1], next .. ' ' .. ARGV[3], 'PX', math.ceil(pause / 1000))
return 0
