-- with: jobs
-- Jobs by id, in the order asked.
local found = {}
for n, id in ipairs(list()) do
  local seq = seq_of(id)
  found[n] = seq and row(seq) or false
end
return found
