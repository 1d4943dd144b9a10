"""Runs the jobs of QueueCTL in containers of a Docker engine, or of Podman behind its Docker socket.

``plugin`` is the offer and all that ``enqueue`` looks at; ``plan`` decides what a container may be; ``engine`` talks to
the engine; ``container`` follows one run from its creation to its end; ``executor`` puts them together in a worker.
"""
