"""What a pool tells its keeper, once, for all workers that it will fork."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api import trees

if TYPE_CHECKING:
    from queuectl.core.app import App
    from queuectl.core.plugins import Recipe

    from .output import Limits

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")

#: On a storage that other hosts share, a worker that is not renewed has ended its job so long before it could be given
#: away. It begins to end it no earlier than after this part of a lease: a job that is slow to end is killed in time.
ALONE_MARGIN, ALONE_LEAST = 5.0, 0.6


class Setup(NamedTuple):
    """Travels as JSON over the keeper's socket: it may hold secrets, and a command line can be read by everybody."""

    pool: str
    run_dir: str
    home: str
    arguments: list[str]  # the words that open the same App, for a worker that needs plugins
    hooks: bool  # whether a plugin has something to say about attempts
    hidden: list[str]  # names of environment variables that hold our secrets
    cgroup: str | None
    alone: float | None  # seconds a job may run on after its pool's lease was renewed; None: until it is done
    limit: int
    head: int
    tail: int
    warm_up: list[list[Any]]  # built-in components that every worker will need: kind and recipe
    lease: float = 0.0  # seconds after which another host may be given the job; 0: none ever is


def make_setup(app: App, pool: str, limits: Limits, lease: float) -> Setup:
    """The setup of a pool's workers. ConfigError if a component that the configuration names cannot be had."""
    return Setup(
        pool=pool,
        run_dir=app.run_dir,
        home=app.home,
        arguments=list(app.arguments),
        hooks=app.has_job_hooks,
        hidden=list(app.hidden_environment),
        cgroup=trees.cgroup_base(),
        alone=_alone(app, lease),
        lease=0.0 if _alone(app, lease) is None else lease,
        limit=limits.limit,
        head=limits.head,
        tail=limits.tail,
        warm_up=[[kind, list(recipe)] for kind, recipe in recipes_of(app) if is_ours(recipe.module)],
    )


def recipes_of(app: App) -> list[tuple[str, Recipe]]:
    """Every executor and backoff that the configuration names. ConfigError if one cannot be had."""
    main, queues = app.config.main, app.config.queues.values()
    executors = {main.executor, *(queue.executor for queue in queues if queue.executor)}
    backoffs = {main.backoff, *(queue.backoff for queue in queues if queue.backoff)}
    recipes: list[tuple[str, Recipe]] = [("executor", app.executor_recipe(name)) for name in sorted(executors)]
    recipes += [("backoff", app.backoff_recipe(name)) for name in sorted(backoffs)]
    return recipes


def _alone(app: App, lease: float) -> float | None:
    """How long a worker may go on unless its pool's lease is renewed: on a storage that other hosts share, until just
    before its job could be given away; else as long as its lock tells that it lives."""
    from queuectl.api.storage import Ability

    if Ability.MULTI_HOST not in app.storage.abilities:
        return None
    return max(ALONE_LEAST * lease, lease - app.config.jobs.grace - ALONE_MARGIN)


def warm_up(setup: Setup) -> None:
    """Import once, before the first fork, what all workers will need: they share its memory."""
    from queuectl.core.plugins import Recipe, open_recipe

    for kind, recipe in setup.warm_up:
        opened = open_recipe(Recipe(*recipe), kind, setup.home, lambda _line: None)
        if hasattr(opened, "close"):
            opened.close()


def is_ours(module: str) -> bool:
    """Whether a component is a built-in one, which neither hangs nor exits."""
    return module.startswith("queuectl.builtin.")
