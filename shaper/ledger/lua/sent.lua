-- Remember messages that left, in one small hash.
--
-- KEYS: bucket
-- ARGV: seconds to keep, then mode, field, value; and again
-- Mode 's' sets. Mode 'a' adds a key of 8 octets to those that are there: an id
-- may be used again, and one Message-ID may travel in several transactions. The
-- newest seven fit into what Redis keeps compact (64 octets).
-- Returns the number of fields, by which the caller chooses smaller buckets.
for i = 2, #ARGV, 3 do
  local field, value = ARGV[i + 1], ARGV[i + 2]
  if ARGV[i] == 'a' then
    local old = redis.call('HGET', KEYS[1], field) or ''
    for at = 1, #old, 8 do
      if string.sub(old, at, at + 7) == value then
        old = string.sub(old, 1, at - 1) .. string.sub(old, at + 8)
        break
      end
    end
    value = string.sub(old .. value, -56)
  end
  redis.call('HSET', KEYS[1], field, value)
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return redis.call('HLEN', KEYS[1])
