"""QueueCTL at work on the Python standard library: ``make demo``.

Every module is compressed, hashed or byte-compiled: several hundred jobs, three kinds, three priorities. Beside them
one job is scheduled for a few seconds later, one fails until it ends in the dead letter queue, and one starts a small
tree of processes and runs into its timeout. Two workers do it all.

This uses nothing but the ``queuectl`` command, as you would. It checks what came out against what Python itself makes
of the same files, and exits with 1 if anything is off. What it leaves in ``.demo/`` is yours to look at.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT = 60.0  # seconds that all of it may take
LATER = 4  # seconds until the scheduled job is due
RETRIES = 2  # of the job that always fails: so three tries, 2 and 4 seconds apart
TIMEOUT = 2  # seconds that the job with the process tree is given

COMPILE = (
    "import sys, py_compile as p; "
    "p.compile(sys.argv[1], sys.argv[2], sys.argv[3], True, invalidation_mode=p.PycInvalidationMode.CHECKED_HASH)"
)


class Off(Exception):
    """Something is not as it should be. The message says what."""


class Module(NamedTuple):
    """One file of the standard library, and what is made of it."""

    name: str
    path: Path
    kind: str  # gzip, hash or compile


class Demo(NamedTuple):
    """Where everything is, and how to call queuectl on it."""

    folder: Path
    mark: str  # in the command line of every process of the tree, and in no other

    @property
    def program(self) -> list[str]:
        command = Path(sys.executable).with_name("queuectl")
        return [str(command)] if command.exists() else [sys.executable, "-m", "queuectl"]

    @property
    def words(self) -> list[str]:
        return [*self.program, "--config", str(ROOT / "queuectl.toml"), "--db", str(self.folder / "queue.db")]

    @property
    def env(self) -> dict[str, str]:
        """Ours without settings of QueueCTL, so that the demo is the same for everybody."""
        return {name: value for name, value in os.environ.items() if not name.startswith("QUEUECTL_")}

    def call(self, *words: str, text: str | None = None) -> str:
        """What a queuectl command printed. Its complaint, if it has one, is ours."""
        done = subprocess.run(
            [*self.words, *words], env=self.env, input=text or "", capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Off(f"queuectl {' '.join(words)} exited with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def read(self, *words: str) -> Any:
        """What a queuectl command has to say to programs."""
        return json.loads(self.call(*words, "--json"))

    def show(self, *words: str) -> None:
        """Run a queuectl command for the reader, tables, colours and all."""
        print(f"\n$ queuectl {shlex.join(words)}", flush=True)
        subprocess.run([*self.words, *words], env=self.env, stdin=subprocess.DEVNULL, check=False)


def main() -> int:
    """Run it; 0 if all is as it should be."""
    options = argparse.ArgumentParser(description="QueueCTL at work on the Python standard library.")
    options.add_argument("--folder", type=Path, default=ROOT / ".demo", help="where it may work (default: .demo)")
    demo = Demo(options.parse_args().folder.absolute(), f"7{secrets.randbelow(10**8):08}")
    begin = time.monotonic()
    try:
        clear(demo.folder)
        modules = list(library())
        ids = enqueue(demo, modules)
        seen = work(demo, total=len(modules) + len(ids), until=begin + LIMIT)
        demo.show("status")
        demo.show("dlq", "list")
        demo.show("logs", ids["flaky"])
        print()
        for line in checks(demo, modules, ids, seen):
            print(f"  ok  {line}")
    except Off as off:
        print(f"demo: {off}", file=sys.stderr)
        return 1
    print(f"\nAll as it should be, in {time.monotonic() - begin:.0f} seconds. What to try next:\n")
    command = shlex.join([shorter(word) for word in demo.program] + ["--db", shorter(demo.words[-1])])
    print(f"  alias q={shlex.quote(command)}")
    for words, what in (
        (f"q show {ids['flaky']}", "everything that happened to one job"),
        (f"q dlq retry {ids['flaky']}", "give it another chance …"),
        ("q worker start --until-empty", "… and a worker to take it"),
        ("q enqueue --in 10s -- echo later", "some work of your own, ten seconds from now"),
        ("q metrics", "how long jobs waited and ran"),
        ("q --help", "and all the rest"),
    ):
        print(f"  {words:<34}  # {what}")
    return 0


def clear(folder: Path) -> None:
    """An empty folder; what an earlier demo left goes, and nothing that is not a demo's."""
    if folder.exists() and any(folder.iterdir()) and not (folder / "made-by-the-demo").exists():
        raise Off(f"{folder} is not empty and not from an earlier demo: name another with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("gzip", "compile"):
        (folder / name).mkdir(parents=True)
    (folder / "made-by-the-demo").touch()


def library() -> Iterator[Module]:
    """Every module of the standard library, its tests aside, and which of the three things is done with it."""
    base = Path(sysconfig.get_path("stdlib"))
    leave = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib2to3"}
    paths = [path for path in sorted(base.rglob("*.py")) if leave.isdisjoint(path.relative_to(base).parts)]
    if len(paths) < 100:
        raise Off(f"{base} has only {len(paths)} modules: there is not enough to do")
    for number, path in enumerate(paths):
        name = ".".join(path.relative_to(base).with_suffix("").parts)
        yield Module(name, path, ("gzip", "hash", "compile")[number % 3])


# --- Getting work in ------------------------------------------------------------------------------


def enqueue(demo: Demo, modules: list[Module]) -> dict[str, str]:
    """All modules in one call and one transaction, then the three special ones; the ids of these."""
    lines = "".join(json.dumps(job_of(module, demo)) + "\n" for module in modules)
    begin = time.monotonic()
    demo.call("enqueue", "-", text=lines)
    print(
        f"{len(modules)} jobs enqueued in {time.monotonic() - begin:.2f} s: one for each module of the standard library"
    )

    tree = f"sleep {demo.mark} & setsid sleep {demo.mark} & echo started a tree; sleep {demo.mark}; wait"
    flaky = "date +%s >>tries; echo try $QUEUECTL_TRY of 3: no luck >&2; exit 3"
    special = {
        "later": ["--in", f"{LATER}s", "--shell", "touch later"],
        "flaky": ["--priority", "20", "--max-retries", str(RETRIES), "--shell", flaky],
        "tree": ["--priority", "20", "--max-retries", "0", "--timeout", f"{TIMEOUT}s", "--shell", tree],
    }
    ids = {}
    for name, words in special.items():
        ids[name] = demo.call("enqueue", "--id", f"demo-{name}", "--cwd", str(demo.folder), *words).strip()
    print(f"and three special ones: due in {LATER} s; always failing; outliving its timeout with a tree of processes")
    return ids


def job_of(module: Module, demo: Demo) -> dict[str, Any]:
    """A module's job as JSON. What is wanted soonest has the highest priority."""
    source = shlex.quote(str(module.path))
    if module.kind == "hash":
        sha = "sha256sum" if shutil.which("sha256sum") else "shasum -a 256"
        return {"command": f"{sha} {source}", "priority": 10, "tags": ["hash"]}
    if module.kind == "gzip":
        return {"command": f"gzip -c {source} >gzip/{module.name}.gz", "cwd": str(demo.folder), "tags": ["gzip"]}
    python = f"{shlex.quote(sys.executable)} -I -S -c {shlex.quote(COMPILE)}"
    command = f"{python} {source} compile/{module.name}.pyc {module.name}"
    return {"command": command, "cwd": str(demo.folder), "priority": -10, "tags": ["compile"]}


# --- Working it off -------------------------------------------------------------------------------


def work(demo: Demo, *, total: int, until: float) -> int:
    """Two workers until everything has ended; how many processes of the tree were seen at most."""
    with (demo.folder / "worker.log").open("wb") as log:
        pool = subprocess.Popen(
            [*demo.words, "worker", "start", "--count", "2"],
            env=demo.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            seen = watch(demo, pool, total, until)
            demo.call("worker", "stop", "--timeout", "20")
            if pool.wait(20) != 0:
                raise Off(f"the pool exited with {pool.returncode}; see {demo.folder / 'worker.log'}")
        finally:
            if pool.poll() is None:
                pool.send_signal(signal.SIGTERM)
                pool.send_signal(signal.SIGTERM)
                pool.wait(20)
    return seen


def watch(demo: Demo, pool: subprocess.Popen[bytes], total: int, until: float) -> int:
    """Look on and tell until nothing is left to do."""
    seen = 0
    with progress(total) as tell:
        while True:
            seen = max(seen, len(processes(demo.mark)))
            counts = demo.read("status")["counts"]
            tell(counts)
            if not counts["pending"] + counts["processing"] + counts["failed"]:
                return seen
            if pool.poll() is not None:
                raise Off(f"the pool ended early, with {pool.returncode}; see {demo.folder / 'worker.log'}")
            if time.monotonic() > until:
                raise Off(f"not done after {LIMIT:.0f} s: {counts}; see {demo.folder / 'worker.log'}")
            time.sleep(0.3)


class progress:
    """Tells of counts: as a bar on a terminal, else as a line whenever a tenth more is done."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.last = -1
        self.bar: Any = None

    def __enter__(self) -> Callable[[dict[str, int]], None]:
        if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR"):
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self.bar = Progress(
                TextColumn("two workers"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}"),
            )
            self.bar.start()
            self.task = self.bar.add_task("", total=self.total)
        return self.tell

    def __exit__(self, *exc: object) -> None:
        if self.bar:
            self.bar.stop()

    def tell(self, counts: dict[str, int]) -> None:
        ended = counts["completed"] + counts["dead"] + counts["cancelled"]
        words = f"{counts['processing']} in hand, {counts['failed']} waiting to be retried, {counts['dead']} dead"
        if self.bar:
            self.bar.update(self.task, completed=ended, description=words)
        elif ended * 10 // self.total > self.last or ended == self.total:
            self.last = ended * 10 // self.total
            print(f"  {ended} of {self.total} ended; {words}", flush=True)


def processes(mark: str) -> list[int]:
    """The living processes that have *mark* among their arguments: those of the tree, ours and the worker's aside."""
    wanted, found = mark.encode(), []
    if not Path("/proc/self/cmdline").exists():
        rows = subprocess.run(["ps", "-axo", "pid=,args="], capture_output=True, check=False).stdout.splitlines()
        return [int(row.split()[0]) for row in rows if row.split()[1:] == [b"sleep", wanted]]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes().split(b"\0")[:2] == [b"sleep", wanted]:
                    found.append(int(entry.name))
            except OSError:
                continue  # it has just ended
    return found


# --- Was it done? ---------------------------------------------------------------------------------


def checks(demo: Demo, modules: list[Module], ids: dict[str, str], seen: int) -> Iterator[str]:
    """What was checked, line by line; ``Off`` at the first thing that is not as it should be."""
    counts = demo.read("status")["counts"]
    wanted = {"completed": len(modules) + 1, "dead": 2}
    expect({state: n for state, n in counts.items() if n and state != "dlq"}, wanted, "jobs in each state")
    yield f"{wanted['completed']} jobs completed, and the two that could not are in the DLQ"

    yield same_bytes(demo, modules)
    yield same_hashes(demo, modules)
    yield in_order(demo)

    (later,) = [job for job in demo.read("list", "--limit", "20") if job["id"] == ids["later"]]
    early = moment(later["run_at"]) - (demo.folder / "later").stat().st_mtime
    if early > 0.05:
        raise Off(f"the scheduled job ran {early:.2f} s too early")
    yield "the scheduled job ran when it was due, and not before"

    dead = {job["id"]: job for job in demo.read("dlq", "list")}
    tries = [int(line) for line in (demo.folder / "tries").read_text().split()]
    expect(dead[ids["flaky"]]["attempts"], RETRIES + 1, "attempts of the job that always fails")
    expect(len(tries), RETRIES + 1, "times that it ran")
    if tries[-1] - tries[0] < 5:
        raise Off(f"the retries came too soon: {tries}")
    yield f"the failing job ran {len(tries)} times with 2 and 4 s between, then died"

    if seen < 3:
        raise Off(f"only {seen} processes of the tree were seen running")
    expect(dead[ids["tree"]]["exit_code"], 124, "exit code of the job that timed out")
    expect(processes(demo.mark), [], "survivors of the tree")
    yield f"the job that timed out took its {seen} processes with it, also the one in a session of its own"


def same_bytes(demo: Demo, modules: list[Module]) -> str:
    """Compressed and compiled files hold what Python itself makes of the sources."""
    zipped = [module for module in modules if module.kind == "gzip"]
    for module in zipped:
        if gzip.decompress((demo.folder / "gzip" / f"{module.name}.gz").read_bytes()) != module.path.read_bytes():
            raise Off(f"{module.name} was not compressed faithfully")
    compiled = [module for module in modules if module.kind == "compile"]
    for module in compiled:
        made = (demo.folder / "compile" / f"{module.name}.pyc").read_bytes()
        head = importlib.util.MAGIC_NUMBER + b"\3\0\0\0" + importlib.util.source_hash(module.path.read_bytes())
        if made[:16] != head:
            raise Off(f"{module.name} was not compiled from its source")
    return (
        f"{len(zipped)} compressed files unpack to their sources; {len(compiled)} compiled ones name theirs by its hash"
    )


def same_hashes(demo: Demo, modules: list[Module]) -> str:
    """What the hash jobs printed is kept, and true."""
    jobs = [job for job in demo.read("list", "--tag", "hash", "--limit", "1000") if job["state"] == "completed"]
    expect(len(jobs), sum(module.kind == "hash" for module in modules), "hash jobs")
    sample = jobs[:: max(1, len(jobs) // 8)]
    for job in sample:
        printed, path = demo.call("logs", job["id"], "--stdout").split(maxsplit=1)
        if printed != hashlib.sha256(Path(path.strip()).read_bytes()).hexdigest():
            raise Off(f"job {job['id']} printed a wrong hash for {path.strip()}")
    return f"{len(sample)} of {len(jobs)} hashes read back from the jobs' output and compared"


def in_order(demo: Demo) -> str:
    """The last job of the highest priority was over before the first of the lowest."""
    ended = {
        kind: [moment(job["updated_at"]) for job in demo.read("list", "--tag", kind, "--limit", "1000")]
        for kind in ("hash", "compile")
    }
    if max(ended["hash"]) > min(ended["compile"]):
        raise Off("a job of low priority ended before one of high priority")
    return "high priority first: every hash was there before the first module was compiled"


def expect(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Off(f"{what}: {found}, and not {wanted}")


def moment(text: str) -> float:
    """Seconds since the epoch of a time as QueueCTL writes it."""
    return datetime.fromisoformat(text).timestamp()


def shorter(word: str) -> str:
    """A path as seen from here, if it is one and that is shorter."""
    return min(word, os.path.relpath(word), key=len) if os.path.isabs(word) else word


if __name__ == "__main__":
    sys.exit(main())
