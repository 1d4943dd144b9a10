"""Run every benchmark in turn; one table, one JSON: ``python -m benchmarks [--quick | --full] [NAME…]``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import ROOT, Row, table

NOT_BENCHMARKS = {"__init__", "__main__", "floor", "harness", "pools", "stores"}
#: Seconds for one of them: all of them together take about twenty minutes.
LIMIT, FULL_LIMIT = 900, 7200


def main() -> int:
    """Exit with 1 if a bar was missed or a benchmark broke."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("names", nargs="*", help=f"which ones: {', '.join(found)} (default: all)")
    options.add_argument("--quick", action="store_true", help="tiny runs that judge nothing")
    options.add_argument("--full", action="store_true", help="with what takes long: ten million jobs, for instance")
    options.add_argument("--json", action="store_true", help="print a JSON array of the documents on stdout")
    options.add_argument("--save", type=Path, metavar="FILE", help="write that JSON to a file as well")
    asked = options.parse_args()
    if unknown := set(asked.names) - set(found):
        options.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(found)}")

    flags = [flag for flag, given in (("--quick", asked.quick), ("--full", asked.full)) if given]
    documents, broken = [], []
    for name in asked.names or found:
        argv = [sys.executable, "-m", f"benchmarks.{name}", "--json", *flags]
        with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as benchmark:
            try:
                said, _ = benchmark.communicate(timeout=FULL_LIMIT if asked.full else LIMIT)
            except subprocess.TimeoutExpired:
                benchmark.terminate()
                said, _ = benchmark.communicate()
        try:
            documents.append(json.loads(said))
        except ValueError:
            broken.append(name)
            print(f"{name}: exited with {benchmark.returncode} and gave no result", file=sys.stderr)

    rows = [(document["benchmark"], Row(**row)) for document in documents for row in document["rows"]]
    text = json.dumps(documents, ensure_ascii=False)
    if asked.save:
        asked.save.parent.mkdir(exist_ok=True)
        asked.save.write_text(text + "\n", encoding="utf-8")
    print(text if asked.json else summary(documents, rows, broken))
    return int(bool(broken) or any(row.missed for _, row in rows))


def summary(documents: list[dict[str, object]], rows: list[tuple[str, Row]], broken: list[str]) -> str:
    """The table, what it was measured with, and how many bars were held."""
    lines = ["", table(rows), ""]
    if documents:
        versions = documents[0]["versions"]
        assert isinstance(versions, dict)
        lines.append("  ".join(f"{key} {value}" for key, value in versions.items()))
        lines.append("load  " + "  ".join(f"{d['benchmark']} {d['load']}" for d in documents))
    bars = [row for _, row in rows if row.bar and not row.goal and row.ok is not None]
    lines.append(f"{sum(row.ok is True for row in bars)} of {len(bars)} bars held")
    lines += [f"{name} broke" for name in broken]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
