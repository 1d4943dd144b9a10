"""Ends a process tree on this host and proves that nothing of it is left.

A job may daemonize, change its session, clear its environment or ignore every polite signal. Whoever runs jobs is a
*subreaper*: what a job leaves behind becomes its child, so "no child" (ECHILD) *means* that nothing of the job lives.
Linux only; elsewhere, and where a facility is switched off (``QUEUECTL_NO_SUBREAPER``, ``QUEUECTL_NO_CGROUP``,
``QUEUECTL_NO_PIDFD``, for tests of the fallbacks), weaker means remain: process group, session, environment mark.

Loaded by executors, workers, the keeper and the pool; never by commands that only enqueue.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

if sys.platform == "win32":
    raise ImportError("process trees are ended on Linux and macOS only")

PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
#: Rounds of killing direct children before the tree is stopped as a whole first; a fork bomb needs that.
PATIENCE_ROUNDS, PATIENCE_SECONDS = 20, 0.2
#: A tree that has not ended by then holds something that cannot be killed (D state, setuid).
TREE_DEADLINE = 5.0


def _off(facility: str) -> bool:
    return bool(os.environ.get(f"QUEUECTL_NO_{facility}"))


# --- This process as a reaper ------------------------------------------------------------------


def become_subreaper() -> bool:
    """Make orphans among this process's descendants its children. Not inherited over fork. False where impossible."""
    if not sys.platform.startswith("linux") or _off("SUBREAPER"):
        return False
    return bool(_prctl()(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def is_subreaper() -> bool:
    """Whether orphans among this process's descendants become its children."""
    if not sys.platform.startswith("linux") or _off("SUBREAPER"):
        return False
    import ctypes

    answer = ctypes.c_int(0)
    asked = _prctl()(PR_GET_CHILD_SUBREAPER, ctypes.byref(answer), 0, 0, 0)
    return asked == 0 and answer.value == 1


@lru_cache(maxsize=1)
def _prctl() -> Callable[..., int]:
    """Looked up once: a keeper's workers share what that needs, a quarter of a megabyte."""
    import ctypes

    found: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
    return found


def children(pid: int | str = "self") -> list[int]:
    """The direct children of a process, zombies included; empty if it is gone or the system does not tell."""
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
        except OSError:
            continue
    return found


def reap(on_exit: Callable[[int, int], None] | None = None) -> bool:
    """Collect every child that has ended, without waiting. False if there is no child at all."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        if on_exit is not None:
            on_exit(pid, status)


def end_children(
    spare: Collection[int] = (),
    *,
    on_exit: Callable[[int, int], None] | None = None,
    deadline: float = TREE_DEADLINE,
) -> int:
    """Kill every child of this process but *spare* (and their trees), and theirs as they fall to us; how many are left.

    Only direct children are killed at first: they cannot be recycled before we reap them, so no innocent process is
    ever hit, and a parent dies before its children, so respawners cannot respawn. Children that end are reaped and
    told to *on_exit*, also spared ones. Returns when nothing is left or after *deadline* seconds.
    """
    started = time.monotonic()
    rounds, pause = 0, 0.0005
    while True:
        if not reap(on_exit):
            return 0
        targets = [pid for pid in children() if pid not in spare]
        if not targets:
            return 0
        waited = time.monotonic() - started
        if waited > deadline:
            return len(targets)
        if rounds > PATIENCE_ROUNDS or waited > PATIENCE_SECONDS:
            stop_then_kill(targets)
        else:
            for pid in targets:
                send(pid, signal.SIGKILL)
        rounds += 1
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def stop_then_kill(roots: Iterable[int]) -> None:
    """Freeze whole trees with SIGSTOP until nothing new appears in them, then kill all: nothing can fork meanwhile."""
    stopped: set[int] = set()
    for _ in range(100):
        frontier, fresh = list(roots), []
        while frontier:
            pid = frontier.pop()
            if pid not in stopped:
                fresh.append(pid)
            frontier += children(pid)
        if not fresh:
            break
        for pid in fresh:
            send(pid, signal.SIGSTOP)
            stopped.add(pid)
    for pid in stopped:
        send(pid, signal.SIGKILL)


def send(pid: int, number: int) -> bool:
    """Signal a process; False if it is gone or not ours to signal."""
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def send_group(leader: int, number: int) -> bool:
    """Signal the process group that *leader* leads; False if it is gone."""
    try:
        os.killpg(leader, number)
    except OSError:
        return False
    return True


# --- Who a process is --------------------------------------------------------------------------


def open_pidfd(pid: int) -> int | None:
    """A descriptor that polls readable when *pid* ends, or None where the system has none."""
    if not sys.platform.startswith("linux") or _off("PIDFD"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.ENOSYS, errno.EPERM, errno.EINVAL):
            return None
        raise


def pidfd_inode(pidfd: int) -> int:
    """What tells a process from every other of this boot (Linux ≥ 6.9: one inode per process)."""
    return os.fstat(pidfd).st_ino


def is_same(pid: int, inode: int) -> bool:
    """Whether *pid* is still the process whose pidfd had this inode. Without pidfds: whether the pid exists."""
    pidfd = open_pidfd(pid)
    if pidfd is None:
        return inode == 0 and send(pid, 0)
    try:
        return inode == 0 or pidfd_inode(pidfd) == inode
    finally:
        os.close(pidfd)


def started_at(pid: int) -> float | None:
    """When a process was started, on the wall clock as it is set now; None if it is gone or nobody can tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        up = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, ValueError, IndexError):
        return None
    return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")


@lru_cache(maxsize=1)
def boot_id() -> str:
    """This boot of this host; pids and inodes of another one mean nothing."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def pid_namespace() -> int:
    """The namespace that pids are counted in; those of another one mean nothing here."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


# --- The trees of the dead: when neither parent nor keeper is there to reap ------------------------


def marked(mark: str, sessions: Collection[int] = ()) -> list[int]:
    """Live processes with *mark* (``NAME=value``) in their environment or in one of *sessions*, zombies left out.

    Not those of a session that bear another mark of the same name: they are somebody else's.
    """
    needle = mark.encode()
    name = needle.partition(b"=")[0] + b"="
    found = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                state, _, _, session = file.read().rpartition(b")")[2].split()[:4]
            if state in (b"Z", b"X"):
                continue
            marks = _variables(entry, name)
            if needle not in marks and (marks or int(session) not in sessions):
                continue
        except (OSError, ValueError):
            continue
        if int(entry) != os.getpid():
            found.append(int(entry))
    return found


def _variables(pid: str, name: bytes) -> list[bytes]:
    """What a process was given under *name* (``NAME=``); nothing if it is not ours to ask."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return [word for word in file.read().split(b"\0") if word.startswith(name)]
    except OSError:
        return []


def end_marked(mark: str, sessions: Collection[int] = (), *, deadline: float = TREE_DEADLINE) -> int:
    """Kill what ``marked`` finds until it finds nothing; how many are left after *deadline* seconds.

    For the tree of a worker that died together with its keeper. It cannot see what cleared its environment *and* left
    the session; only a cgroup can (``end_cgroup``).
    """
    started = time.monotonic()
    pause = 0.001
    hit: dict[int, bytes] = {}
    while found := {*marked(mark, sessions), *[pid for pid, born in hit.items() if _birth(pid) == born]}:
        if time.monotonic() - started > deadline:
            return len(found)
        hit.update({pid: born for pid in found if (born := _birth(pid))})
        stop_then_kill([*found])
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return 0


def _birth(pid: int) -> bytes:
    """What tells a process from a later one of its number, for as long as it is not dead: on its way it gives up its
    environment before its files, and then bears no mark."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return b""
    return b"" if fields[0] in (b"Z", b"X") else fields[19]


# --- Control groups ----------------------------------------------------------------------------


def cgroup_base() -> str | None:
    """The directory of this process's own cgroup (v2) if groups can be made in it, else None."""
    if _off("CGROUP"):
        return None
    try:
        with open("/proc/self/cgroup") as file:
            own = next(line.rstrip("\n")[3:] for line in file if line.startswith("0::"))
        with open("/proc/self/mounts") as file:
            mount = next(fields[1] for line in file if (fields := line.split())[2] == "cgroup2")
    except (OSError, StopIteration, IndexError):
        return None
    base = mount + own.rstrip("/")
    return base if os.access(base, os.W_OK) and os.path.exists(base + "/cgroup.procs") else None


def enter_cgroup(base: str, name: str) -> str | None:
    """Make the group *name* under *base* and move this process into it; its path, or None if it cannot be."""
    path = f"{base}/{name}"
    try:
        os.mkdir(path)
        with open(path + "/cgroup.procs", "w") as file:
            file.write("0")
    except OSError:
        remove_cgroup(path)
        return None
    return path


def leave_cgroup(path: str) -> None:
    """Step out of a group into its parent and remove it."""
    try:
        with open(os.path.dirname(path) + "/cgroup.procs", "w") as file:
            file.write("0")
    except OSError:
        pass
    remove_cgroup(path)


def end_cgroup(path: str) -> bool:
    """Kill everything in a group at once; False if the group is gone or cannot be killed so."""
    try:
        with open(path + "/cgroup.kill", "w") as file:
            file.write("1")
    except OSError:
        return False
    return True


def remove_cgroup(path: str) -> bool:
    """Remove an empty group; False if it still holds something (a zombie counts): try again later."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
