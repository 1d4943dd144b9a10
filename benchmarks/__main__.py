"""Run every benchmark in turn and print one table: ``python -m benchmarks [--quick] [--json] [NAME…]``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import ROOT, Row, table

NOT_BENCHMARKS = {"__init__", "__main__", "harness", "pools"}


def main() -> int:
    """Exit with 1 if a bar was missed or a benchmark broke."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", help=f"which ones: {', '.join(found)} (default: all)")
    options.add_argument("--quick", action="store_true", help="tiny runs that judge nothing")
    options.add_argument("--json", action="store_true", help="print a JSON array of the documents on stdout")
    asked = options.parse_args()
    if unknown := set(asked.names) - set(found):
        options.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(found)}")

    documents, broken = [], []
    for name in asked.names or found:
        argv = [sys.executable, "-m", f"benchmarks.{name}", "--json", *(["--quick"] if asked.quick else [])]
        done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        try:
            documents.append(json.loads(done.stdout))
        except ValueError:
            broken.append(name)
            print(f"{name}: exited with {done.returncode} and gave no result", file=sys.stderr)

    rows = [(document["benchmark"], Row(**row)) for document in documents for row in document["rows"]]
    print(json.dumps(documents, ensure_ascii=False) if asked.json else "\n" + table(rows))
    return int(bool(broken) or any(row.ok is False for _, row in rows))


if __name__ == "__main__":
    sys.exit(main())
