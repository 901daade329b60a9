-- drop_parts: remove sealed parts that no version names.
--
-- KEYS  1 record  2 last fencing token  3 lease  4 parts
-- ARGV  1 operation id  2 token  3 base that the writer knows  then at most 1000 digests
-- Returns {'OK', base after it} | {'GONE'} | {'FENCED'} | {'CONFLICT'}
-- Promise: nothing is removed once somebody else wrote, whose version may name it.
if not alive(KEYS[1], now_ms()) then return {'GONE'} end
if stale(ARGV[2], KEYS[1], KEYS[2], KEYS[3]) then return {'FENCED'} end
if redis.call('HGET', KEYS[1], 'parts_op') ~= ARGV[1] then
  if base(KEYS[1]) ~= ARGV[3] then return {'CONFLICT'} end
  redis.call('HDEL', KEYS[4], unpack(ARGV, 4))
end
redis.call('HSET', KEYS[1], 'parts_op', ARGV[1])  -- always: a WAIT after a retry counts it
return {'OK', base(KEYS[1])}
