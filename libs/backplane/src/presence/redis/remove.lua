-- Strikes out a connection that an edge holds. KEYS: the user's connections, who is there. ARGV: connection, edge, how
-- long the user is taken to be there in ms, the user.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held or string.match(held, '^%d+ %S+ (.*)$') ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
local t = redis.call('TIME')
local last = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[3])
for _, line in ipairs(redis.call('HVALS', KEYS[1])) do
  last = math.max(last, tonumber(string.match(line, '^%d+')))
end
redis.call('ZADD', KEYS[2], 'XX', string.format('%.0f', last), ARGV[4])
return 1
