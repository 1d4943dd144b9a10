"""What goes wrong with a server and the way to it, and what becomes of jobs then."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from queuectl_redis.storage import RedisStorage, open_storage
from redis_hosts import Host
from redis_proxy import Proxy
from redis_servers import Server, free_port, missing, until

from queuectl.api.errors import StorageBusy, StorageFull, StorageInvalid
from queuectl.api.model import (
    Action,
    Claim,
    Exchange,
    Held,
    NewJob,
    Outcome,
    OutcomeKind,
    Settlement,
    State,
    Turn,
    Where,
)

FULL = os.environ.get("QUEUECTL_FAULTS") == "full"

Answer = TypeVar("Answer")


# -- the connection is cut at every command ---------------------------------------------------------


class Stubborn:
    """A pool in its shortest form: what cannot be stored is tried again, after a heartbeat."""

    def __init__(self, storage: RedisStorage) -> None:
        self.storage = storage
        self.held: dict[str, Claim] = {}
        self.broken = 0

    def until_taken(self, call: Callable[[], Answer]) -> Answer:
        while True:
            try:
                return call()
            except StorageBusy:
                self.broken += 1

    def turn(self, settlements: Sequence[Settlement] = (), want: int = 0) -> Exchange:
        def take() -> Exchange:
            if self.broken:
                self.beat()
            return self.storage.exchange(Turn("pool", tuple(settlements), want))

        answer = self.until_taken(take)
        for settlement in settlements:
            self.held.pop(settlement.id, None)
        self.held.update({claim.job.id: claim for claim in answer.claims})
        return answer

    def beat(self) -> None:
        held = [Held(claim.job.id, claim.token) for claim in self.held.values()]
        pulse = self.until_taken(lambda: self.storage.heartbeat("pool", held, lease=60))
        self.held.update({claim.job.id: claim for claim in pulse.found})

    def results(self) -> list[Settlement]:
        outcome = Outcome(OutcomeKind.EXITED, 0, 1, 2)
        return [
            Settlement(c.job.id, c.token, State.COMPLETED, outcome, tries=1, stdout=b"x") for c in self.held.values()
        ]


def session(url: str, prefix: str) -> list[str]:
    """Everything a storage is asked for, once; the ids that were given."""
    storage = open_storage({"url": url, "prefix": prefix, "timeout": 2.0})
    pool = Stubborn(storage)
    receipts = list(storage.enqueue([NewJob(f"job {n}", tags=("t",)) for n in range(6)]))
    receipts += storage.enqueue([NewJob("named", id="named", unique_key="k")])
    receipts += storage.enqueue([NewJob("kept out", unique_key="k")])
    assert [receipt.created for receipt in receipts] == [True] * 7 + [False]
    ids = [receipt.id for receipt in receipts[:7]]
    changes = storage.apply(Action.CANCEL, Where(ids=(ids[5],)))
    assert [change.now for change in changes] == [State.CANCELLED]
    pool.turn(want=2)
    pool.turn(pool.results(), want=3)
    for claim in list(pool.held.values())[:1]:
        pool.until_taken(lambda claim=claim: storage.put_output(claim.job, claim.job.attempts, "stderr", 0, b"long"))  # type: ignore[misc]
    pool.turn(pool.results(), want=9)
    pool.beat()
    pool.turn(pool.results())
    storage.set_queue("default", limit=3)
    assert storage.get(ids)[0] is not None and storage.find(Where(states=(State.CANCELLED,))).jobs
    storage.close()
    return ids


@pytest.mark.parametrize("late", [True, False], ids=["the reply is lost", "the command is lost"])
def test_a_connection_may_be_cut_at_every_command(server: Server, tmp_path: Path, late: bool) -> None:
    """Every job is stored once and settled once, whichever command it was and whether it was taken or not."""
    numbers = itertools.count()

    def run(cut: int) -> int:
        n = next(numbers)
        proxy = Proxy(server.socket, tmp_path / f"{n}.sock", cut=cut, late=late)
        prefix = f"cut-{uuid.uuid4().hex[:6]}-{n}"
        try:
            ids = session(f"unix://{proxy.path}", prefix)
        finally:
            proxy.close()
        storage = open_storage({"url": server.url, "prefix": prefix})
        jobs = storage.find().jobs
        assert sorted(job.id for job in jobs) == sorted(ids), f"cut at {cut}"
        states = Counter(job.state for job in jobs)
        assert states == {State.COMPLETED: 6, State.CANCELLED: 1}, f"cut at {cut}: {states}"
        assert all(len(storage.history(job.id).attempts) == (job.state is State.COMPLETED) for job in jobs)
        assert storage.stat()[0].runs == 6
        assert not [finding for finding in storage.check() if finding.level == "error"]
        storage.close()
        return len(proxy.commands)

    commands = run(0)
    assert commands > 12
    for cut in range(1, commands + 1):
        run(cut)


# -- the server -------------------------------------------------------------------------------------


@pytest.fixture
def hosts(own_server: Server, tmp_path: Path) -> Iterator[Callable[..., Host]]:
    made: list[Host] = []

    def make(name: str, more: str = "") -> Host:
        made.append(Host(tmp_path / name, own_server.url, more=more))
        return made[-1]

    yield make
    for host in made:
        host.close()


@pytest.mark.timeout(900)
def test_a_server_that_is_restarted_under_load_loses_nothing(
    own_server: Server, hosts: Callable[..., Host], tmp_path: Path
) -> None:
    """Ended cleanly or killed, AOF always: each accepted job has run exactly once, and pools are back within 5 s."""
    rng = random.Random(7)
    journal = tmp_path / "journal"
    here, there = hosts("here"), hosts("there")
    for host in (here, there):
        host.start("--count", "2")
    rounds, accepted, longest = (20 if FULL else 2), 0, 0.0
    began = time.monotonic()
    for number in range(rounds):
        lines = [json.dumps({"command": f"echo {accepted + n} >> {journal}"}) for n in range(200 if FULL else 60)]
        put = here.run("enqueue", "-", input="\n".join(lines), code=None)
        assert put.returncode == 0, put.stderr
        accepted += len(lines)
        own_server.stop(rng.choice([signal.SIGTERM, signal.SIGKILL]))
        time.sleep(rng.random() / 2)  # a server is away for some time
        own_server.start()
        up = time.monotonic()
        probe = here.enqueue("true")
        here.await_state(probe, "completed")
        longest = max(longest, time.monotonic() - up)
        if FULL:
            time.sleep(max(0.0, began + (number + 1) * 15 - time.monotonic()))
    until(
        lambda: not any(here.json("status")["counts"][s] for s in ("pending", "processing", "failed")),
        "all is done",
        60,
    )
    ran = Counter(journal.read_text().split())
    assert len(ran) == accepted, f"{accepted - len(ran)} of {accepted} were lost"
    assert set(ran.values()) == {1}, f"ran more than once: {[job for job, n in ran.items() if n > 1][:9]}"
    print(f"{rounds} restarts in {time.monotonic() - began:.0f} s, {accepted} jobs, longest return {longest:.1f} s")
    assert longest < 5 + 2.5  # 5 s, and what the probe's own two commands take
    assert "error" not in here.run("doctor", code=None).stdout


def test_a_full_server_refuses_in_a_sentence(own_server: Server, hosts: Callable[..., Host]) -> None:
    """Nothing is half stored, status 75; and when there is room again it goes on."""
    here = hosts("here")
    kept = here.enqueue("true")
    storage = open_storage({"url": own_server.url})
    storage._link.ask("CONFIG", "SET", "maxmemory", "100kb")
    refused = here.run("enqueue", "--", "true", code=75)
    assert "out of memory" in refused.stderr and refused.stderr.count("\n") == 1
    with pytest.raises(StorageFull):
        storage.enqueue([NewJob("true")] * 50)
    assert [job.id for job in storage.find().jobs] == [kept]
    storage._link.ask("CONFIG", "SET", "maxmemory", "0")
    here.enqueue("true")
    assert not [finding for finding in storage.check() if finding.level == "error"]
    storage.close()


def test_a_server_that_was_emptied_ends_its_pools(own_server: Server, hosts: Callable[..., Host]) -> None:
    """FLUSHALL took the queue away: a pool says so and ends with 78, instead of working for one that is not there."""
    here = hosts("here")
    pool = here.start()
    id = here.enqueue("sleep 1")
    here.await_state(id, "processing")
    storage = open_storage({"url": own_server.url})
    storage._link.ask("FLUSHALL")
    with pytest.raises(StorageInvalid, match="FLUSHALL"):
        storage.enqueue([NewJob("true")])
    assert pool.wait(30) == 78, here.log()
    assert "are gone" in here.log() and "Traceback" not in here.log()
    assert here.run("enqueue", "--", "true").stdout.strip() == "1", "a new queue is begun"
    storage.close()


def test_an_evicting_policy_is_refused(own_server: Server, hosts: Callable[..., Host]) -> None:
    """It would throw jobs away without a word."""
    here = hosts("here")
    here.enqueue("true")
    storage = open_storage({"url": own_server.url})
    storage._link.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert "noeviction" in here.run("enqueue", "--", "true", code=78).stderr
    assert any(finding.level == "error" and "allkeys-lru" in finding.text for finding in storage.check())
    storage.close()


class Impostor:
    """Something else that listens: says *word* to whoever comes, or nothing."""

    def __init__(self, word: bytes) -> None:
        self.port = free_port()
        self._word = word
        self._door = socket.create_server(("127.0.0.1", self.port))
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            self._clients.append(client)
            if self._word:
                client.sendall(self._word)

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        for each in (self._door, *self._clients):
            each.close()


@pytest.mark.parametrize(
    ("word", "code", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 78, "not a Redis server"),
        (b"", 75, "no answer in time"),
        (b"$20\r\nredis_version:6.0.16\r\n$0\r\n\r\n", 78, "this is Redis 6.0.16; queuectl needs 6.2 or newer"),
    ],
    ids=["a web server", "one that never answers", "one that is too old"],
)
def test_what_is_no_redis_server_is_named(tmp_path: Path, word: bytes, code: int, says: str) -> None:
    """One sentence, no traceback; 78 for what will not change by itself."""
    impostor = Impostor(word)
    host = Host(tmp_path / "host", f"redis://127.0.0.1:{impostor.port}", more='timeout = "0.3s"\npatience = "0s"\n')
    try:
        said = host.run("status", code=code).stderr
        assert says in said and said.count("\n") == 1 and str(impostor.port) in said
    finally:
        impostor.close()


def test_what_does_not_speak_tls_is_named() -> None:
    """The numbers of its errors are not those of the system: 1 is no missing permission."""
    impostor = Impostor(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    try:
        with pytest.raises(StorageInvalid, match="TLS cannot be spoken there"):
            open_storage({"url": f"rediss://127.0.0.1:{impostor.port}", "patience": 0.0})
    finally:
        impostor.close()


def test_where_nobody_listens_a_command_gives_up_after_its_patience(tmp_path: Path) -> None:
    """Status 75: try again later. A pool goes on trying."""
    port = free_port()
    host = Host(tmp_path / "host", f"redis://127.0.0.1:{port}", more='patience = "0.3s"\n')
    said = host.run("enqueue", "--", "true", code=75).stderr
    assert "cannot be reached: connection refused" in said and said.count("\n") == 1
    for url in ("http://127.0.0.1", "redis://:s3cret@h:port", "redis://127.0.0.1/x", "redis://h?x=1", "unix://x"):
        other = Host(tmp_path / uuid.uuid4().hex, url)
        wrong = other.run("status", code=78).stderr
        assert "storage.redis.url" in wrong and "s3cret" not in wrong


# -- time --------------------------------------------------------------------------------------------

LEASE = 3.0
#: Says every 20 ms that it runs, and under which attempt; the second attempt ends by itself.
TICKS = (
    "import os, sys, time\n"
    'n, f = os.environ["QUEUECTL_ATTEMPT"], os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n'
    'end = time.time() + (600 if n == "1" else 2)\n'
    'while time.time() < end: os.write(f, f"{n} {time.time()}\\n".encode()); time.sleep(0.02)\n'
)


def gap_in(journal: Path) -> float:
    """Seconds between the last sign of the first attempt and the first one of the second."""
    moments: dict[str, list[float]] = {}
    for line in journal.read_text().splitlines():
        attempt, moment = line.split()
        moments.setdefault(attempt, []).append(float(moment))
    return min(moments["2"]) - max(moments["1"])


def test_a_pool_that_stands_still_is_outlived_by_nothing_of_its_own(hosts: Callable[..., Host], tmp_path: Path) -> None:
    """Stopped, swapped out: its workers have clocks of their own, and end their jobs before another host has them."""
    more = f'\n[worker]\nlease = "{LEASE:g}s"\nheartbeat = "0.5s"\n'
    here, there = hosts("here", more), hosts("there", more)
    journal = tmp_path / "journal"
    frozen = here.start()
    id = there.run("enqueue", "--", "python3", "-c", TICKS, str(journal)).stdout.strip()
    until(journal.exists, "it runs")
    there.start()
    frozen.send_signal(signal.SIGSTOP)
    try:
        job = there.await_state(id, "completed", deadline=10 * LEASE)
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert job["attempts"] == 2
    assert (gap := gap_in(journal)) > 0, f"it ran in two places for {-gap:.2f} s"
    after = here.await_state(id, "completed")
    assert after["attempts"] == 2


# -- the network ------------------------------------------------------------------------------------


class Network:
    """A server and some hosts, each in a network namespace of its own, on one bridge in the server's."""

    def __init__(self, hosts: int) -> None:
        self.tag = uuid.uuid4().hex[:6]
        self.names = [f"qr{self.tag}{n}" for n in range(hosts + 1)]  # the first is the server's
        self.links = [f"v{self.tag}{n}" for n in range(hosts + 1)]
        for name in self.names:
            self.ip("netns", "add", name)
            self.ip("-n", name, "link", "set", "lo", "up")
        center = self.names[0]
        self.ip("-n", center, "link", "add", "br0", "type", "bridge")
        self.ip("-n", center, "addr", "add", "10.99.0.1/24", "dev", "br0")
        self.ip("-n", center, "link", "set", "br0", "up")
        for n in range(1, hosts + 1):
            self.ip(
                "link",
                "add",
                self.links[n],
                "netns",
                center,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                self.names[n],
            )
            self.ip("-n", center, "link", "set", self.links[n], "master", "br0", "up")
            self.ip("-n", self.names[n], "addr", "add", f"10.99.0.{n + 1}/24", "dev", "eth0")
            self.ip("-n", self.names[n], "link", "set", "eth0", "up")

    @staticmethod
    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (words, done.stderr)

    def inside(self, n: int) -> tuple[str, ...]:
        return ("nsenter", f"--net=/run/netns/{self.names[n]}")

    def cut(self, n: int) -> None:
        self.ip("-n", self.names[0], "link", "set", self.links[n], "down")

    def heal(self, n: int) -> None:
        self.ip("-n", self.names[0], "link", "set", self.links[n], "up")

    def close(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.fixture
def network() -> Iterator[Network]:
    if os.getuid() != 0:
        missing("network namespaces are root's")
    made = Network(3)
    yield made
    made.close()


@pytest.mark.timeout(300)
def test_a_host_that_is_cut_off_ends_its_jobs_before_they_run_elsewhere(network: Network, tmp_path: Path) -> None:
    """For three leases: its workers end their own jobs, another host takes over, and nothing ran in two places."""
    server = Server("redis", "--protected-mode", "no", port=6379, host="10.99.0.1")
    server.prefix = (*network.inside(0), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    server.start()
    hosts = [
        Host(
            tmp_path / f"host{n}",
            server.url,
            more=f'timeout = "1s"\n\n[worker]\nlease = "{LEASE:g}s"\nheartbeat = "0.5s"\n',
            prefix=network.inside(n),
        )
        for n in (1, 2, 3)
    ]
    journal = tmp_path / "journal"
    try:
        hosts[0].start()
        id = hosts[1].run("enqueue", "--", "python3", "-c", TICKS, str(journal)).stdout.strip()
        until(journal.exists, "it runs on the first host")
        hosts[1].start()
        hosts[2].start()
        network.cut(1)
        cut = time.monotonic()
        job = hosts[1].await_state(id, "completed", deadline=6 * LEASE)
        time.sleep(max(0.0, cut + 3 * LEASE - time.monotonic()))  # it is cut off for so long, whatever happens
        network.heal(1)
        assert job["attempts"] == 2
        gap = gap_in(journal)
        print(f"ended {gap:.2f} s before it began elsewhere")
        assert gap > 0, f"it ran in two places for {-gap:.2f} s"
        again = hosts[1].enqueue("true", queue="only-here")
        hosts[0].start("--queues", "only-here")
        hosts[0].await_state(again, "completed")
        until(lambda: "the storage answers again" in hosts[0].log(0), "the pool is back")
        until(lambda: f"job {id}: its result came too late and was refused" in hosts[0].log(0), "its result is refused")
        after = hosts[1].json("show", id)
        assert (after["state"], after["attempts"]) == ("completed", 2)
        assert "error" not in hosts[1].run("doctor", code=None).stdout
    finally:
        for host in hosts:
            host.close()
        server.close()
