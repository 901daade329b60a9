-- put_parts: stage sealed parts. They are named by their content, so nothing is ever overwritten
-- with something else; they become visible with the manifest that names them.
--
-- KEYS  1 record  2 last fencing token  3 lease  4 parts
-- ARGV  1 token  then digest, sealed part, digest, sealed part …
-- Returns 'OK' | 'GONE' | 'FENCED'
if not alive(KEYS[1], now_ms()) then return 'GONE' end
if stale(ARGV[1], KEYS[1], KEYS[2], KEYS[3]) then return 'FENCED' end
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIREAT', KEYS[4], redis.call('HGET', KEYS[1], 'expires_at'))
return 'OK'
