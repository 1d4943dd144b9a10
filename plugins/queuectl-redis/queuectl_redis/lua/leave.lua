-- Forget a pool that holds nothing; the lease of one that still does ends now.
local pool = take()
call('SREM', P .. 'idle', pool)
if call('EXISTS', P .. 'of:' .. pool) == 1 then
  call('ZADD', P .. 'leases', 0, pool)
else
  call('ZREM', P .. 'leases', pool)
  call('HDEL', P .. 'pools', pool)
end
changed()
return 1
