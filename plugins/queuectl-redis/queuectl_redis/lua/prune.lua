-- with: jobs
-- Delete finished jobs that ended before a moment, oldest first.
local before, limit, states = take(), number(), list()
local oldest = {}
for _, state in ipairs(states) do
  local got = call('ZRANGEBYSCORE', P .. 'f:' .. state, '-inf', '(' .. before, 'WITHSCORES', 'LIMIT', 0, limit)
  for n = 1, #got, 2 do
    oldest[#oldest + 1] = { tonumber(got[n + 1]), got[n] }
  end
end
table.sort(oldest, function(a, b)
  if a[1] ~= b[1] then
    return a[1] < b[1]
  end
  return a[2] < b[2]
end)
local gone = math.min(limit, #oldest)
for n = 1, gone do
  erase(read(oldest[n][2]))
end
if gone > 0 then
  finish()
end
return gone
