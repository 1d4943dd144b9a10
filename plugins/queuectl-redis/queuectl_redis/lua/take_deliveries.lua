-- Deliveries that are due, what was due first first; they are held from now on for a while.
local limit, hold = number(), number()
local targets = maybe() and list() or call('SMEMBERS', P .. 'targets')
local due = {}
for _, target in ipairs(targets) do
  local got = call('ZRANGEBYSCORE', P .. 'due:' .. target, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
  for n = 1, #got, 2 do
    due[#due + 1] = { tonumber(got[n + 1]), got[n], target }
  end
end
table.sort(due, function(a, b)
  if a[1] ~= b[1] then
    return a[1] < b[1]
  end
  return a[2] < b[2]
end)
local taken = {}
for n = 1, math.min(limit, #due) do
  local id, target = due[n][2], due[n][3]
  call('ZADD', P .. 'due:' .. target, now + hold, id)
  call('HINCRBY', P .. 'dl:' .. id, 'n', 1)
  taken[n] = { id, call('HMGET', P .. 'dl:' .. id, 't', 'e', 'k', 'at', 'r', 'n') }
end
return taken
