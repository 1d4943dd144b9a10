-- Let deliveries be due later. With an error they were tried, else their tries fall by one again.
local delay, err = number(), take()
for _, id in ipairs(list()) do
  local target = call('HGET', P .. 'dl:' .. id, 't')
  if target then
    call('ZADD', P .. 'due:' .. target, now + delay, id)
    if err ~= '' then
      call('HSET', P .. 'sent:' .. target, 'error', err, 'error_at', now)
    elseif tonumber(call('HGET', P .. 'dl:' .. id, 'n') or 0) > 0 then
      call('HINCRBY', P .. 'dl:' .. id, 'n', -1)
    end
  end
end
return 1
