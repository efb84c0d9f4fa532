-- The connections of a user that have not run out. KEYS: the user's connections. Answers connection and line, by turns.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local live = {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if tonumber(string.match(fields[i + 1], '^%d+')) > now then
    live[#live + 1] = fields[i]
    live[#live + 1] = fields[i + 1]
  end
end
return live
