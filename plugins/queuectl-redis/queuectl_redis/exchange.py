"""A turn of a pool: what ended, as words of the step ``exchange``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queuectl.api.model import Exchange, Settlement, State, Turn, bucket_of, fault_of

from .rows import NUMBER, Batch, claim_of, command_of, maybe, outcome_text, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .link import Link


def exchange(link: Link, turn: Turn) -> Exchange:
    batch = Batch()
    commands = _commands(link, turn)
    settlements = [word for each in turn.settlements for word in _words(each, batch, commands)]
    claims, refused, due, more, cancel, unstored, watched = link.writes(
        "exchange",
        turn.pool,
        round(1000 * turn.lease),
        max(0, turn.want),
        *_ceilings(turn.queues),
        *batch.head(),
        len(turn.settlements),
        *settlements,
        now=turn.now,
        patient=False,
    )
    return Exchange(
        tuple([claim_of(row) for row in claims]),
        tuple([text_of(id) for id in refused]),
        int(due) if due else None,
        bool(more) and len(claims) < turn.want,
        tuple([text_of(id) for id in cancel]),
        tuple([text_of(id) for id in unstored]),
        tuple([text_of(id) for id in watched]),
    )


def _ceilings(queues: Mapping[str, int | None] | None) -> list[Any]:
    if queues is None:
        return [""]
    words: list[Any] = [len(queues)]
    for name, most in queues.items():
        words += [name, "" if most is None else max(0, most)]
    return words


def _commands(link: Link, turn: Turn) -> dict[str, str]:
    """What the jobs that die were asked to do: a fault is of the command, and commands never change."""
    dying = [each.id for each in turn.settlements if each.state is State.DEAD]
    if not dying:
        return {}
    specs = link.step("commands", len(dying), *dying, patient=False)
    return {id: command_of(spec) for id, spec in zip(dying, specs, strict=True) if spec}


def _words(made: Settlement, batch: Batch, commands: Mapping[str, str]) -> list[Any]:
    outcome = made.outcome
    ms = 0 if outcome is None else max(0, outcome.ended_at - outcome.started_at)
    fault = fault_of(commands[made.id], made.reason) if made.id in commands else ""
    words = [
        made.id, made.token, NUMBER[made.state], made.tries, made.losses, made.reason, int(made.released),
        round(1000 * (made.delay or 0)), "" if outcome is None else outcome_text(outcome),
        "" if outcome is None else outcome.kind.value, ms, bucket_of(ms), maybe(made.stdout), maybe(made.stderr), fault,
        len(made.then),
    ]  # fmt: skip
    for job in made.then:
        words += batch.words(job)
    words.append(2 * len(made.deliveries))
    for delivery in made.deliveries:
        words += [delivery.target, delivery.event.text()]
    return words
