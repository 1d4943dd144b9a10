-- Give up, of the deliveries that were stored first, those that are too old. How many went.
local before, limit = number(), number()
local first = {}
for _, target in ipairs(call('SMEMBERS', P .. 'targets')) do
  for _, id in ipairs(call('ZRANGE', P .. 'waits:' .. target, 0, limit - 1)) do
    first[#first + 1] = { id, target }
  end
end
table.sort(first, function(a, b)
  return a[1] < b[1]
end)
local gone = 0
for n = 1, math.min(limit, #first) do
  local id, target = first[n][1], first[n][2]
  if tonumber(call('HGET', P .. 'dl:' .. id, 'at')) < before then
    call('ZREM', P .. 'due:' .. target, id)
    call('ZREM', P .. 'waits:' .. target, id)
    call('UNLINK', P .. 'dl:' .. id)
    call('HINCRBY', P .. 'sent:' .. target, 'dropped', 1)
    gone = gone + 1
  end
end
return gone
