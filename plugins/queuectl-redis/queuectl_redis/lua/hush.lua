-- A pool listens no more.
call('SREM', P .. 'idle', take())
return 1
