-- Every target: what waits for it, and what became of the rest.
local found = {}
for n, target in ipairs(call('SMEMBERS', P .. 'targets')) do
  local first = call('ZRANGE', P .. 'waits:' .. target, 0, 0)[1]
  found[n] = {
    target,
    call('ZCARD', P .. 'waits:' .. target),
    first and call('HGET', P .. 'dl:' .. first, 'at') or '',
    call('ZRANGE', P .. 'due:' .. target, 0, 0, 'WITHSCORES')[2] or '',
    call('HMGET', P .. 'sent:' .. target, 'delivered', 'dropped', 'error', 'error_at'),
  }
end
return found
