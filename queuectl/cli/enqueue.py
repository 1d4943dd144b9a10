"""``queuectl enqueue``: puts work in, in one of three forms.

The path of a single job is on a budget (``tests/test_startup.py``): what only some forms need is imported there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from queuectl.api.errors import BadInput, QueueCTLError
from queuectl.cli.lazy import QuickHelp
from queuectl.cli.render import emit_json, say, talks, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from queuectl.api.model import NewJob, Receipt
    from queuectl.cli import Program
    from queuectl.core.specs import Maker

HELP = """Put work in: a command, a JSON object, or one job per line of a file.

\b
  queuectl enqueue -- rsync -a photos/ backup/
  queuectl enqueue --queue mail --priority 5 --in 10m -- ./send.sh
  queuectl enqueue --shell 'sort big.txt | uniq -c > counts.txt'
  queuectl enqueue '{"id": "job1", "command": "echo hi", "max_retries": 2}'
  find . -name '*.log' -printf 'gzip %p\\n' | queuectl enqueue -
  queuectl enqueue --file jobs.txt
  queuectl enqueue --wait -- make report && echo done

After -- come the words of a command, run as they are and never by a shell. Without it there is exactly one argument:
a JSON object, or - for lines on stdin. In a file a line that starts with { is JSON, blank lines and lines that start
with # are skipped, and any other is a line for the shell; one bad line and nothing is stored. Options hold for every
job that does not say otherwise. Prints the id of each job.
"""

THE_FORM = (
    "without -- there is one argument: a JSON object, or - for lines on stdin; "
    "to run a command write: queuectl enqueue -- {}"
)


class EnqueueCommand(QuickHelp):
    """Keeps what stands behind ``--`` apart, untouched: click would mix it with the arguments before it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = None
        if "--" in args:
            at = args.index("--")
            args, words = args[:at], args[at + 1 :]
        ctx.meta["queuectl.words"] = words
        return super().parse_args(ctx, args)


def run(ctx: click.Context, /, arguments: tuple[str, ...], **said: Any) -> None:
    """What the command does: picks the form, makes the jobs, stores them, says their ids."""
    program: Program = ctx.obj
    words: list[str] | None = ctx.meta["queuectl.words"]
    as_json, shell, file, waits = said.pop("json"), said.pop("shell"), said.pop("file"), said.pop("wait")
    forms = [words is not None, bool(arguments), shell is not None, file is not None]
    if sum(forms) != 1:
        if not any(forms):
            raise click.UsageError("there is nothing to enqueue: write queuectl enqueue -- COMMAND ARG…")
        raise click.UsageError(
            THE_FORM.format("COMMAND ARG…") if not shell else "--shell takes the place of the command"
        )
    options = asked_options(said)
    maker = program.queue.maker(queue=said["queue"], priority=said["priority"])
    if words is not None or shell is not None:
        what = {"argv": words} if words is not None else {"command": shell}
        jobs = [maker.job({**options, **what})]
    elif file is not None or arguments == ("-",):
        jobs = _from_lines(maker, *_read(file), options)
    else:
        jobs = [maker.job(_under(options, _object(arguments)))]
    receipts = _store(program, jobs)
    if not waits:
        _report(program, jobs, receipts, as_json)
        return
    if not as_json:
        _report(program, jobs, receipts, False)
    from queuectl.cli.wait import wait_for

    ctx.exit(wait_for(program, [receipt.id for receipt in receipts], None, as_json))


def asked_options(said: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, under the names of the JSON form."""
    options = {name: value for name, value in said.items() if value is not None and value != ()}
    options.pop("queue", None)  # these two are the frame's
    options.pop("priority", None)
    if "env" in options:
        options["env"] = dict(_pair(text, "--env") for text in options["env"])
    if "executor_options" in options:
        options["executor_options"] = {
            name: _value(text) for name, text in (_pair(item, "--set") for item in options["executor_options"])
        }
    return options


def _under(options: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """What is asked for, with the options beneath it: what a job says itself counts."""
    if not options:
        return asked
    from queuectl.core.specs import under

    return under(options, asked)


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{option} takes NAME=VALUE, not {text!r}")
    return name, value


def _value(text: str) -> Any:
    """The value of ``--set``: a number, true, false or a list where it reads as JSON, else the text itself."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text


def _object(arguments: Sequence[str]) -> dict[str, Any]:
    from queuectl.core.specs import parse_object, quoted

    if len(arguments) == 1 and arguments[0].lstrip().startswith("{"):
        return parse_object(arguments[0])
    shown = quoted(arguments)
    raise click.UsageError(THE_FORM.format(shown if len(shown) <= 200 else "COMMAND ARG…"))


# --- Many at once -----------------------------------------------------------------------------


def _read(file: str | None) -> tuple[bytes, str]:
    """The bytes of the file, or of stdin, and what to call them."""
    if file is not None and file != "-":
        try:
            with open(file, "rb") as stream:
                return stream.read(), file
        except OSError as error:
            raise BadInput(f"{file}: {error.strerror}") from None
    if sys.stdin is None:
        raise BadInput("stdin is closed")
    if sys.stdin.isatty() and talks():
        say("reading jobs, one per line; end with Ctrl-D")
    return sys.stdin.buffer.read(), "stdin"


def _from_lines(maker: Maker, data: bytes, name: str, options: dict[str, Any]) -> list[NewJob]:
    """The jobs of a file. The complaint about a line names its number."""
    from queuectl.core.specs import parse_object

    for single in ("id", "unique"):
        if single in options:
            raise click.UsageError(f"--{single} is for one job: in a file each line may have its own")
    jobs: list[NewJob] = []
    add, line_job, job = jobs.append, maker.line, maker.job
    ids: set[str] = set()
    number = 0
    try:
        for raw in data.split(b"\n"):
            number += 1
            line = raw.decode().strip()
            if not line or line[0] == "#":
                continue
            if line[0] != "{":
                add(job({**options, "command": line}) if options else line_job(line))
                continue
            made = job(_under(options, parse_object(line)))
            if made.id is not None:
                if made.id in ids:
                    raise BadInput(f"id {made.id!r} stands on an earlier line too")
                ids.add(made.id)
            add(made)
    except UnicodeDecodeError:
        raise BadInput(f"{name}, line {number}: this is not UTF-8; nothing was stored") from None
    except QueueCTLError as error:
        raise type(error)(f"{name}, line {number}: {error}; nothing was stored") from None
    return jobs


def _store(program: Program, jobs: list[NewJob]) -> Sequence[Receipt]:
    """Store them; beyond what the storage takes in one step a failure says how many were."""
    storage, queue = program.app.storage, program.queue
    batch = storage.batch
    if batch is None or len(jobs) <= batch:
        return queue.store(jobs)
    receipts: list[Receipt] = []
    for at in range(0, len(jobs), batch):
        try:
            receipts.extend(queue.store(jobs[at : at + batch]))
        except QueueCTLError as error:
            raise type(error)(f"{error} ({at} of {len(jobs)} jobs were stored before that)") from error
    return receipts


# --- What is said -----------------------------------------------------------------------------


def _report(program: Program, jobs: Sequence[NewJob], receipts: Sequence[Receipt], as_json: bool) -> None:
    if as_json:
        emit_json([{"id": receipt.id, "created": receipt.created} for receipt in receipts])
    elif receipts:
        write("\n".join([receipt.id for receipt in receipts]) + "\n")
    for job, receipt in zip(jobs, receipts, strict=True) if len(jobs) == 1 else ():
        if not receipt.created:
            say(f"not queued again: job {receipt.id} has the unique key {job.unique_key!r} and is not finished")
        elif job.run_at is not None:
            _say_when(receipt.id, job.run_at)
    if len(jobs) != 1:
        _say_many(jobs, receipts)
    if talks() and sys.stdout is not None and sys.stdout.isatty():
        _hints(program, {job.queue for job in jobs})


def _say_when(id: str, run_at: int) -> None:
    import time

    from queuectl.core.times import iso, local, span

    left = run_at / 1000 - time.time()
    away = f"in {span(left)}" if left > 0 else "due now"
    say(f"job {id} runs at {local(run_at)} ({iso(run_at)}, {away})")


def _say_many(jobs: Sequence[NewJob], receipts: Sequence[Receipt]) -> None:
    again = sum(not receipt.created for receipt in receipts)
    if again:
        say(f"{again} of {len(jobs)} were not queued again: unfinished jobs have their unique keys")
    elif not jobs:
        say("there was nothing to enqueue")
    elif talks():
        say(f"{len(jobs)} jobs queued")


def _hints(program: Program, queues: Iterable[str]) -> None:
    """On a terminal: why what was just queued may not run soon. Cheap looks, and never a reason to fail."""
    import time

    try:
        for stat in program.queue.stat():
            if stat.name in queues and stat.paused:
                say(f"queue {stat.name} is paused; queuectl queue resume {stat.name} lets it run")
        now = time.time() * 1000
        if not any(pool.lease_until > now for pool in program.app.storage.pools()):
            say("no worker is running; queuectl worker start runs it")
    except QueueCTLError:
        pass


def _json_option() -> click.Option:
    return click.Option(
        ["--json"], is_flag=True, help="Print a JSON array of id and created; with --wait of jobs as they ended."
    )


def job_options() -> list[click.Option]:
    """What may be asked of a job, wherever it is put in."""
    return [
        click.Option(["--shell", "-c"], metavar="LINE", help="A line for /bin/sh instead of a command."),
        click.Option(["--id"], metavar="ID", help="An id of your own; not all digits."),
        click.Option(["--queue", "-q"], metavar="NAME", help="Queue (default: from the configuration)."),
        click.Option(["--priority", "-p"], metavar="N", type=int, help="-1000 … 1000, high first (default 0)."),
        click.Option(["--timeout"], metavar="DURATION", help="Longest time of one attempt."),
        click.Option(["--grace"], metavar="DURATION", help="Time between the polite request to end and the kill."),
        click.Option(["--max-retries"], metavar="N", type=int, help="Tries after the first."),
        click.Option(["--backoff"], metavar="NAME", help="Backoff policy."),
        click.Option(["--executor"], metavar="NAME", help="What runs it."),
        click.Option(
            ["executor_options", "--set"], metavar="KEY=VALUE", multiple=True, help="An option for the executor."
        ),
        click.Option(["--env"], metavar="NAME=VALUE", multiple=True, help="A variable for the job."),
        click.Option(["--cwd"], metavar="DIR", help="Where it runs (default: here)."),
        click.Option(["tags", "--tag"], metavar="TAG", multiple=True, help="A tag to find it by."),
    ]


command = EnqueueCommand(
    "enqueue",
    callback=click.pass_context(run),
    help=HELP,
    short_help="Put work in.",
    options_metavar="[OPTIONS]",
    params=[
        click.Argument(["arguments"], nargs=-1, metavar="-- COMMAND ARG… | JSON | -", type=click.UNPROCESSED),
        *job_options(),
        click.Option(["--file", "-f"], metavar="FILE", help="Jobs from a file, one per line."),
        click.Option(["run_at", "--run-at", "--at"], metavar="TIME", help="When: RFC 3339, 18:30, 'tomorrow 8:00' …"),
        click.Option(["delay", "--delay", "--in"], metavar="DURATION", help="In how long: 90, 90s, 1h30m, 2d."),
        click.Option(["--unique"], metavar="KEY", help="Do nothing if an unfinished job has this key."),
        click.Option(["--wait", "-w"], is_flag=True, help="Wait for the end: exit code 0 if all completed, else 1."),
        _json_option(),
    ],
)
