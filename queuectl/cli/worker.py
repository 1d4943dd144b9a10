"""``queuectl worker``: start, stop and list the processes that run jobs."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from queuectl.api.errors import BadInput, QueueCTLError
from queuectl.cli.render import emit_json, say, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from queuectl.cli import Program

MOST_WORKERS = 1000


@click.group()
def command() -> None:
    """Start, stop and list workers: the processes that run jobs.

    \b
      queuectl worker start --count 4
      queuectl worker start --until-empty
      queuectl worker list
      queuectl worker stop
    """


# --- start --------------------------------------------------------------------------------------


@command.command("start")
@click.option("--count", "-n", type=click.IntRange(1, MOST_WORKERS), help="Jobs to run at the same time.")
@click.option("--queues", metavar="A,B:2", help="Serve only these queues; NAME:N takes at most N of one at a time.")
@click.option("--until-empty", is_flag=True, help="End when nothing is due and no retry is to come.")
@click.option("--max-jobs", type=click.IntRange(1), metavar="N", help="End after N jobs.")
@click.option("--drain", metavar="DURATION", help="How long running jobs may go on at a stop; default: until done.")
@click.option("--detach", is_flag=True, help="Run in the background; prints the process id.")
@click.option("--probe", metavar="HOST:PORT", help="Answer /healthz, /readyz and /metrics there.")
@click.option("--verbose", "-v", is_flag=True, help="Also tell of jobs that completed.")
@click.pass_obj
def start(
    program: Program,
    count: int | None,
    queues: str | None,
    until_empty: bool,
    max_jobs: int | None,
    drain: str | None,
    detach: bool,
    probe: str | None,
    verbose: bool,
) -> None:
    """Run jobs until told to stop.

    \b
      queuectl worker start --count 4
      queuectl worker start --queues mail,video:1
      queuectl worker start --until-empty

    Ctrl-C or SIGTERM once: take no more jobs, let the running ones end. Twice: end them politely; they are run again
    by the next pool. Three times: leave at once. With --until-empty the exit code is 1 if a job ended dead.
    """
    if sys.platform == "win32":
        raise QueueCTLError("worker start needs Linux or macOS: on Windows, run the workers in WSL or on another host")
    from queuectl.core.times import parse_duration
    from queuectl.work.control import LOG_VARIABLE
    from queuectl.work.logfile import NAME, LogFile

    config = program.app.config.worker
    served = _queues(queues) if queues is not None else (dict.fromkeys(config.queues) or None)
    drain_limit = parse_duration(drain, "--drain") if drain is not None else config.drain
    if probe is not None:
        from queuectl.web.probing import address_of

        address_of(probe)  # before a process is started for nothing
    if detach:
        from queuectl.work.control import detach as start_detached

        path = os.path.join(os.path.dirname(program.app.run_dir), NAME)
        file = LogFile(path, config.log_limit, config.log_keep)
        pid = start_detached(file, [word for word in sys.argv[1:] if word != "--detach"])
        say(f"pool started in the background; its log is {path}")
        click.echo(pid)
        return
    from queuectl.work.keeperlink import KeeperLink

    keeper = KeeperLink()  # it gets ready while this process does
    from queuectl.work.pool import Options, Pool

    log_path = os.environ.get(LOG_VARIABLE)
    log = _log if log_path is None else _log_with_time
    options = Options(
        workers=count or config.count,
        queues=served,
        until_empty=until_empty,
        max_jobs=max_jobs,
        drain=drain_limit,
        lease=program.app.lease,
        heartbeat=config.heartbeat,
        verbose=verbose,
        log_file=None if log_path is None else LogFile(log_path, config.log_limit, config.log_keep),
    )
    pool = Pool(program.app, options, log, _courier(program, log), _couriers(program, log), keeper)
    answering: list[Any] = []
    probing = partial(_probe, program, probe, pool, answering) if probe is not None else None
    try:
        code = pool.run(lambda: _ready(options, pool.id, log, probing))
    finally:
        for each in answering:
            each.close()
    if code:
        raise click.exceptions.Exit(code)


def _probe(program: Program, address: str, pool: Any, answering: list[Any]) -> str:
    """Begin to answer probes, and say where. Healthy: its loop went round within two heartbeats and a bit."""
    from queuectl.web.probing import Probe

    most = 2 * pool.options.heartbeat + 5
    answering.append(Probe(program.app, address, lambda: time.monotonic() - pool.turned_at < most))
    return f"{address.rpartition(':')[0]}:{answering[0].port}"


def _queues(text: str) -> Mapping[str, int | None]:
    """``a,b:2`` as names and ceilings."""
    from queuectl.core.specs import check_queue

    served: dict[str, int | None] = {}
    for part in text.split(","):
        word = part.strip()
        name, colon, ceiling = word.rpartition(":") if ":" in word else (word, "", "")  # a name may have colons in it
        if not name:
            raise BadInput(f"--queues {text!r}: a name is empty; expected NAME or NAME:N, separated by commas")
        if colon and not (ceiling.isascii() and ceiling.isdigit() and 0 < int(ceiling) <= MOST_WORKERS):
            raise BadInput(f"--queues {text!r}: {ceiling!r} is not a number from 1 to {MOST_WORKERS}")
        served[check_queue(name)] = int(ceiling) if colon else None
    return served


def _courier(program: Program, log: Callable[[str], None]) -> Any:
    app = program.app
    if not app.has_events:
        return None
    for name in app.config.main.notifiers:
        if app.plugins.is_built_in("notifier", name):  # of a stranger's the courier says it: nothing of theirs is here
            app.must_be_live(name)
    from queuectl.work.courier import CourierLink

    return CourierLink(app.arguments, home=app.home, log=log)


def _couriers(program: Program, log: Callable[[str], None]) -> Any:
    from queuectl.api.storage import Ability

    app = program.app
    if Ability.OUTBOX not in app.storage.abilities:
        return None
    from queuectl.work.couriers import Couriers

    config = app.config
    return Couriers(config.targets, app.arguments, app.storage, log, home=app.home, keep=config.outbox.keep)


def _log(line: str) -> None:
    say(line)


def _log_with_time(line: str) -> None:
    """A line of a file that nobody else stamps."""
    say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}")


def _ready(options: Any, pool: str, log: Callable[[str], None], probe: Callable[[], str] | None) -> None:
    s = "s" * (options.workers != 1)
    served = ", ".join(options.queues) if options.queues else "all queues"
    log(f"pool {pool} with {options.workers} worker{s} serves {served} (process {os.getpid()}; Ctrl-C to stop)")
    if probe is not None:
        log(f"probes at {probe()}")
    from queuectl.work.control import say_ready

    say_ready()


# --- stop ---------------------------------------------------------------------------------------


@command.command("stop")
@click.option("--now", is_flag=True, help="End running jobs politely; they are run again later.")
@click.option("--kill", is_flag=True, help="End running jobs by force; they are run again later.")
@click.option("--timeout", metavar="DURATION", help="Stop waiting after so long (exit code 124).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of the pools that were stopped.")
@click.pass_obj
def stop(program: Program, now: bool, kill: bool, timeout: str | None, as_json: bool) -> None:
    """Stop every pool of this storage on this host, from any terminal, and wait until they are gone.

    \b
      queuectl worker stop
      queuectl worker stop --now
      queuectl worker stop --timeout 30s

    Without an option running jobs may end first.
    """
    from queuectl.core.rundir import list_pools
    from queuectl.core.times import parse_duration
    from queuectl.work.control import await_end, signal_pool

    if now and kill:
        raise click.UsageError("--now and --kill exclude each other: one ends jobs politely, the other by force")
    how = "now" if now else "kill" if kill else None
    seconds = parse_duration(timeout, "--timeout") if timeout is not None else None
    pools = [pool for pool in list_pools(program.app.run_dir) if pool.alive]
    stopped = []
    for pool in pools:
        complaint = signal_pool(pool, how)
        if complaint:
            say(complaint)
        else:
            stopped.append(pool)
    await_end(stopped, seconds)
    if as_json:
        emit_json([{"id": pool.id, "pid": pool.pid} for pool in stopped])
    elif not pools:
        say("no pool is running")
    else:
        say(f"stopped {len(stopped)} pool{'s' * (len(stopped) != 1)}")


# --- restart ------------------------------------------------------------------------------------


@command.command("restart")
@click.option("--timeout", default="30s", metavar="DURATION", show_default=True, help="How long to wait for it.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of the pools that were restarted.")
@click.pass_obj
def restart(program: Program, timeout: str, as_json: bool) -> None:
    """Let every pool of this storage on this host execute itself anew: new code, new configuration.

    \b
      queuectl worker restart

    Running jobs go on and are neither lost nor run twice. The process keeps its id, its terminal and its supervisor.
    A configuration that cannot be used is refused first, and the pools go on as they were.
    """
    from queuectl.core.rundir import list_pools
    from queuectl.core.times import parse_duration
    from queuectl.work.control import await_restart, signal_pool

    seconds = parse_duration(timeout, "--timeout")
    run_dir = program.app.run_dir
    pools = [pool for pool in list_pools(run_dir) if pool.alive]
    asked = []
    for pool in pools:
        complaint = signal_pool(pool, "restart")
        if complaint:
            say(complaint)
        else:
            asked.append(pool)
    left = await_restart(run_dir, asked, seconds)
    if as_json:
        emit_json([{"id": pool.id, "pid": pool.pid} for pool in asked if pool not in left])
    elif not pools:
        say("no pool is running")
    else:
        say(f"restarted {len(asked) - len(left)} pool{'s' * (len(asked) - len(left) != 1)}")
    for pool in left:
        say(f"pool {pool.id} (process {pool.pid}) did not restart; its own log says why")
    if left:
        raise click.exceptions.Exit(1)


# --- list ---------------------------------------------------------------------------------------


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array of workers.")
@click.pass_obj
def list_(program: Program, as_json: bool) -> None:
    """List the workers of this storage on this host.

    \b
      queuectl worker list
    """
    from queuectl.core.rundir import list_workers
    from queuectl.core.shapes import worker_shape

    shapes = [worker_shape(record) for record in list_workers(program.app.run_dir) if record.alive]
    if as_json:
        emit_json(shapes)
        return
    rows = [
        (w["id"], w["pid"], w["pool"], w["state"], w["job"] or "", w["attempt"] or "", w["started_at"]) for w in shapes
    ]
    table(["worker", "pid", "pool", "state", "job", "attempt", "since"], rows, right=(1, 5))
