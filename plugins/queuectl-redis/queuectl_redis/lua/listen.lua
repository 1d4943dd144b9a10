-- A pool listens: it is told of news until it has enough to do.
call('SADD', P .. 'idle', take())
return 1
