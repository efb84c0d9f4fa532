-- Takes those who are there no more. KEYS: who is there, cards. ARGV: how many at most. Answers user and card, by turns.
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local gone = {}
for _, who in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  gone[#gone + 1] = who
  gone[#gone + 1] = redis.call('HGET', KEYS[2], who) or ''
  redis.call('ZREM', KEYS[1], who)
  redis.call('HDEL', KEYS[2], who)
end
return gone
