"""``python -m queuectl``: the same command, whatever PATH says."""

from __future__ import annotations

import sys

from queuectl.cli import main

if __name__ == "__main__":
    sys.exit(main())
