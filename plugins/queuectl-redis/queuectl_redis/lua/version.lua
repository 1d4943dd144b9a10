-- A number that rises with every change.
return call('GET', P .. 'version') or '0'
