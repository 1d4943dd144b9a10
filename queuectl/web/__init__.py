"""The dashboard and the HTTP API: the queue in a browser, and for programs.

``site.create_site`` makes the Flask application, ``server.serve`` runs it in this process under waitress. Whatever
comes in passes the gate first (``gate``): Host, who asks (``visitors``), and for changes where the request comes from.
Pages are under ``pages/``, one file each, and work without JavaScript; ``live`` tells open tabs what has changed, and
they fetch the page again. ``api`` has the same for programs, in the shapes of ``core.shapes``. Everything goes through
``core.jobqueue``, so that every storage works.
"""
