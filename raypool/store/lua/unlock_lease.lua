-- unlock_lease: a person breaks the lease of a business, whoever has it.
--
-- KEYS  1 lease  2 last fencing token  3 events  4 audit
-- ARGV  1 business id  2 who does it  3 why  4 ttl of the token counter in ms  5 operation id
-- Returns {} nobody held it | {holder as JSON, token, since, remaining ms}
-- Promise: the counter moves on, so the owner's writes and renewals are refused for ever, also when
-- its lease had run out or the counter was lost. Audited in the same moment; applied once for an
-- operation id, so that a repeated one does not break the lease of the next owner.
local done = redis.call('XREVRANGE', KEYS[4], '+', '-', 'COUNT', '32')
for _, entry in ipairs(done) do
  local fields = {}
  for i = 1, #entry[2], 2 do fields[entry[2][i]] = entry[2][i + 1] end
  if fields['op'] == ARGV[5] then
    redis.call('PEXPIRE', KEYS[2], ARGV[4])  -- so that a WAIT after the retry counts it
    if fields['holder'] == '' then return {} end
    return {fields['holder'], fields['token'], fields['since'], fields['remaining']}
  end
end
local now = now_us()
local cur = redis.call('HMGET', KEYS[1], 'holder', 'token', 'since')
local remaining = text(math.max(redis.call('PTTL', KEYS[1]), 0))
local last = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(cur[2] or '0'))
local counter = text(math.max(last + 1, now))
redis.call('DEL', KEYS[1])  -- first: a server without memory takes it, and then the rest
redis.call('SET', KEYS[2], counter, 'PX', ARGV[4])
redis.call('XADD', KEYS[4], 'MAXLEN', '~', '10000', '*', 'action', 'unlock', 'business', ARGV[1],
  'by', ARGV[2], 'reason', ARGV[3], 'op', ARGV[5], 'holder', cur[1] or '', 'token', cur[2] or '',
  'since', cur[3] or '', 'remaining', remaining)
announce(KEYS[3], '', ARGV[1], 'unlocked', counter)
if not cur[1] then return {} end
return {cur[1], cur[2], cur[3], remaining}
