-- report_breaker: say how a call to a site went.
--
-- KEYS  1 breaker  2 index of breakers
-- ARGV  1 site  2 id of the report  3 '1' it went well, '0' it did not
--       4 failures that open it  5 within this many ms  6 first pause in ms  7 longest pause in ms
--       8 jitter, a factor of 1 or a little more
-- Returns as ask_breaker: {state, failures, opened at, retry at}
-- Promise: a success closes it and forgets; failures while it is open change nothing (they began
-- before it opened); a failure after the pause opens it for twice as long; a report counts once.
local now = now_ms()
if ARGV[3] == '1' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return {'closed', '0', '0', '0'}
end
local b = redis.call('HMGET', KEYS[1], 'recent', 'opened_at', 'retry_at', 'openings', 'failures')
local failures = tonumber(b[5] or '0')
if b[2] and now < tonumber(b[3]) then return {'open', text(failures), b[2], b[3]} end

-- The last failures as 'ms id ms id …': those in the window, each once.
local most, recent, again = tonumber(ARGV[4]), {}, false
for at, id in string.gmatch(b[1] or '', '(%d+) (%S+)') do
  if id == ARGV[2] then again = true end
  if now - tonumber(at) < tonumber(ARGV[5]) then recent[#recent + 1] = at .. ' ' .. id end
end
if not again then recent[#recent + 1] = text(now) .. ' ' .. ARGV[2] end
while #recent > most do table.remove(recent, 1) end

if not b[2] and #recent < most then
  redis.call('HSET', KEYS[1], 'site', ARGV[1], 'recent', table.concat(recent, ' '),
    'failures', text(#recent))
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  put(KEYS[2], ARGV[1], now + tonumber(ARGV[5]), now)
  return {'closed', text(#recent), '0', '0'}
end
local openings, longest = tonumber(b[4] or '0') + 1, tonumber(ARGV[7])
local pause = math.min(tonumber(ARGV[6]) * 2 ^ (openings - 1), longest) * tonumber(ARGV[8])
local opened, retry = b[2] or text(now), text(now + pause)
failures = b[2] and failures + 1 or #recent
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'site', ARGV[1], 'recent', table.concat(recent, ' '), 'failures',
  text(failures), 'opened_at', opened, 'retry_at', retry, 'openings', text(math.min(openings, 30)))
local forgotten = now + pause + 2 * longest
redis.call('PEXPIREAT', KEYS[1], text(forgotten))
put(KEYS[2], ARGV[1], forgotten, now)
return {'open', text(failures), opened, retry}
