-- with: jobs
-- Pause, resume or limit a queue.
local name, paused, reason, limit, seed, audit = take(), take(), take(), take(), take() == '1', take()
if call('SADD', P .. 'queues', name) == 0 and seed then
  return 0
end
local line = queue(name)
if paused ~= '' then
  line.paused = paused == '1'
  call('HSET', line.key, 'paused', paused, 'reason', line.paused and reason or '')
end
if limit == 'none' then
  line.cap = nil
  call('HDEL', line.key, 'cap')
elseif limit ~= '' then
  line.cap = tonumber(limit)
  call('HSET', line.key, 'cap', limit)
end
call('LPUSH', P .. 'audits', int(now) .. '\31' .. audit)
call('LTRIM', P .. 'audits', 0, 999)
touched[name] = true
news = true
finish()
return 1
