-- Claim an outcome of one recipient of a message, so that it counts once.
--
-- KEYS: bucket of the message
-- ARGV: field, bit of this outcome, bits that make it no news, seconds to keep
-- Returns 0 when it is no news, else 1 and the bits that were there. A call that is repeated because its answer
-- was lost finds its own bit: that outcome is then not counted at all.
local old = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') or 0
local mine = tonumber(ARGV[2])
if bit.band(old, bit.bor(mine, tonumber(ARGV[3]))) ~= 0 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], bit.bor(old, mine))
if redis.call('TTL', KEYS[1]) < 0 then
  redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return 1 + old
