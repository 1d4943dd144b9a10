"""``python -m queuectl``: the same command, whatever PATH says."""

from __future__ import annotations

from queuectl.cli import entry

if __name__ == "__main__":
    entry()
