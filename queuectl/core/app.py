"""The composition root: a configuration becomes storage, executors, backoffs and plugins, each opened on first use."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from queuectl.api.errors import BadInput, ConfigError, NotSupported
from queuectl.api.model import Settings

from .config import FOUND, Config
from .options import check_given, check_table, resolve, show, toml_value
from .places import private_dir, state_dir
from .plugins import Plugins, Recipe, open_provider
from .schema import QUEUE_OPTIONS, SECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from queuectl.api.model import NewJob, Route
    from queuectl.api.notifier import Notifier
    from queuectl.api.providers import Provider
    from queuectl.api.storage import Storage

    from .config import Key

_LIMITS = tuple(option for option in SECTIONS["jobs"] if option.name in ("max_retries", "timeout", "grace"))
LEASE_SHARED, LEASE_LOCAL = 30.0, 60.0
CACHED = 1000
LIVE = ("queuectl", "notifiers")


class App:
    """One configuration and what is opened by it. Belongs to one thread; is not carried over a fork."""

    def __init__(self, config: Config) -> None:
        self._begin(config, Plugins(config, self.log))
        for note in config.notes:
            self.log(f"warning: {note}")

    def _begin(self, config: Config, plugins: Plugins, *, lead: bool = True) -> None:
        self.config = config
        self.plugins = plugins
        self._lead = lead  # whether closing this one tells the plugins
        self._storage: Storage | None = None
        self._home: str | None = None
        self._routes: tuple[Route, ...] | None = None
        self._settings: dict[Any, Settings] = {}  # jobs come in batches that mostly ask for the same

    @classmethod
    def open(cls, config: str | None = None, db: str | None = None) -> App:
        """The App of the global options ``--config`` and ``--db``. Reads the configuration; opens nothing else."""
        return cls(Config.load(config, db))

    @classmethod
    def reopen(cls, arguments: Sequence[str]) -> App:
        """The same App in another process: *arguments* are the words of the first one's ``arguments``."""
        given = dict(zip(arguments[::2], arguments[1::2], strict=True))
        return cls.open(given.get("--config"), given.get("--db"))

    def sibling(self) -> App:
        """The same App for another thread: configuration and plugins are shared, the storage is opened anew.

        Plugins are configured before this one leaves for its thread, and told of the end by the first App alone.
        """
        self.plugins.configure()
        other = App.__new__(App)
        other._begin(self.config, self.plugins, lead=False)
        return other

    def close(self) -> None:
        """Tell plugins that it ends and close the storage. Idempotent."""
        if self._lead:
            self.plugins.shutdown()
        storage, self._storage = self._storage, None
        if storage is not None:
            storage.close()

    def log(self, line: str) -> None:
        """One line for people, on stderr. What a terminal would obey is made visible: plugins and files wrote it."""
        if not line.isprintable():
            line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        try:
            print(f"queuectl: {line}", file=sys.stderr, flush=True)
        except (OSError, ValueError):  # nobody listens any more
            pass

    @property
    def arguments(self) -> list[str]:
        """The words that make another process, wherever it runs, open the same App."""
        config, words = self.config, []
        words += ["--config", f"{FOUND if config.found else ''}{config.project or ''}"]
        if config.db is not None:
            words += ["--db", config.db]
        return words

    # -- the storage and its folders ----------------------------------------------------------------

    @property
    def storage(self) -> Storage:
        """The storage, opened and if need be created on first use."""
        if self._storage is None:
            self.plugins.configure()
            name = self.config.main.storage
            provider, options = self._component("storage", name, ("queuectl", "storage"))
            self._storage = open_provider(provider, resolve(options), name, "storage", None, self.log)
        return self._storage

    @property
    def home(self) -> str:
        """The directory of ``run/`` and ``out/`` that belongs to this storage."""
        if self._home is None:
            storage = self.storage
            self._home = storage.home or os.path.join(state_dir(), "state", storage.identity)
        return self._home

    @property
    def run_dir(self) -> str:
        """Records of live pools and workers; private, made when first asked for."""
        return private_dir(os.path.join(self.home, "run"))

    @property
    def out_dir(self) -> str:
        """Output of jobs; private, made when first asked for."""
        return private_dir(os.path.join(self.home, "out"))

    @property
    def lease(self) -> float:
        """Seconds a pool's lease is renewed for: as configured, else by whether other hosts watch it."""
        configured = self.config.worker.lease
        if configured is not None:
            return configured
        from queuectl.api.storage import Ability

        return LEASE_SHARED if Ability.MULTI_HOST in self.storage.abilities else LEASE_LOCAL

    @property
    def hidden_environment(self) -> list[str]:
        """Names of environment variables that the configuration takes secrets from: no job inherits them."""
        hidden = set()
        for key, entry in self.config.entries.items():
            value = toml_value(entry.value) if entry.text and "{" in entry.value else entry.value
            if isinstance(value, dict) and isinstance(value.get("env"), str):
                hidden.add(value["env"])
            if entry.origin.layer == "env" and len(key) > 2:  # QUEUECTL_STORAGE__REDIS__URL may have a password in it
                hidden.add(entry.origin.where)
        return sorted(hidden)

    # -- components ---------------------------------------------------------------------------------

    def _component(self, kind: str, name: str, key: Key | None = None) -> tuple[Provider[Any], dict[str, Any]]:
        """A provider and the checked table of the instance, secrets not yet read."""
        provider, _ = self.plugins.provider(kind, name, key)
        return provider, self.options(kind, name, provider)

    def options(self, kind: str, name: str, provider: Provider[Any], defaults: bool = True) -> dict[str, Any]:
        """The checked table of an instance, secrets not yet read. ConfigError for the first thing that is wrong."""
        entries = {key: entry for key, entry in self.config.table(kind, name).items() if key != "use"}
        return check_table(f"{kind}.{name}", entries, provider.options, defaults=defaults)

    def _recipe(self, kind: str, name: str) -> Recipe:
        provider, plugin = self.plugins.provider(kind, name)
        return Recipe(plugin.value, provider.name, resolve(self.options(kind, name, provider)), name)

    def executor_recipe(self, name: str) -> Recipe:
        """What a worker needs to open the executor instance *name*. ConfigError if it cannot be had."""
        return self._recipe("executor", name)

    def backoff_recipe(self, name: str) -> Recipe:
        """What a worker needs to open the backoff instance *name*."""
        return self._recipe("backoff", name)

    @property
    def has_job_hooks(self) -> bool:
        """Whether workers have to ask plugins about environment or verdict. Cheap where no plugin is configured."""
        return self.plugins.implements("queuectl_environment", "queuectl_verdict")

    @property
    def has_events(self) -> bool:
        """Whether anybody wants to hear of events live, so that a courier is needed."""
        return bool(self.config.main.notifiers) or self.plugins.implements("queuectl_events")

    def notifier(self, name: str, home: str | None = None, key: Key = LIVE) -> Notifier:
        """The notifier instance *name*, opened anew. With *home* given, the storage need not be opened for it.

        *key* is what asks for it, for a complaint.
        """
        self.plugins.configure()
        provider, options = self._component("notifier", name, key)
        notifier: Notifier = open_provider(provider, resolve(options), name, "notifier", home or self.home, self.log)
        return notifier

    def must_be_live(self, name: str) -> None:
        """ConfigError if a notifier that is listed in ``[queuectl] notifiers`` can only be told from the outbox."""
        if self.plugins.provider("notifier", name, LIVE)[0].durable:
            raise ConfigError(
                f"{self.plugins.asked('notifier', name, LIVE)}: it is told from the outbox; instead of here "
                f"name it in a route, [routes.NAME] to = [{show(name)}], with the events it is to be told of"
            )

    @property
    def routes(self) -> tuple[Route, ...]:
        """Which events are kept for whom, for whoever stores something. NotSupported if the storage cannot keep them.

        By the configuration alone: nothing of a notifier's is loaded for it.
        """
        if self._routes is None:
            self._routes = ()
            if self.config.routes:
                self._routes = _routes(self.config, self.storage)
        return self._routes

    def prepare(self, jobs: list[NewJob]) -> None:
        """Let plugins look at jobs before they are stored. JobRejected and PluginError refuse all of them."""
        if self.plugins.takes_part_in_enqueue():
            self.plugins.prepare(jobs)

    # -- what a job gets ------------------------------------------------------------------------------

    def settings(self, queue: str, **given: Any) -> Settings:
        """How a job of *queue* is run and retried: what it asks for, else the queue's word, else ``[jobs]``.

        *given* are fields of :class:`~queuectl.api.model.Settings`. BadInput if they are wrong, ConfigError if the
        configuration is. The options of the chosen backoff that are configured become the job's own: it keeps them.
        """
        asked = (queue, repr(given))
        if (known := self._settings.get(asked)) is not None:
            return known
        limits = self._limits(queue)
        limits.update(check_given(_only(given, limits), _LIMITS, what="job", error=BadInput))
        executor, executor_options = self._choice("executor", queue, given)
        backoff, backoff_options = self._choice("backoff", queue, given)
        settings = Settings(
            **limits,
            executor=executor,
            executor_options=executor_options,
            backoff=backoff,
            backoff_options=backoff_options,
        )
        if len(self._settings) < CACHED:
            self._settings[asked] = settings
        return settings

    def _limits(self, queue: str) -> dict[str, Any]:
        """max_retries, timeout and grace of a queue."""
        jobs = self.config.jobs
        limits = {"max_retries": jobs.max_retries, "timeout": jobs.timeout, "grace": jobs.grace}
        own = check_table(f"queues.{queue}", self.config.table("queues", queue), QUEUE_OPTIONS, defaults=False)
        for name in limits:
            if own.get(name) is not None or (name == "timeout" and name in own):  # "none" is an answer for a timeout
                limits[name] = own[name]
        return limits

    def _choice(self, kind: str, queue: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The executor or backoff of a job, and the options that go with it."""
        asked = given.get(kind)
        key: Key | None = None
        if asked is not None:
            name = asked
        elif queue in self.config.queues and getattr(self.config.queues[queue], kind) is not None:
            name, key = getattr(self.config.queues[queue], kind), ("queues", queue, kind)
        else:
            name, key = getattr(self.config.main, kind), ("queuectl", kind)
        asked_options = given.get(f"{kind}_options") or {}
        if not asked_options and self.plugins.is_plain(kind, name):
            return name, {}
        provider = self._provider_for_job(kind, name, key)
        asked_for = {option.name for option in provider.job_options}
        for option in provider.options:
            if option.name in asked_options and option.name not in asked_for:
                raise BadInput(f"{kind} {name}: a job cannot set {show(option.name)}, only [{kind}.{name}] can")
        options = check_given(asked_options, provider.job_options, what=f"{kind} {name}", error=BadInput)
        if kind == "backoff" and provider.job_options:
            allowed = {option.name for option in provider.job_options if not option.secret}
            configured = self.options(kind, name, provider, defaults=False)
            options = {**{k: v for k, v in configured.items() if k in allowed}, **options}
        return name, options

    def _provider_for_job(self, kind: str, name: Any, key: Key | None) -> Provider[Any]:
        if not isinstance(name, str):
            raise BadInput(f"job: {kind}: expected a name")
        try:
            return self.plugins.provider(kind, name, key)[0]
        except ConfigError as error:
            if key is None:
                raise BadInput(str(error)) from error
            raise


def _routes(config: Config, storage: Storage) -> tuple[Route, ...]:
    from queuectl.api.model import Route
    from queuectl.api.storage import Ability

    if Ability.OUTBOX not in storage.abilities:
        name, table = config.main.storage, next(iter(config.routes))
        raise NotSupported(
            f"{config.origin(('routes', table))}: [routes.{table}]: the storage {show(name)} cannot keep events for "
            f"notifiers; list them in [queuectl] notifiers, where they are told live"
        )
    return tuple(
        Route(target, route.events, route.queues, route.tags) for route in config.routes.values() for target in route.to
    )


def _only(given: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    strange = [name for name in given if name not in Settings._fields]
    if strange:
        raise TypeError(f"settings() has no argument {strange[0]!r}")
    return {name: value for name, value in given.items() if name in names}
