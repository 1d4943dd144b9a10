"""A shop whose chores go through a queue: a week of past, a busy present, and nothing real behind it.

``tools/screenshots.py`` takes its pictures here. The past is written straight into the storage, at moments that are
over; the present is real processes. Seeded: the same past every time, as seen from now.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, NamedTuple

from queuectl.api.model import Action, NewJob, Outcome, OutcomeKind, Turn, Where
from queuectl.core import transitions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from queuectl.api.model import Claim, Settlement
    from queuectl.api.storage import Storage

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
POOL = "4f1c08aa"


class Chore(NamedTuple):
    """A kind of job: what it is called, how long it takes, and how it fails."""

    queue: str
    command: str
    share: int
    ms: int  # how long it usually takes
    tags: tuple[str, ...]
    says: str
    fails: float
    code: int
    complains: str
    retries: int = 1


CHORES = (
    Chore(
        "images",
        "./thumbnail uploads/{n}.jpg --width 480",
        40,
        240,
        ("thumbs",),
        "thumbs/{n}.webp 480x320 31 KiB\n",
        0.01,
        1,
        "thumbnail: uploads/{n}.jpg: premature end of JPEG file\n",
    ),
    Chore(
        "mail",
        "./send-mail --template receipt --order {n}",
        25,
        700,
        ("receipt",),
        "order {n}: accepted by mx1.example.org\n",
        0.025,
        75,
        "send-mail: mx1.example.org: 451 4.7.1 try again later\n",
        0,
    ),
    Chore(
        "feeds",
        "./fetch-feed https://supplier.example/stock/{n}.json",
        14,
        1300,
        (),
        "stock/{n}.json: 412 articles\n",
        0.1,
        22,
        "fetch-feed: supplier.example answered 503 Service Unavailable\n",
        2,
    ),
    Chore(
        "search",
        "./build-index --shard {n} --since yesterday",
        12,
        4200,
        ("index",),
        "shard {n}: 18 204 documents\n",
        0.02,
        137,
        "",
        1,
    ),
    Chore(
        "reports",
        "./report --month 2026-10 --region {n} | gzip > out/region-{n}.csv.gz",
        6,
        21_000,
        ("monthly",),
        "",
        0.06,
        1,
        "report: region {n}: no exchange rate for 2026-10-31\n",
        0,
    ),
    Chore("default", "./tidy-carts --older-than 30d", 3, 900, (), "removed 117 carts\n", 0.0, 1, ""),
)

#: What the commands are, so that the present can run them: each takes its time and says what it does.
PROGRAMS = {
    "thumbnail": 'sleep 0.2; echo "thumbs/$(basename "$1" .jpg).webp 480x320 31 KiB"',
    "send-mail": 'sleep 0.6; echo "order $4: accepted by mx1.example.org"',
    "fetch-feed": 'sleep 0.5; echo "fetch-feed: supplier.example answered 503 Service Unavailable" >&2; exit 22',
    "build-index": 'for n in $(seq 1 900); do echo "shard $2: $((n * 41)) documents"; sleep 0.4; done',
    "report": 'for n in $(seq 1 900); do echo "page $n of 900"; sleep 0.2; done',
    "transcode": 'for n in $(seq 1 900); do echo "frame=$((n * 25)) fps=25 time=00:00:$n"; sleep 1; done',
    "backup": "sleep 600",
    "tidy-carts": "sleep 0.5; echo removed 117 carts",
}
PRESENT = (
    {
        "command": "./report --all-regions --month 2026-10",
        "id": "nightly-report",
        "queue": "reports",
        "priority": 9,
        "tags": ["monthly"],
        "timeout": 7200,
    },
    {
        "command": "./transcode uploads/tour.mov --preset slow --output public/tour.webm",
        "queue": "images",
        "tags": ["video"],
    },
    {"command": "./build-index --shard 7 --since yesterday", "queue": "search", "tags": ["index"]},
    {"command": "./build-index --shard 8 --since yesterday", "queue": "search", "tags": ["index"]},
)
WAITING = (
    *(
        {"command": f"./backup /srv/shop/{part} --keep 14", "queue": "backup", "tags": ["nightly"]}
        for part in ("media", "database", "letters")
    ),
    {"command": "./tidy-carts --older-than 30d", "run_at": "tomorrow 8:00"},
    {
        "command": "./report --month 2026-11 --region 3 | gzip > out/region-3.csv.gz",
        "queue": "reports",
        "run_at": "tomorrow 6:30",
        "tags": ["monthly"],
    },
    *(
        {
            "command": f"./build-index --shard {n} --since yesterday",
            "queue": "search",
            "tags": ["index"],
            "priority": -5,
        }
        for n in range(9, 21)
    ),
)
#: What has just come in: some of it fails at once and waits for its next try.
LATEST = (
    *(
        {"command": f"./thumbnail uploads/{n}.jpg --width 480", "queue": "images", "tags": ["thumbs"]}
        for n in range(9001, 9013)
    ),
    *(
        {"command": f"./send-mail --template receipt --order {n}", "queue": "mail", "tags": ["receipt"]}
        for n in range(9013, 9020)
    ),
    *(
        {
            "command": f"./fetch-feed https://supplier.example/stock/{n}.json",
            "queue": "feeds",
            "max_retries": 5,
            "backoff_options": {"base": 60},
        }
        for n in range(9020, 9023)
    ),
)


def furnish(folder: Path) -> None:
    """The programs of the shop."""
    for name, body in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)


def live(storage: Storage, now: int) -> None:
    """A week, seen from *now*."""
    rng = random.Random(7)
    number = 4000
    for moment, n in _moments(now, rng):
        jobs = []
        for chore in rng.choices(CHORES, [chore.share for chore in CHORES], k=n):
            number += 1
            settings = json.dumps({"max_retries": chore.retries})
            jobs.append(NewJob(chore.command.format(n=number), queue=chore.queue, tags=chore.tags, settings=settings))
        storage.enqueue(jobs, now=moment)
        started = moment + 150 + round(rng.expovariate(1 / 900))
        _work(storage, started, rng)
        _work(storage, started + 3 * SECOND, rng)  # what failed and is tried again
    _a_hard_one(storage, now)
    _a_lucky_one(storage, now)
    _somebody_acts(storage, now)
    storage.leave(POOL)


def _moments(now: int, rng: random.Random) -> Iterator[tuple[int, int]]:
    """When jobs came in, and how many: by day more than by night, the last hour in detail."""
    start = now - 7 * 24 * HOUR
    while start < now - 24 * HOUR:
        yield start, rng.randint(150, 240) * _day(start) // 8
        start += HOUR
    while start < now - HOUR:
        yield start, max(1, rng.randint(24, 40) * _day(start) // 8)
        start += 10 * MINUTE
    while start < now - 90 * SECOND:
        burst = 20 if now - 22 * MINUTE < start < now - 18 * MINUTE else 0
        yield start, rng.randint(0, 3) + burst // 3
        start += 20 * SECOND


def _day(moment: int) -> int:
    hour = moment // HOUR % 24
    return 8 if 8 <= hour < 19 else 4 if 6 <= hour < 23 else 1


def _work(storage: Storage, now: int, rng: random.Random) -> None:
    """Everything that is due runs and ends."""
    claims = storage.exchange(Turn(POOL, want=500, now=now)).claims
    ended = [_ended(claim, now, rng) for claim in claims]
    last = max((settlement.outcome.ended_at for settlement in ended if settlement.outcome), default=now)
    storage.exchange(Turn(POOL, tuple(ended), now=min(last, now + 20 * SECOND)))


def _ended(claim: Claim, now: int, rng: random.Random) -> Settlement:
    chore = next(each for each in CHORES if claim.job.spec.command.startswith(each.command.split("{")[0]))
    number = next((word for word in _numbers(claim.job.spec.command)), "1")
    took = round(chore.ms * rng.lognormvariate(0, 0.5))
    if rng.random() >= chore.fails:
        said = chore.says.format(n=number).encode()
        outcome = Outcome(OutcomeKind.EXITED, 0, now, now + took, stdout_size=len(said))
        return transitions.settle(claim, outcome, stdout=said)
    said = chore.complains.format(n=number).encode()
    kind = OutcomeKind.SIGNALLED if chore.code > 128 else OutcomeKind.EXITED
    outcome = Outcome(kind, chore.code % 128, now, now + took, stderr_size=len(said))
    return transitions.settle(claim, outcome, stderr=said)


def _numbers(command: str) -> Iterator[str]:
    word = ""
    for character in f"{command} ":
        if character.isdigit():
            word += character
        elif word:
            if len(word) >= 4 and word != "2026":
                yield word
            word = ""


def _a_hard_one(storage: Storage, now: int) -> None:
    """One job that was tried four times, with growing pauses, in vain."""
    at = now - 25 * MINUTE
    storage.enqueue(
        [
            NewJob(
                "./fetch-feed https://supplier.example/prices/winter.json",
                id="winter-prices",
                queue="feeds",
                tags=("prices",),
                env={"SUPPLIER": "42"},
                settings=json.dumps({"max_retries": 3, "backoff_options": {"base": 8}}),
            )
        ],
        now=at,
    )
    for attempt, wait in enumerate((2, 9, 65, 513)):
        at += wait * SECOND
        [claim] = [
            each
            for each in storage.exchange(Turn(POOL, want=50, queues={"feeds": 50}, now=at)).claims
            if each.job.id == "winter-prices"
        ]
        said = b"fetch-feed: GET /prices/winter.json\nfetch-feed: supplier.example answered 503 Service Unavailable\n"
        said += b"fetch-feed: retry-after: 3600\n" * (attempt > 1)
        took = 1300 + 40_000 * (attempt == 2)
        outcome = Outcome(OutcomeKind.EXITED, 22, at, at + took, stdout_size=0, stderr_size=len(said))
        at += took
        settlement = transitions.settle(claim, outcome, stderr=said)
        storage.exchange(Turn(POOL, (settlement,), now=at))


def _a_lucky_one(storage: Storage, now: int) -> None:
    """One that failed, was retried by hand, and worked."""
    at = now - 3 * MINUTE
    command = "./build-index --shard 12 --since yesterday"
    storage.enqueue(
        [NewJob(command, id="retried-index", queue="search", tags=("index",), settings=json.dumps({"max_retries": 0}))],
        now=at,
    )
    for code, took, said in ((1, 2100, b"build-index: shard 12 is locked by another writer\n"), (0, 4300, b"")):
        [claim] = storage.exchange(Turn(POOL, want=1, queues={"search": 1}, now=at + 700)).claims
        wrote = (
            b"".join(b"shard 12: %d of 18204 documents\n" % n for n in range(2000, 18001, 2000)) + b"shard 12: done\n"
        )
        stdout = wrote if code == 0 else wrote[:62]
        outcome = Outcome(
            OutcomeKind.EXITED, code, at + 700, at + 700 + took, stdout_size=len(stdout), stderr_size=len(said)
        )
        settled = transitions.settle(claim, outcome, stdout=stdout, stderr=said)
        storage.exchange(Turn(POOL, (settled,), now=at + 700 + took))
        at += 50 * SECOND
        if code:
            storage.apply(Action.RETRY, Where(ids=("retried-index",)), actor="web:ada", note="", now=at)


def _somebody_acts(storage: Storage, now: int) -> None:
    storage.enqueue([NewJob("./tidy-carts --dry-run", id="tidy-trial")], now=now - 40 * MINUTE)
    storage.apply(Action.CANCEL, Where(ids=("tidy-trial",)), actor="cli:ada", note="", now=now - 39 * MINUTE)
