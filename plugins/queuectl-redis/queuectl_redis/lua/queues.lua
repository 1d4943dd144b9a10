-- The names of all queues.
return call('SMEMBERS', P .. 'queues')
