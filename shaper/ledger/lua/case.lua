-- Store a part of a case with its entries in the index and with its sender.
--
-- KEYS: body, index, set of the sender's cases
-- ARGV: id, body, seconds to keep
local now = tonumber(redis.call('TIME')[1])
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('SADD', KEYS[3], ARGV[1])
redis.call('EXPIRE', KEYS[3], ARGV[3])
return 1
