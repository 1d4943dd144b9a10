"""The filter of jobs: what a line means, and that it finds the same in every storage."""

from __future__ import annotations

import pytest

from queuectl.api.errors import BadInput
from queuectl.api.model import State, Where
from queuectl.api.storage import Ability
from queuectl.core import filters
from queuectl.core.filters import Filter, parse, word
from queuectl.testing.memory import MemoryStorage
from queuectl.testing.subjects.subject import NOW, dead, hand_in, job, put, take


class Plain(MemoryStorage):
    """A storage that keeps no faults."""

    abilities = MemoryStorage.abilities - {Ability.FAULTS}


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("", Filter()),
        ("state:dead", Filter(Where(states=(State.DEAD,)))),
        ("state:dlq,running state:dead", Filter(Where(states=(State.DEAD, State.PROCESSING)))),
        ("queue:a queue:b,c", Filter(Where(queues=("a", "b", "c")))),
        ('tag:"two words"', Filter(Where(tags=("two words",)))),
        ("id:12 id:x", Filter(Where(ids=("12", "x")))),
        ("exit:137,1", Filter(Where(), (137, 1))),
        ("fault:0f0f", Filter(Where(faults=("0f0f",)))),
        ("since:2h", Filter(Where(since=NOW - 7_200_000))),
        ("rsync -a", Filter(Where(text="rsync -a"))),
        ("http://x a:b", Filter(Where(text="http://x a:b"))),
        ('text:"state:dead"', Filter(Where(text="state:dead"))),
    ],
)
def test_a_line_means(line: str, meant: Filter) -> None:
    assert parse(line, NOW) == meant


@pytest.mark.parametrize("line", ["state:pendign", "exit:x", "exit:1000", "since:soon", "x" * 1001, "a\0b"])
def test_what_cannot_be_meant_is_refused(line: str) -> None:
    with pytest.raises(BadInput):
        parse(line, NOW)


def test_a_word_means_what_it_was_made_of() -> None:
    assert parse(word("tag", "a b")).where.tags == ("a b",)
    assert parse(word("queue", "mail")).where.queues == ("mail",)


@pytest.mark.parametrize("kind", [MemoryStorage, Plain])
@pytest.mark.parametrize("size", [1, 2, 7, 300])
def test_all_pages_together_are_all_that_match(kind: type[MemoryStorage], size: int) -> None:
    storage = kind()
    put(storage, *[job(f"get {n}" if n % 3 else f"put {n}") for n in range(20)])
    for claim in take(storage, 20):
        hand_in(storage, dead(claim)._replace(reason="exit 4"))
    groups, _ = filters.faults(storage, 10)
    assert [group.n for group in groups] == [13, 7]
    for line in (f"fault:{groups[1].fault}", f"fault:{groups[1].fault} exit:4", "put exit:4", "exit:4 put"):
        found = [job.spec.command for job in parse(line).all(storage, size=size)]
        assert sorted(found) == sorted(f"put {n}" for n in range(0, 20, 3)), line
    assert len(list(parse("exit:4").all(storage, limit=5, size=size))) == 5
    assert list(parse("exit:5").all(storage, size=size)) == []
    assert list(parse(f"fault:{groups[0].fault} state:pending").all(storage, size=size)) == []
