-- with: jobs
-- Renew a pool's lease, and tell where it is wrong about what it holds.
local pool, lease = take(), number()
renew(pool, lease)
local ours, lost, found, cancel = {}, {}, {}, {}
local held = call('HGETALL', P .. 'of:' .. pool)
for n = 1, #held, 2 do
  ours[held[n]] = held[n + 1]
end
for _ = 1, number() do
  local id, token = take(), take()
  local seq = seq_of(id)
  if seq and ours[seq] == token then
    ours[seq] = nil
  else
    lost[#lost + 1] = id
  end
end
for seq in pairs(ours) do
  found[#found + 1] = row(seq)
end
for n, seq in ipairs(call('SMEMBERS', P .. 'x:' .. pool)) do
  cancel[n] = id_of({ seq = seq, i = call('HGET', job_key(seq), 'i') })
end
return { lost, cancel, found, watched(pool) }
