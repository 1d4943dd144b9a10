-- Sum up the histograms of old minutes into minute 0. How many minutes went.
local last, limit = take(), number()
local old = call('ZRANGEBYSCORE', P .. 'minutes', 1, last, 'LIMIT', 0, limit)
for _, minute in ipairs(old) do
  local kept = call('HGETALL', P .. 'm:' .. minute)
  for n = 1, #kept, 2 do
    call('HINCRBY', P .. 'm:0', kept[n], kept[n + 1])
  end
  call('DEL', P .. 'm:' .. minute)
  call('ZREM', P .. 'minutes', minute)
  call('ZADD', P .. 'minutes', 0, 0)
end
return #old
