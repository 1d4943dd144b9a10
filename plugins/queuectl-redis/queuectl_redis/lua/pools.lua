-- The pools that are known: id, lease, what it said of itself.
local found = {}
local leases = call('ZRANGE', P .. 'leases', 0, -1, 'WITHSCORES')
for n = 1, #leases, 2 do
  found[#found + 1] = { leases[n], leases[n + 1], call('HGET', P .. 'pools', leases[n]) or '' }
end
return found
