-- with: jobs
-- Make a pool known, with a lease.
local pool, lease = take(), number()
call('HSET', P .. 'pools', pool, take())
call('ZADD', P .. 'leases', now + lease, pool)
changed()
return 1
