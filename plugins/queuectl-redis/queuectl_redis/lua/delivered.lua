-- Forget deliveries, and count what became of them: 'delivered' or 'dropped'.
for _, id in ipairs(list()) do
  local target = call('HGET', P .. 'dl:' .. id, 't')
  if target then
    call('ZREM', P .. 'due:' .. target, id)
    call('ZREM', P .. 'waits:' .. target, id)
    call('UNLINK', P .. 'dl:' .. id)
    call('HINCRBY', P .. 'sent:' .. target, 'delivered', 1)
    call('HDEL', P .. 'sent:' .. target, 'error', 'error_at')
  end
end
return 1
