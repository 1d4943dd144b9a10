"""The page of guarantees: what the faults of ``make faults`` did, and what held.

Figures are the lines that the tests report (``tests/targets.py``), kept in ``docs/reference/guarantees.jsonl``. A fault
that is listed here and has no figures says "not run"; one that ran short of its target says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "reference" / "guarantees.jsonl"

USERS = ("root", "a normal user")
BOMBS = ("pipe bomb", "daemon bomb", "sleeper bomb")


class Fault(NamedTuple):
    """What is done, what must hold, and the names of its figures; none: the fault's own."""

    name: str
    promise: str
    figures: tuple[str, ...] = ()


FAULTS = (
    Fault(
        "random kills among 10,000 jobs",
        "every job ends once; no attempt runs twice; runs again only what was killed; no process survives",
        tuple(f"random kills {means}, as {user}" for user in USERS for means in ("with control groups", "without")),
    ),
    Fault(
        "death at every point",
        "the same, hit at each labelled point by SIGKILL and SIGTERM; a claim that was not started is no attempt",
    ),
    Fault("everything dies at once", "the database is whole; all jobs are recovered within 2 s of the next start"),
    Fault(
        "simulated histories of pools, workers and hosts",
        "the invariants hold in every interleaving; a failure is one number to replay",
    ),
    Fault(
        "random calls, SQLite against the reference",
        "SQLite answers as the reference does, across crashes, clock jumps and several pools",
    ),
    Fault("processes killed in the middle of a mixed load", "every acknowledged write is there, whole, and counted"),
    Fault(
        "power cuts in the middle of a mixed load",
        "every acknowledged enqueue and settlement is there; the database is whole",
    ),
    Fault(
        "I/O errors",
        "never a false success; one sentence; well again when the disk is",
        tuple(
            f"I/O errors: {kind}"
            for kind in ("open", "read", "write", "sync", "truncate", "delete", "any", "full", "each call of one life")
        ),
    ),
    Fault("disk full while jobs run", "refused in a sentence; running jobs settle when there is room"),
    Fault("disk read-only while jobs run", "refused in a sentence; running jobs settle when it can be written again"),
    Fault("storage held by others for longer than a pool waits", "the result waits with its worker, and is stored"),
    Fault("damaged databases", "one sentence and the right exit code; never a traceback, never a hang"),
    Fault("16 processes of mixed load: seconds", "no database is ever locked; none of them starves"),
    Fault(
        "trees: ten kinds, ended one by one",
        "no process of the job lives after its end; its worker is free within the grace period and 1 s",
        tuple(f"trees, ended by {way}, as {user}" for way in ("timeout", "cancel", "stop") for user in USERS),
    ),
    Fault("fork bombs", "the same", tuple(f"trees, a {bomb}, as {user}" for bomb in BOMBS for user in USERS)),
    Fault(
        "output",
        "caps hold, memory is flat; no job reads or writes another's output",
        (
            "output: lines as fast as they come",
            "output: MiB of one binary line",
            "output: jobs whose log a stranger writes into",
        ),
    ),
    Fault("wall clock set while running", "nothing early, nothing lost, no busy loop"),
    Fault("first process of a container", "orphans are reaped, signals are obeyed"),
    Fault("containers in a row", "each tells its result; none is left, and no descriptor or memory"),
    Fault("deaths of a container engine among jobs", "every job ends; no attempt runs twice; no container runs on"),
    Fault("mutants of the guards", "a guard that is taken away is missed by the tests of each storage"),
)


def guarantees_page(made: str) -> str:
    """The page, from the figures that were kept."""
    lines = [
        "# What was done to it, and what held",
        "",
        made,
        "Each row is a fault that `make faults` runs to its full target (`make mutants` takes guards away); every",
        "`make test` runs a part of most. Figures are those of the runs that were kept last, on two cores; *a sample*",
        "says that less was run than the target.",
        "",
        "| fault | must hold | target | ran | held | measured |",
        "|---|---|--:|--:|--:|---|",
    ]
    figures = latest()
    for fault in FAULTS:
        promise = fault.promise
        for name in fault.figures or (fault.name,):
            lines.append(f"| {name} | {promise} {_row(figures.get(name))}")
            promise = "″"
    return "\n".join(lines) + "\n"


def _row(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "| | not run | | |"
    ran = f"{figure['ran']:,}"
    if figure["ran"] < figure["target"]:
        ran = f"{ran}, a sample of {figure['target']:,}"
    return f"| {figure['target']:,} | {ran} | {figure['held']:,} | {_measured(figure)} |"


def _measured(figure: dict[str, Any]) -> str:
    """``rescue median 0.3 s; 210 extra runs``."""
    words = []
    for key, value in figure.items():
        if key in ("name", "target", "ran", "held", "full") or not isinstance(value, int | float):
            continue
        text = f"{value:,}" if isinstance(value, int) else f"{value:.2g}"
        what = key.removesuffix("_s").removesuffix("_mib").replace("_", " ")
        words.append(f"{what} {text} s" if key.endswith("_s") else f"{text} {what}")
    return "; ".join(words)


def latest() -> dict[str, dict[str, Any]]:
    """The figures by name; those of one run that bear one name are added up."""
    found: dict[str, dict[str, Any]] = {}
    for line in FIGURES.read_text(encoding="utf-8").splitlines() if FIGURES.exists() else ():
        figure = json.loads(line)
        known = found.setdefault(figure["name"], figure | {"target": 0, "ran": 0, "held": 0})
        for key in ("target", "ran", "held"):
            known[key] += figure[key]
    return found


def unlisted() -> list[str]:
    """The names of figures that no row of the page would show."""
    listed = {name for fault in FAULTS for name in (fault.figures or (fault.name,))}
    return sorted(latest().keys() - listed)
