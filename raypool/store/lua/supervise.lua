-- supervise: write what the supervisor must remember of a session.
--
-- KEYS  1 record  2 events
-- ARGV  1 session id  2 business id  3 supervision as JSON
-- Returns 'OK' | 'GONE'
-- Promise: the last write wins; neither version nor expiry move.
if not alive(KEYS[1], now_ms()) then return 'GONE' end
redis.call('HSET', KEYS[1], 'supervision', ARGV[3])
announce(KEYS[2], ARGV[1], ARGV[2], 'supervised', '0')
return 'OK'
