-- with: jobs
-- What jobs were asked to do: it never changes.
local found = {}
for n, id in ipairs(list()) do
  local seq = seq_of(id)
  found[n] = seq and call('GET', P .. 'd:' .. seq) or ''
end
return found
