"""Writes a small file so that a reader sees the old one or the new one, whatever happens in between."""

from __future__ import annotations

import os


def write_atomically(path: str, data: bytes) -> None:
    """Replace the content of *path*. A new file is for this user alone; one that exists keeps its mode.

    A symbolic link is followed: what it points to is replaced, not the link.
    """
    from tempfile import mkstemp  # only who writes configuration pays for it

    path = os.path.realpath(path)
    handle, draft = mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.chmod(draft, os.stat(path).st_mode & 0o7777)
        except FileNotFoundError:
            pass
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
