"""The author's kit: begins a plugin (``queuectl plugins new``) and proves one (``queuectl plugins check``)."""
