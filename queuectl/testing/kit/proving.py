"""Proves the components that a plugin offers, each by the suite of its kind.

Nothing that is in use is touched. A storage is only ever opened where the test made a place for it; a notifier that
reaches out is only run when somebody says so.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.errors import BadInput, NotSupported
from queuectl.api.storage import Ability
from queuectl.core.options import Entry, Origin, check_table, enumeration, resolve, suggestion, toml_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queuectl.api.providers import Option, Provider
    from queuectl.core.config import Config

#: The suite's words that an author may set, by kind: what is claimed beyond the contract, and how hard it is tried.
CLAIMS: Mapping[str, tuple[str, ...]] = {
    "storage": ("processes", "race_jobs", "racers", "model_examples", "model_steps", "model_seeded"),
    "executor": ("here", "cleans", "attaches", "tells_signals", "takes_bytes", "many", "python"),
    "backoff": ("monotone", "random", "longest", "shortest"),
    "notifier": ("quick_enough",),
}
FRESH, FOLDER = "{fresh}", "{folder}"


class Request(NamedTuple):
    """One suite to run: all that its process needs."""

    kind: str
    provider: str
    module: str  # what ``core.plugins.load_object`` takes
    options: dict[str, Any]  # checked; texts may hold {folder} and {fresh}
    claims: dict[str, Any]
    abilities: tuple[str, ...] = ()  # of a storage, as the offer says them


class Test(NamedTuple):
    """How one test ended."""

    name: str
    outcome: str  # passed, failed or skipped
    demand: str  # what it demands and why
    message: str = ""  # why it failed or was skipped


class Proof(NamedTuple):
    """What came of one suite."""

    kind: str
    name: str
    tests: tuple[Test, ...]
    fault: str = ""  # why the suite itself did not come to its end
    supports: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()

    def how_many(self, outcome: str) -> int:
        return sum(test.outcome == outcome for test in self.tests)

    @property
    def kept(self) -> bool:
        """Whether it keeps its contract."""
        return not self.fault and not self.how_many("failed") and self.how_many("passed") > 0


# --- What to run ----------------------------------------------------------------------------------


def request_for(
    kind: str,
    offer: Provider[Any],
    module: str,
    config: Config,
    given: Mapping[str, str],
    claims: Mapping[str, str],
    *,
    may_deliver: bool = False,
) -> Request:
    """The request for one component. BadInput where it would meet what is in use, with what to say instead."""
    entries = dict(config.table(kind, offer.name))
    entries.pop("use", None)
    for key, text in given.items():
        entries[key] = Entry(text, Origin("flag", f"--set {key}"), text=True)
    moved = [option for option in offer.options if _is_place(option) and option.name not in given]
    if kind in ("storage", "notifier"):
        for option in moved:
            entries[option.name] = Entry(f"{FOLDER}/{option.name}")
    options = resolve(check_table(f"{kind}.{offer.name}", entries, offer.options))
    for key, value in options.items():
        if isinstance(value, str) and FOLDER in value:  # a relative path was made absolute
            options[key] = value[value.index(FOLDER) :]
    own_place = any(FRESH in str(value) or FOLDER in str(value) for value in options.values())
    if kind == "storage" and not own_place:
        names = enumeration(option.name for option in offer.options)
        raise BadInput(
            f"storage {offer.name}: each of its tests needs an empty storage; say how one is named, with {FRESH} for a "
            f"word that is new each time: --set KEY=…{FRESH}… (its options: {names})"
        )
    if kind == "notifier" and not (own_place or given or may_deliver):
        raise BadInput(
            f"notifier {offer.name}: its tests would deliver hundreds of events to whom the configuration names; "
            "point it elsewhere with --set KEY=VALUE, or say --yes"
        )
    abilities = tuple(ability.value for ability in Ability if ability in offer.abilities)
    return Request(kind, offer.name, module, options, _claims(kind, claims), abilities)


def _is_place(option: Option) -> bool:
    """Whether an option says where the component keeps things: a path that is left to the user."""
    return option.path and (option.default in (None, "") or option.default is ...)


def _claims(kind: str, given: Mapping[str, str]) -> dict[str, Any]:
    claims = {}
    for name, text in given.items():
        if name not in CLAIMS[kind]:
            every = sorted({word for words in CLAIMS.values() for word in words})
            if name in every:
                continue  # of another kind's suite
            raise BadInput(f"--claim {name}: no suite has it{suggestion(name, every)} (it takes {enumeration(every)})")
        claims[name] = toml_value(text)
    return claims


def need_pytest() -> None:
    """NotSupported if the suites cannot be run here."""
    missing = [name for name in ("pytest", "pytest_timeout") if find_spec(name) is None]
    if missing:
        raise NotSupported(f"the suites need {enumeration(missing)}: pip install 'queuectl-core[testing]'")


# --- Running it -----------------------------------------------------------------------------------


def prove(request: Request, offer: Provider[Any], seconds: float) -> Proof:
    """Run the suite in a process of its own, at most *seconds*."""
    with tempfile.TemporaryDirectory(prefix="queuectl-check-") as folder:
        records, code, said = _run(request, folder, seconds)
    tests = tuple(Test(**record) for record in records if "outcome" in record)
    claims = next((record["claims"] for record in records if "claims" in record), request.claims)
    supports, lacks = _abilities(request.kind, offer, claims)
    return Proof(request.kind, request.provider, tests, _fault(records, code, said, seconds), supports, lacks)


def _run(request: Request, folder: str, seconds: float) -> tuple[list[dict[str, Any]], int | None, str]:
    """The records of the process, how it exited (None: it was ended), and the last it said."""
    asked, report = os.path.join(folder, "request.json"), os.path.join(folder, "report.jsonl")
    with open(asked, "w", encoding="utf-8") as file:
        json.dump(request._asdict(), file)
    open(report, "w").close()
    process = subprocess.Popen(
        [sys.executable, "-m", "queuectl.testing.kit.prove", asked, report],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    try:
        said, _ = process.communicate(timeout=seconds)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        code, said = None, b""
    finally:
        if process.poll() is None:
            _end(process)
    with open(report, encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.endswith("\n")]
    return records, code, said.decode(errors="replace").strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    if sys.platform != "win32":
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _fault(records: Sequence[Mapping[str, Any]], code: int | None, said: str, seconds: float) -> str:
    """Why the suite did not come to its end, or nothing."""
    running = next((record["began"] for record in reversed(records) if "began" in record), "its start")
    if code is None:
        return f"it did not end within {seconds:g} s; it was at {running}"
    faults = [record["fault"] for record in records if "fault" in record]
    if faults:
        return f"the suite could not begin: {faults[0]}"
    if code not in (0, 1):
        last = said.splitlines()[-1] if said else ""
        return f"its process ended with {code} at {running}{f': {last}' if last else ''}"
    return ""


# --- What it supports -----------------------------------------------------------------------------


def _abilities(kind: str, offer: Provider[Any], claims: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What was claimed and so put to the test, and what was not. *claims* are those that the suite ran with."""
    if kind == "storage":
        every = {ability.value: ability in offer.abilities for ability in Ability}
    elif kind == "notifier":
        every = {"durable": offer.durable}
    else:
        every = {name: value for name, value in claims.items() if isinstance(value, bool)}
    return tuple(name for name, has in every.items() if has), tuple(name for name, has in every.items() if not has)
