"""Install and check the peers: ``python -m benchmarks.peers [NAME…]``."""

from __future__ import annotations

import argparse
import sys

from benchmarks.harness import Report
from benchmarks.peers.peer import Stage
from benchmarks.peers.troupe import call


def main() -> int:
    """1 if one of them cannot take part."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*")
    asked = options.parse_args()
    report = Report("peers", "who is there", argparse.Namespace(json=False, quick=False))
    with Stage() as stage:
        return int(bool(call(stage, report, *asked.names).absent))


if __name__ == "__main__":
    sys.exit(main())
