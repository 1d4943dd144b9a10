-- Histograms of some minutes, from a minute on.
local first, last, limit = take(), take(), number()
local found = {}
for n, minute in ipairs(call('ZRANGEBYSCORE', P .. 'minutes', first, last, 'LIMIT', 0, limit)) do
  found[n] = { minute, call('HGETALL', P .. 'm:' .. minute) }
end
return found
