"""Told at least once: whatever receivers do, and whoever is killed, jobs keep their pace and no event is lost.

Receivers are real, on loopback; what they were told is the evidence.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driver import Driver, processes_with, until
from needed import missing

from queuectl.api.model import OutboxStat
from queuectl.builtin.sqlite.storage import SQLiteStorage
from queuectl.testing.receiver import Receiver
from queuectl.work.courier_outbox import waited_for_a_core, way_given

BAD = ("hangs", "drips", "error", "flood-head", "closes", "redirect", "rubbish")
Receivers = Callable[[str], Receiver]


def configure(
    driver: Driver, receivers: dict[str, Receiver], more: str = "", route: str = "", patience: float = 0.4
) -> None:
    """One route to all of them, and little *patience*: more where a slow machine must not have one told twice."""
    hooks = "".join(
        f'[notifier.{name}]\nuse = "webhook"\nurl = "{receiver.url}"\nsecret = "s3cret"\n'
        f"timeout = {patience}\n"
        f'allow_private = ["127.0.0.0/8"]\n'
        for name, receiver in receivers.items()
    )
    to = f"[routes.all]\nto = {json.dumps(list(receivers))}\n{route}" if receivers else ""
    path = driver.folder / "queuectl.toml"
    path.write_text(f"{hooks}{to}\n[outbox]\ndeadline = {patience + 0.2}\n{more}")
    driver.env["QUEUECTL_CONFIG"] = str(path)


def told(receiver: Receiver) -> list[tuple[str, str]]:
    return [(document["type"].removeprefix("job."), document["job"]["id"]) for document in receiver.documents]


def outbox(driver: Driver) -> dict[str, dict[str, Any]]:
    """As people see it."""
    return {row["notifier"]: row for row in driver.json("status")["outbox"]}


def waiting(driver: Driver) -> dict[str, OutboxStat]:
    """The same, looked at often."""
    storage = SQLiteStorage(str(driver.db))
    try:
        return {stat.target: stat for stat in storage.outbox()}
    finally:
        storage.close()


def nothing_waits(driver: Driver) -> bool:
    return all(stat.waiting == 0 for stat in waiting(driver).values())


def courier_of(driver: Driver, target: str) -> list[int]:
    found = []
    for pid in processes_with(str(driver.db)):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"queuectl.work.courier_outbox" in words and target.encode() in words:
            found.append(pid)
    return found


def same_delivery_same_event(receiver: Receiver) -> None:
    """A delivery that is repeated has its own id, and nobody else's."""
    bodies: dict[str, bytes] = {}
    for request in receiver.requests:
        assert bodies.setdefault(request.id, request.body) == request.body
        assert json.loads(request.body)["delivery"] == request.id
    assert len({(d["type"], d["job"]["id"], d["timestamp"]) for d in map(json.loads, bodies.values())}) == len(bodies)


def test_everything_that_is_routed_is_told_once_and_nothing_else(driver: Driver, receiver_of: Receivers) -> None:
    receiver, other = receiver_of("fine"), receiver_of("fine")
    configure(
        driver,
        {"hook": receiver, "other": other},
        route='queues = ["mail"]\n[routes.urgent]\nto = ["other"]\nevents = ["completed"]\ntags = ["urgent"]\n',
        patience=10,
    )
    good = driver.enqueue("true", queue="mail")
    bad = driver.enqueue("exit 3", queue="mail", max_retries=0)
    later = driver.enqueue("true", queue="mail", run_at="+1h")
    driver.enqueue("true", queue="silent")
    urgent = driver.enqueue("true", queue="silent", tags=["urgent"])
    driver.run("cancel", later)
    driver.start("--until-empty").end()
    driver.run("retry", bad)
    wanted = [("enqueued", good), ("enqueued", bad), ("enqueued", later), ("cancelled", later), ("completed", good)]
    wanted += [("dead", bad), ("retried", bad)]
    assert outbox(driver)["hook"]["waiting"] == 1  # the last: nobody is there to tell it
    driver.start("--until-empty").end()
    wanted += [("dead", bad)]
    assert Counter(told(receiver)) == Counter(wanted)
    assert Counter(told(other)) == Counter([*wanted, ("completed", urgent)])
    assert {row["delivered"] for row in outbox(driver).values()} == {len(wanted), len(wanted) + 1}
    same_delivery_same_event(receiver)


def test_whatever_receivers_do_jobs_go_on_others_are_told_and_all_are_in_the_end(
    driver: Driver, receiver_of: Receivers
) -> None:
    bad = {mode: receiver_of(mode) for mode in BAD}
    fine = receiver_of("fine")
    configure(driver, {**bad, "fine": fine}, route='events = ["completed"]\n')
    pool = driver.start("--count", "2")
    ids = driver.run("enqueue", "--file", "-", input="true\n" * 5).stdout.split()
    until(lambda: len(fine.requests) == 5, "jobs go on, and the one that is fine has been told")
    until(lambda: all(waiting(driver)[mode].error for mode in BAD), "what is wrong is said of each")
    rows = outbox(driver)
    assert {mode: rows[mode]["waiting"] for mode in BAD} == dict.fromkeys(BAD, 5)
    assert rows["error"]["error"] == "127.0.0.1 answered 500" and rows["hangs"]["error"].endswith(" s")
    assert "secret" not in driver.run("status").stdout
    checks = [check for check in driver.json("doctor")["checks"] if check["id"] == "outbox"]
    assert {check["level"] for check in checks} == {"warning"} and len(checks) == len(BAD)
    for receiver in bad.values():
        receiver.mode = "fine"
    until(lambda: nothing_waits(driver), "all are told")
    pool.signal(signal.SIGTERM)
    assert pool.end() == 0
    for receiver in (*bad.values(), fine):
        same_delivery_same_event(receiver)
        assert {id for _, id in told(receiver)} == set(ids)
    assert all(row["error"] is None and row["dropped"] == 0 for row in outbox(driver).values())


@pytest.mark.parametrize("point", ["courier.taken", "courier.told"])
def test_a_courier_that_is_killed_costs_no_event_and_says_twice_what_it_had_told(
    driver: Driver, receiver_of: Receivers, point: str
) -> None:
    receiver = receiver_of("fine")
    driver.env |= {"QUEUECTL_POINT": point, "QUEUECTL_POINT_MARK": str(driver.folder / "mark")}
    configure(driver, {"hook": receiver}, route='events = ["completed"]\n', patience=1.5)
    pool = driver.start()
    id = driver.enqueue("true")
    pool.await_line("courier of hook ended (signal 9)")
    until(lambda: nothing_waits(driver), "it is told in the end")
    assert told(receiver) == [("completed", id)] * (2 if point == "courier.told" else 1)
    same_delivery_same_event(receiver)
    assert driver.job(id)["attempts"] == 1


def test_couriers_that_are_killed_at_random_lose_nothing(driver: Driver, receiver_of: Receivers) -> None:
    receiver = receiver_of("fine")
    configure(driver, {"hook": receiver}, route='events = ["completed"]\n')
    driver.start("--count", "2")
    lines = "".join("sleep 0.01\n" for _ in range(100))
    driver.run("enqueue", "--file", "-", input=lines)
    for told_by_then in (0, 20):
        until(lambda n=told_by_then: len(receiver.requests) > n and courier_of(driver, "hook"), "a courier is at work")  # type: ignore[misc]
        for pid in courier_of(driver, "hook"):
            os.kill(pid, signal.SIGKILL)
    until(lambda: len({id for _, id in told(receiver)}) == 100, "each was told", 60)
    until(lambda: nothing_waits(driver), "nothing waits", 60)
    same_delivery_same_event(receiver)


def test_a_pool_that_is_killed_leaves_what_waits_to_the_next(driver: Driver, receiver_of: Receivers) -> None:
    receiver = receiver_of("error")
    configure(driver, {"hook": receiver}, route='events = ["completed", "dead"]\n')
    first = driver.start()
    ids = [driver.enqueue("true"), driver.enqueue("exit 1", max_retries=0)]
    until(lambda: (stats := waiting(driver)) and stats["hook"].waiting == 2, "both have ended")
    first.signal(signal.SIGKILL)
    first.end()
    until(lambda: not courier_of(driver, "hook"), "couriers end with their pool")
    receiver.mode = "fine"
    receiver.requests.clear()
    driver.start()
    until(lambda: nothing_waits(driver), "the next pool tells")
    assert {id for _, id in told(receiver)} == set(ids)
    same_delivery_same_event(receiver)


def test_a_restart_loses_nothing(driver: Driver, receiver_of: Receivers) -> None:
    receiver = receiver_of("fine")
    configure(driver, {"hook": receiver}, route='events = ["completed"]\n')
    pool = driver.start()
    driver.run("enqueue", "--file", "-", input="sleep 0.05\n" * 30)
    until(lambda: receiver.requests, "it has begun")
    driver.run("worker", "restart")
    until(lambda: len({id for _, id in told(receiver)}) == 30, "each was told")
    assert pool.popen.poll() is None
    same_delivery_same_event(receiver)


def test_what_nobody_can_be_told_in_time_is_dropped_and_counted(driver: Driver, receiver_of: Receivers) -> None:
    configure(driver, {"hook": receiver_of("error")}, more="keep = 1\n", route='events = ["completed"]\n')
    pool = driver.start()
    driver.enqueue("true")
    until(lambda: "hook" in (stats := waiting(driver)) and stats["hook"].dropped == 1, "it is given up")
    assert nothing_waits(driver)
    pool.await_line("dropped: nobody could be told in 1 s")
    assert driver.json("metrics")["outbox"] == {"waiting": 0, "delivered": 0, "dropped": 1}
    (check,) = [check for check in driver.json("doctor")["checks"] if check["id"] == "outbox"]
    assert check["level"] == "warning" and "1 event for notifier hook was dropped" in check["text"]


STRANGERS = """
import os, signal, time
from queuectl.api import Notifier, Provider, hookimpl

class Bad(Notifier):
    def __init__(self, options, context):
        self.name = context.name
        if self.name == "raises-at-open":
            raise RuntimeError("no such host")
    def notify(self, events):
        if os.path.exists(os.environ["MENDED"]):
            with open(os.environ["MENDED"], "a") as file:
                file.write(f"{self.name} {[event.job.id for event in events]} {events[0].delivery}\\n")
            return
        if self.name == "hangs":
            time.sleep(1000)
        if self.name == "deaf":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(1000)
        if self.name == "exits":
            os._exit(3)
        if self.name == "forks":
            if os.fork():
                os._exit(4)
            signal.pause()
        if self.name == "leaves":
            raise SystemExit(0)

@hookimpl
def queuectl_notifiers():
    yield Provider("bad", Bad, durable=True)
"""


def test_a_strangers_notifier_that_hangs_exits_or_raises_holds_up_nobody(
    driver: Driver, receiver_of: Receivers
) -> None:
    fine = receiver_of("fine")
    names = ("hangs", "deaf", "exits", "forks", "leaves", "raises-at-open")
    mended = driver.folder / "mended"
    driver.env["MENDED"] = str(mended)
    (driver.folder / "bad.py").write_text(STRANGERS)
    tables = "".join(f'[notifier.{name}]\nuse = "bad"\n' for name in names)
    more = f'[routes.bad]\nto = {json.dumps(names)}\nevents = ["completed"]\n[plugins]\nfiles = ["./bad.py"]\n{tables}'
    configure(driver, {"fine": fine}, more=more, route='events = ["completed"]\n')
    pool = driver.start()
    driver.enqueue("true")
    until(lambda: fine.requests, "the one that is fine has been told")
    pool.await_line("courier of exits ended (exit 3)")
    pool.await_line("courier of forks ended (exit 4)")  # although what it left holds its line
    pool.await_line("courier of deaf ended")
    until(lambda: waiting(driver)["hangs"].error == "it took longer than 0.6 s", "it is interrupted")
    until(lambda: "no such host" in waiting(driver)["raises-at-open"].error, "it says what it raised")
    mended.write_text("")
    left = [name for name in names if name != "raises-at-open"]
    until(lambda: all(waiting(driver)[name].waiting == 0 for name in left), "all are told", 60)
    assert sorted(line.split()[0] for line in mended.read_text().splitlines()) == sorted(left)
    assert waiting(driver)["raises-at-open"].waiting == 1


def test_a_notifier_that_is_made_for_the_outbox_is_not_told_live(driver: Driver, receiver_of: Receivers) -> None:
    configure(driver, {"hook": receiver_of("fine")}, more='[queuectl]\nnotifiers = ["hook"]\n')
    for words in (("worker", "start"), ("config", "validate")):
        said = driver.run(*words, code=78).stderr
        assert '[queuectl] notifiers = "hook"' in said and "name it in a route, [routes.NAME] to" in said


def test_couriers_give_way_to_jobs(driver: Driver, receiver_of: Receivers) -> None:
    """By their niceness, and where each session is scheduled as one, by that of theirs."""
    receiver = receiver_of("hangs")
    configure(driver, {"hook": receiver})
    driver.enqueue("true")
    driver.start()
    until(lambda: receiver.requests, "it is told")
    (pid,) = courier_of(driver, "hook")
    assert os.getpriority(os.PRIO_PROCESS, pid) == 10
    session = Path(f"/proc/{pid}/autogroup")
    if session.exists() and session.read_text():
        assert session.read_text().split()[1:] == ["nice", "10"]


@pytest.mark.parametrize(
    ("used", "waited", "rest"),
    [
        pytest.param(0.04, 0.0, 0.0, id="nobody-else-wants-a-core"),
        pytest.param(0.04, 0.03, 0.8, id="twenty-times-as-long-as-it-worked"),
        pytest.param(0.2, 3.0, 1.0, id="never-for-long"),
    ],
)
def test_on_a_busy_machine_a_courier_rests_between_what_it_tells(used: float, waited: float, rest: float) -> None:
    assert way_given(used, waited) == pytest.approx(rest)


def test_a_courier_notices_that_it_has_to_wait_for_a_core() -> None:
    """One core, and somebody else on it."""
    if not Path("/proc/self/schedstat").exists():
        missing("this kernel does not tell who waits for a core")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = waited_for_a_core()

        def notices() -> bool:
            sum(range(2_000_000))  # longer than it may stay on the core
            return waited_for_a_core() - before > 0.05

        until(notices, "it waited")
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, allowed)


def test_a_command_is_told_too(driver: Driver) -> None:
    path = driver.folder / "told"
    configure(
        driver,
        {},
        more='[routes.r]\nto = ["program"]\nevents = ["dead"]\n[notifier.program]\nuse = "command"\n'
        f'argv = ["/bin/sh", "-c", "cat >> {path}"]\n',
    )
    id = driver.enqueue("exit 1", max_retries=0)
    driver.start("--until-empty").end()
    assert json.loads(path.read_text())["job"]["id"] == id


def test_no_route_no_row_and_no_courier(driver: Driver, receiver_of: Receivers) -> None:
    configure(driver, {"hook": receiver_of("fine")}, route='events = ["dead"]\n')
    driver.enqueue("true")
    pool = driver.launch("--until-empty")
    until(lambda: courier_of(driver, "hook") or pool.popen.poll() is not None, "it ends without a courier")
    assert pool.end() == 0 and driver.json("status")["outbox"] == []


def test_who_stores_knows_the_routes_without_loading_a_notifier(driver: Driver, receiver_of: Receivers) -> None:
    configure(driver, {"hook": receiver_of("fine")})
    code = (
        "import sys; from queuectl.cli import main; status = main(sys.argv[1:]);"
        "print(status, [name for name in sys.modules if 'webhook' in name or name in ('http.client', 'pluggy')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--db", str(driver.db), "enqueue", "--", "true"],
        env=driver.env,
        cwd=driver.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split(maxsplit=1)[1].strip() == "0 []", done
    assert waiting(driver)["hook"].waiting == 1
