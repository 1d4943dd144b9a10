"""What an operator should know: whether figures and lines agree, and what the server's settings can lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from queuectl.api.model import Finding

from .link import Refusal
from .rows import text_of

if TYPE_CHECKING:
    from .link import Link

LOOKED_AT = 200  # jobs in one script
SAID = 5  # sentences about what is wrong


def check(link: Link) -> list[Finding]:
    """Everything, from the figures to the settings."""
    return [_counts(link), _jobs(link), *_server(link)]


def _counts(link: Link) -> Finding:
    wrong = [text_of(sentence) for sentence in link.step("check_counts")]
    if wrong:
        return Finding("error", f"kept figures are wrong: {'; '.join(wrong[:SAID])}", "report this", "counts")
    return Finding("ok", "the kept figures agree with the jobs", "", "counts")


def _jobs(link: Link) -> Finding:
    after, seen, wrong = b"0", 0, list[str]()
    while True:
        n, last, said = link.step("check_jobs", after, LOOKED_AT)
        seen += n
        wrong += [text_of(sentence) for sentence in said]
        if n < LOOKED_AT:
            break
        after = last
    if wrong:
        text = f"{len(wrong)} of {seen} jobs are not where they should be: {'; '.join(wrong[:SAID])}"
        return Finding("error", text, "report this", "integrity")
    return Finding("ok", f"{seen} jobs, each where it should be", "", "integrity")


def _server(link: Link) -> list[Finding]:
    about = _info(link)
    kind = "Valkey " + about["valkey_version"] if "valkey_version" in about else "Redis " + about["redis_version"]
    return [
        Finding("ok", f"{kind} at {link.address}, {about.get('used_memory_human', '?')} in use", "", "server"),
        _memory(about),
        _durability(link, about),
    ]


def _info(link: Link) -> dict[str, str]:
    link.step("clock")  # so that we are connected
    lines = text_of(link.ask("INFO")).splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines) if value}


def _memory(about: dict[str, str]) -> Finding:
    most, policy = int(about.get("maxmemory", 0)), about.get("maxmemory_policy", "noeviction")
    if policy.startswith("allkeys"):
        return Finding(
            "error",
            f"maxmemory-policy is {policy}: when memory is short the server throws jobs away",
            "CONFIG SET maxmemory-policy noeviction, and put it into the server's configuration",
            "memory",
        )
    if not most:
        return Finding(
            "warning",
            "the server has no maxmemory: when the host is out of memory, the kernel ends it",
            "set maxmemory to what the host can spare, with maxmemory-policy noeviction",
            "memory",
        )
    used = int(about.get("used_memory", 0))
    level = "warning" if used > 0.8 * most else "ok"
    return Finding(
        level, f"{100 * used // most} % of maxmemory is in use", "prune, or raise it" * (level != "ok"), "memory"
    )


def _durability(link: Link, about: dict[str, str]) -> Finding:
    if about.get("aof_enabled") != "1":
        return Finding(
            "warning",
            "appendonly is off: when the server ends unexpectedly, all jobs since its last snapshot are lost",
            "CONFIG SET appendonly yes, and put it into the server's configuration",
            "durability",
        )
    sync = _setting(link, "appendfsync")
    if sync == "always":
        return Finding("ok", "appendfsync is always: what was accepted survives a power cut", "", "durability")
    if sync is None:
        return Finding(
            "warning", "the server does not tell its appendfsync: up to a second may be lost", "", "durability"
        )
    lost = "about a second" if sync == "everysec" else "up to half a minute"
    return Finding(
        "warning",
        f"appendfsync is {sync}: when the server's host crashes, {lost} of accepted jobs and results can be lost, and "
        "jobs that were done run again",
        "CONFIG SET appendfsync always, where that matters more than speed",
        "durability",
    )


def _setting(link: Link, name: str) -> str | None:
    """A setting, where the server lets us see it: managed ones often do not."""
    try:
        answer = link.ask("CONFIG", "GET", name)
    except Refusal:
        return None
    return text_of(answer[1]) if len(answer) > 1 else None
