-- Enters connections of one user. KEYS: the user's connections, who is there, cards. ARGV: time to live in ms, the user,
-- its card, then connection, protocol and edge of each. Answers 1 when the user was not there.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local last = now + tonumber(ARGV[1])
local deadline = string.format('%.0f', last)
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local at = tonumber(string.match(fields[i + 1], '^%d+'))
  if at <= now then
    redis.call('HDEL', KEYS[1], fields[i])
  elseif at > last then
    last = at
  end
end
for i = 4, #ARGV, 3 do
  redis.call('HSET', KEYS[1], ARGV[i], deadline .. ' ' .. ARGV[i + 1] .. ' ' .. ARGV[i + 2])
end
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last))
if ARGV[3] == '' then
  return 0
end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
return redis.call('ZADD', KEYS[2], string.format('%.0f', last), ARGV[2])
