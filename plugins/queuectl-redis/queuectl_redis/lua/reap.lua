-- with: jobs
-- Adopt the claims of pools that are dead, or whose lease has run out, under fresh tokens.
local pool, lease, limit = take(), number(), number()
local dead, alive = list(), list()
renew(pool, lease)
local spared, gone, seen = { [pool] = true }, {}, {}
for _, name in ipairs(dead) do
  seen[name] = true
end
for _, name in ipairs(alive) do
  spared[name] = spared[name] or not seen[name]
end
for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'leases', '-inf', now)) do
  seen[name] = true
end
for name in pairs(seen) do
  if not spared[name] then
    gone[#gone + 1] = name
  end
end
table.sort(gone)
local adopted = {}
for _, name in ipairs(gone) do
  local held = call('HKEYS', P .. 'of:' .. name)
  for n = 1, math.min(#held, limit - #adopted) do
    local seq = held[n]
    local token = call('HINCRBY', job_key(seq), 'k', 1)
    call('HSET', job_key(seq), 'h', pool)
    call('HDEL', P .. 'of:' .. name, seq)
    call('HSET', P .. 'of:' .. pool, seq, token)
    if call('SREM', P .. 'x:' .. name, seq) == 1 then
      call('SADD', P .. 'x:' .. pool, seq)
    end
    adopted[#adopted + 1] = row(seq)
  end
  if call('EXISTS', P .. 'of:' .. name) == 0 then
    call('ZREM', P .. 'leases', name)
    call('HDEL', P .. 'pools', name)
    call('SREM', P .. 'idle', name)
  end
end
if #adopted > 0 then
  changed()
end
return adopted
