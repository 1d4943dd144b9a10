-- Some queues: what is in them and how they are set.
local found = {}
for n, name in ipairs(list()) do
  local kept = call('HMGET', P .. 'q:' .. name, 'paused', 'reason', 'cap', 'runs', 'ms', '0', '1', '2', '3', '4', '5')
  local ready, risen = call('ZCARD', P .. 'r:' .. name), call('ZCOUNT', P .. 'l:' .. name, '-inf', now)
  local first = call('ZRANGE', P .. 'r:' .. name, 0, 0)[1]
  if first then
    first = call('HGET', P .. 'j:' .. first, 'r')
  elseif risen > 0 then
    first = call('ZRANGE', P .. 'l:' .. name, 0, 0, 'WITHSCORES')[2]
  end
  found[n] = { kept, ready + risen, first or '' }
end
return found
