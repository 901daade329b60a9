-- ask_breaker: may this caller go to a site?
--
-- KEYS  1 breaker
-- ARGV  1 id of the caller  2 how long a permit lasts in ms
-- Returns {state, failures, opened at, retry at}: 'closed', 'half_open' (this caller may try), 'open'
-- Promise: of all that ask once the pause is over, one gets the permit; the same caller asking again
-- keeps it (a lost reply cannot strand it); a permit that nobody reports on runs out.
local now = now_ms()
local b = redis.call('HMGET', KEYS[1], 'opened_at', 'retry_at', 'permit', 'permit_until', 'failures')
local failures = b[5] or '0'
if not b[1] then return {'closed', failures, '0', '0'} end
if now < tonumber(b[2]) then return {'open', failures, b[1], b[2]} end
if b[3] and b[3] ~= ARGV[1] and now < tonumber(b[4]) then return {'open', failures, b[1], b[4]} end
if b[3] ~= ARGV[1] then
  redis.call('HSET', KEYS[1], 'permit', ARGV[1], 'permit_until', text(now + tonumber(ARGV[2])))
end
return {'half_open', failures, b[1], b[2]}
