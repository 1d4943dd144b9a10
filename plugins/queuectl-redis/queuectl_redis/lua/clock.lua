-- The moment it is.
return string.format('%.0f', now)
