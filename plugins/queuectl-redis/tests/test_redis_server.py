"""What is asked of the server: one hash tag, silence while nobody waits, replicas; and what its settings can lose."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from queuectl_redis.storage import RedisStorage, open_storage
from redis_servers import Server, free_port, missing, until

from queuectl.api.errors import StorageBusy, StorageError, StorageInvalid
from queuectl.api.model import Action, Claim, NewJob, Outcome, OutcomeKind, Settlement, State, Turn, Where

DONE = Outcome(OutcomeKind.EXITED, 0, 1, 2)


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server whose settings a test may change."""
    server = Server("redis", port=free_port()).start()
    yield server
    server.close()


def completed(claim: Claim) -> Settlement:
    return Settlement(claim.job.id, claim.token, State.COMPLETED, DONE, tries=1, stdout=b"x")


def test_all_keys_have_one_hash_tag(own_server: Server) -> None:
    """A cluster keeps what has one tag in one place, and a step may touch nothing else."""
    storage = open_storage({"url": own_server.url, "prefix": "mine"})
    jobs = [NewJob("true", id=f"job{n}", unique_key=f"key{n}", tags=("a",), queue=f"q{n}") for n in range(4)]
    storage.enqueue([*jobs, NewJob("true", run_at=10**13)])
    for claim in storage.exchange(Turn("pool", want=3)).claims:
        storage.put_output(claim.job, claim.job.attempts, "stderr", 0, b"long")
        storage.exchange(Turn("pool", (completed(claim),)))
    storage.set_queue("q1", paused=True)
    storage.apply(Action.CANCEL, Where(ids=("job3",)))
    keys = storage._link.ask("KEYS", "*")
    assert len(keys) > 20 and [key for key in keys if not key.startswith(b"{mine}:")] == []
    storage.close()


def test_nothing_is_published_while_every_pool_is_busy(fresh: Callable[[], Callable[[], RedisStorage]]) -> None:
    """A pool that had its fill asks again by itself; one that did not is woken."""
    storage = fresh()()

    def published() -> int:
        for line in storage._link.ask("INFO", "commandstats").decode().splitlines():
            if line.startswith("cmdstat_publish:"):
                return int(line.partition("calls=")[2].partition(",")[0])
        return 0

    storage.enqueue([NewJob("true")] * 3)
    (claim,) = storage.exchange(Turn("pool", want=1)).claims
    begin = published()
    storage.enqueue([NewJob("true")])
    storage.exchange(Turn("pool", (completed(claim),), want=3))  # three were there
    storage.enqueue([NewJob("true")])
    assert published() == begin
    assert len(storage.exchange(Turn("pool", want=5)).claims) == 1  # and now it waits
    assert published() == begin
    storage.enqueue([NewJob("true")])
    assert published() > begin
    storage.close()


def test_with_replicas_asked_for_a_change_counts_when_they_have_it(own_server: Server) -> None:
    options = {"url": own_server.url, "wait_replicas": 1, "timeout": 2.0, "patience": 0.0}
    storage = open_storage(options)
    with pytest.raises(StorageBusy, match="stored, but only 0 of 1 replicas have it"):
        storage.enqueue([NewJob("true", id="alone")])
    replica = Server("redis", "--replicaof", "127.0.0.1", str(own_server.port)).start()
    try:
        until(lambda: b"state=online" in storage._link.ask("INFO", "replication"), "the replica follows")
        storage.enqueue([NewJob("true", id="both")])
        copy = open_storage({"url": own_server.url})
        assert {job.id for job in copy.find().jobs} == {"alone", "both"}
        copy.close()
    finally:
        replica.close()
        storage.close()


@pytest.fixture
def tls_server() -> Iterator[tuple[str, str]]:
    """The address of a server that speaks TLS, and the file with its certificate."""
    openssl = shutil.which("openssl") or missing("no openssl here")
    server = Server("redis")
    certificate, key = str(server.folder / "certificate.pem"), str(server.folder / "key.pem")
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=queuectl", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([openssl, *words], check=True, capture_output=True)
    os.chmod(key, 0o644)  # the server is another user's
    port = free_port()
    files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate)
    server.settings = ("--tls-port", str(port), "--tls-auth-clients", "no", *files)
    server.start()
    yield f"rediss://127.0.0.1:{port}", certificate
    server.close()


def test_over_tls_the_server_has_to_be_the_one_that_was_meant(tls_server: tuple[str, str], own_server: Server) -> None:
    """A certificate that nobody vouches for is refused for what it is, and so is a server without any."""
    url, certificate = tls_server
    storage = open_storage({"url": url, "ca": certificate})
    storage.enqueue([NewJob("true", id="sealed")])
    assert [job.id for job in storage.find().jobs] == ["sealed"]
    storage.close()
    with pytest.raises(StorageInvalid, match="its certificate is not trusted"):
        open_storage({"url": url, "patience": 0.0})
    with pytest.raises(StorageError):
        open_storage({"url": url.replace("rediss:", "redis:"), "patience": 0.0})


def test_the_doctor_says_what_the_servers_settings_can_lose(own_server: Server) -> None:
    storage = open_storage({"url": own_server.url})

    def said() -> tuple[str, str]:
        (finding,) = (each for each in storage.check() if each.id == "durability")
        assert finding.level == "ok" or finding.advice.startswith("CONFIG SET")
        return finding.level, finding.text

    level, text = said()
    assert level == "warning" and "all jobs since its last snapshot are lost" in text
    storage._link.ask("CONFIG", "SET", "appendonly", "yes")
    for sync, lost in (("everysec", "about a second of"), ("no", "up to half a minute of")):
        storage._link.ask("CONFIG", "SET", "appendfsync", sync)
        level, text = said()
        assert level == "warning" and f"appendfsync is {sync}" in text and lost in text
    storage._link.ask("CONFIG", "SET", "appendfsync", "always")
    assert said()[0] == "ok"
    storage.close()
