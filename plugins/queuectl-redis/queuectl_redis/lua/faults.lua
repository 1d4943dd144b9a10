-- with: jobs
-- The largest groups of dead jobs, at least so many, with all that are as large as the last of them.
local limit = number()
local last = call('ZREVRANGE', P .. 'faults', limit - 1, limit - 1, 'WITHSCORES')
local groups = call('ZREVRANGEBYSCORE', P .. 'faults', '+inf', last[2] or '-inf', 'WITHSCORES')
local found = {}
for n = 1, #groups, 2 do
  local key = P .. 'ft:' .. groups[n]
  local first = call('ZRANGE', key, 0, 0, 'WITHSCORES')
  local latest = call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
  found[#found + 1] = { groups[n], groups[n + 1], first[2], latest[2], row(latest[1]) }
end
return found
