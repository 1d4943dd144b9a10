-- Find the storage, or make it: its identity, and the version of its layout.
local P = KEYS[1]
redis.call('SET', P .. 'identity', ARGV[1], 'NX')
redis.call('SET', P .. 'layout', ARGV[2], 'NX')
return { redis.call('GET', P .. 'identity'), redis.call('GET', P .. 'layout') }
