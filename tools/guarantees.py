"""The page of guarantees: what the faults of ``make faults`` did, and what held.

Figures are the lines that the tests report (``tests/targets.py``), kept in ``docs/reference/guarantees.jsonl``. A fault
that is listed here and has no figures says "not run"; one that ran short of its target says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "reference" / "guarantees.jsonl"

#: The beginning of a figure's name, and what must hold.
PROMISES = {
    "random deaths": "every job ends once; no attempt runs twice; runs again only what was killed; no process survives",
    "death at every point": "the same, hit at each labelled point; a claim that was not started is no attempt",
    "everything dies at once": "the database is whole; all jobs are recovered within 2 s of the next start",
    "simulated histories": "the invariants hold in every interleaving; a failure is one number to replay",
    "random calls": "SQLite answers as the reference does, across crashes, clock jumps and several pools",
    "processes killed in the middle": "every acknowledged write is there, whole, and counted",
    "power cuts": "every acknowledged enqueue and settlement is there; the database is whole",
    "I/O errors": "never a false success; one sentence; well again when the disk is",
    "disk full": "refused in a sentence; running jobs settle when there is room",
    "storage held by others": "the result waits with its worker, and is stored",
    "damaged databases": "one sentence and the right exit code; never a traceback, never a hang",
    "16 processes": "no database is ever locked",
    "trees": "no process of the job lives after its end",
    "output": "caps hold; no job reads or writes another's output",
    "wall clock": "nothing early, nothing lost, no busy loop",
    "first process": "orphans are reaped, signals are obeyed",
}


def guarantees_page(made: str) -> str:
    """The page, from the figures that were kept."""
    lines = [
        "# What was done to it, and what held",
        "",
        made,
        "Each row is a fault that `make faults` runs to its full target; every `make test` runs a part of it.",
        "Figures are those of the runs that were kept last; *short of its target* says that less was run than that.",
        "",
        "| fault | must hold | target | ran | held |",
        "|---|---|--:|--:|--:|",
    ]
    figures = latest()
    for beginning, promise in PROMISES.items():
        rows = {name: figure for name, figure in figures.items() if name.startswith(beginning)}
        if not rows:
            lines.append(f"| {beginning} | {promise} | | not run | |")
        for name, figure in sorted(rows.items()):
            ran = f"{figure['ran']:,}" + (" (short of its target)" if figure["ran"] < figure["target"] else "")
            lines.append(f"| {name} | {promise} | {figure['target']:,} | {ran} | {figure['held']:,} |")
    return "\n".join(lines) + "\n"


def latest() -> dict[str, dict[str, Any]]:
    """The figures by name; those of one run that bear one name are added up."""
    found: dict[str, dict[str, Any]] = {}
    for line in FIGURES.read_text(encoding="utf-8").splitlines() if FIGURES.exists() else ():
        figure = json.loads(line)
        known = found.setdefault(figure["name"], {"target": 0, "ran": 0, "held": 0})
        for key in known:
            known[key] += figure[key]
    return found
