-- report: write what the owner of an instance says of it.
--
-- KEYS  1 record  2 last fencing token  3 lease  4 events
-- ARGV  1 token  2 session id  3 business id  4 report as JSON
-- Returns 'OK' | 'GONE' | 'FENCED'
-- Promise: refused for a stale token; neither version nor expiry move.
if not alive(KEYS[1], now_ms()) then return 'GONE' end
if stale(ARGV[1], KEYS[1], KEYS[2], KEYS[3]) then return 'FENCED' end
redis.call('HSET', KEYS[1], 'observed', ARGV[4], 'token', ARGV[1])
announce(KEYS[4], ARGV[2], ARGV[3], 'reported', '0')
return 'OK'
