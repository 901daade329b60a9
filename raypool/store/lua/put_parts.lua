-- put_parts: stage sealed parts. They are named by their content, so nothing is ever overwritten
-- with something else; they become visible with the manifest that names them.
--
-- KEYS  1 record  2 last fencing token  3 lease  4 parts
-- ARGV  1 operation id  2 token  3 base that the writer knows  4 number of parts that must be there
--       before  then digest, sealed part, digest, sealed part …
-- Returns {'OK', base after it} | {'GONE'} | {'FENCED'} | {'CONFLICT'} | {'DIFFERS'}
-- Promise: nothing is written unless the answer is 'OK'; once for an operation id. How long it takes
-- follows what it is given, not how many parts there are.
if not alive(KEYS[1], now_ms()) then return {'GONE'} end
if stale(ARGV[2], KEYS[1], KEYS[2], KEYS[3]) then return {'FENCED'} end
if redis.call('HGET', KEYS[1], 'parts_op') ~= ARGV[1] then
  if base(KEYS[1]) ~= ARGV[3] then return {'CONFLICT'} end
  if redis.call('HLEN', KEYS[4]) ~= tonumber(ARGV[4]) then return {'DIFFERS'} end
  store(KEYS[4], 5, #ARGV)
  redis.call('PEXPIREAT', KEYS[4], redis.call('HGET', KEYS[1], 'expires_at'))
end
redis.call('HSET', KEYS[1], 'parts_op', ARGV[1])  -- always: a WAIT after a retry counts it
return {'OK', base(KEYS[1])}
