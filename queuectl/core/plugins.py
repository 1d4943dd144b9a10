"""Finds, loads and calls plugins: the built-in ones, installed ones and files, all by the same door.

Pluggy chooses; it is not in the inner loop. A component is looked up by name and then called directly. A configuration
that names nothing but built-in components never imports pluggy at all. Every implementation of a hook is called by
itself, guarded as its docstring in ``api.hookspecs`` promises, and what fails is kept in ``Plugins.failures``.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from queuectl.api.errors import ConfigError, JobRejected, PluginError
from queuectl.api.markers import MARK
from queuectl.api.providers import API_VERSION, Command, Context, Option, Panel, Provider

from .options import check_table, enumeration, place, resolve, show, shown_path, suggestion
from .places import state_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pluggy

    from queuectl.api.model import Claim, Event, Job, NewJob, Outcome
    from queuectl.api.storage import Storage

    from .config import Config, Key
    from .entrypoints import EntryPoint

#: Built-in components are strings until chosen. A test compares the table with what the modules offer.
BUILTIN: dict[tuple[str, str], str] = {
    ("storage", "sqlite"): "queuectl.builtin.sqlite",
    ("executor", "subprocess"): "queuectl.builtin.subprocess",
    ("backoff", "exponential"): "queuectl.builtin.exponential",
    ("backoff", "fixed"): "queuectl.builtin.fixed",
    ("backoff", "linear"): "queuectl.builtin.linear",
    ("notifier", "log"): "queuectl.builtin.log",
    ("notifier", "webhook"): "queuectl.builtin.webhook",
    ("notifier", "command"): "queuectl.builtin.command",
}
OFFERS = {
    "storage": "queuectl_storages",
    "executor": "queuectl_executors",
    "backoff": "queuectl_backoffs",
    "notifier": "queuectl_notifiers",
}
#: Where well-known components live, for who asks for one without having installed it.
ELSEWHERE = {
    ("storage", "postgres"): "queuectl-postgres",
    ("storage", "redis"): "queuectl-redis",
    ("executor", "docker"): "queuectl-docker",
    ("notifier", "apprise"): "queuectl-apprise",
}
VERDICTS = ("success", "retry", "dead")


# --- Components without a manager: what a worker does ---------------------------------------------------


class Recipe(NamedTuple):
    """All that another process needs to open a component: no configuration, no manager, no pluggy. JSON-safe."""

    module: str  # "package.module", "package.module:attribute" or the absolute path of a file
    provider: str
    options: dict[str, Any]  # checked, secrets read
    name: str  # of the instance


def open_recipe(recipe: Recipe, kind: str, home: str | None, log: Callable[[str], None]) -> Any:
    """Open the component. PluginError, naming it, whatever its plugin does instead."""
    what = f"{kind} {show(recipe.name)}"
    with_module = guarded(what, lambda: load_object(recipe.module))
    for provider in guarded(what, lambda: list(offered(with_module, OFFERS[kind]))):
        if isinstance(provider, Provider) and provider.name == recipe.provider:
            return open_provider(provider, recipe.options, recipe.name, kind, home, log)
    raise PluginError(f"{what}: {recipe.module} does not offer {show(recipe.provider)}")


def open_provider(
    provider: Provider[Any],
    options: Mapping[str, Any],
    name: str,
    kind: str,
    home: str | None,
    log: Callable[[str], None],
) -> Any:
    """Open what a provider offers. Errors of ours pass; anything else is a PluginError that names the component."""
    context = Context(name, home, state_dir(), log)
    return guarded(f"{kind} {show(name)}", lambda: provider.open(options, context))


def guarded(what: str, call: Callable[[], Any]) -> Any:
    """The result of a call into a plugin. Errors of ours pass; all else, exits too, becomes a PluginError."""
    from queuectl.api.errors import QueueCTLError

    try:
        return call()
    except (QueueCTLError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"{what}: {explain(error)}") from error


def load_object(value: str) -> Any:
    """Import what an entry point's value or a file's path names. Raises whatever that raises."""
    if value.endswith(".py") and os.path.isabs(value):
        return _load_file(value)
    from importlib import import_module

    module, _, attribute = value.partition(":")
    found: Any = import_module(module.strip())
    for part in filter(None, attribute.strip().split(".")):
        found = getattr(found, part)
    return found


def _load_file(path: str) -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    name = f"queuectl_file_{os.path.basename(path)[:-3]}"
    if (module := sys.modules.get(name)) is not None and getattr(module, "__file__", None) == path:
        return module
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def implementations(plugin: Any) -> Iterator[tuple[str, Any]]:
    """The hooks a plugin implements, by the marks on its functions, and the functions."""
    for name in dir(plugin):
        if name.startswith("__"):
            continue
        function = getattr(plugin, name, None)
        mark = getattr(function, MARK, None)
        if callable(function) and isinstance(mark, dict):
            yield mark.get("specname") or name, function


def offered(plugin: Any, hook: str) -> Iterator[Any]:
    """What a plugin offers by one hook, unchecked."""
    for name, function in implementations(plugin):
        if name == hook:
            yield from function() or ()


def explain(error: BaseException) -> str:
    """An exception in one line, for people: never a traceback."""
    if isinstance(error, SystemExit):
        return f"it tried to exit ({error.code})"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# --- Plugins -----------------------------------------------------------------------------------------


class Plugin:
    """One plugin, loaded or not."""

    def __init__(self, name: str, value: str, source: str, distribution: str = "", version: str = "") -> None:
        self.name = name
        self.value = value  # what load_object takes
        self.source = source  # "built-in", "installed" or "file"
        self.distribution = distribution
        self.version = version
        self.object: Any = None
        self.active = False
        self.disabled = False
        self.error = ""  # why it cannot be used, in one line
        self.trace = ""
        self.offers: dict[str, list[Provider[Any]]] = {kind: [] for kind in OFFERS}
        self.hooks: list[str] = []
        self.notices: list[str] = []  # what it uses that is deprecated

    @property
    def state(self) -> str:
        if self.disabled:
            return "disabled"
        return "failed" if self.error else "active" if self.active else "available"

    def __str__(self) -> str:
        return f"{self.name} ({self.origin})"

    @property
    def origin(self) -> str:
        """What it came with: ``queuectl-redis 1.2``, ``built in`` or a path."""
        if self.source == "built-in":
            return "built in"
        return shown_path(self.value) if self.source == "file" else f"{self.distribution} {self.version}".strip()

    def load(self) -> bool:
        """Import it, see what it implements and what it offers. False, with ``error``, if any of that fails."""
        if self.object is not None or self.error:
            return not self.error
        try:
            loaded = load_object(self.value)
            complaint = self._examine(loaded)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            from traceback import format_exc

            complaint, self.trace = explain(error), format_exc()
            if isinstance(error, ImportError) and (error.name or "").startswith("queuectl.api"):
                complaint += "; it may need a newer core"
        if complaint:
            self.error = complaint
            return False
        self.object = loaded
        return True

    def _examine(self, loaded: Any) -> str:
        """What is wrong with a plugin's hooks and offers, or nothing."""
        if self.source != "built-in" and (complaint := hook_complaint(loaded)):
            return complaint
        self.hooks = sorted({hook for hook, _ in implementations(loaded)})
        if self.source != "built-in":
            self.notices = list(_notices(loaded))
        offers: dict[str, list[Provider[Any]]] = {kind: [] for kind in OFFERS}
        for kind, hook in OFFERS.items():
            for function in (f for name, f in implementations(loaded) if name == hook):
                result = function()
                if not _is_series(result):
                    return f"{hook} returned {_a(result)}, not Provider records"
                for provider in result or ():
                    if complaint := _provider_complaint(hook, provider):
                        return complaint
                    offers[kind].append(provider)
        self.offers = offers  # at once: another thread may be at the same
        return ""


def _is_series(result: Any) -> bool:
    return result is None or (hasattr(result, "__iter__") and not isinstance(result, (str, bytes, dict, Provider)))


def _a(thing: Any) -> str:
    kind = type(thing).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _provider_complaint(hook: str, provider: Any) -> str:
    if not isinstance(provider, Provider):
        return f"{hook} gave {_a(provider)}, not a Provider record"
    name = provider.name
    if not isinstance(name, str) or not name.replace("-", "").isalnum() or name != name.lower() or not name.isascii():
        return f"{hook} offers {show(name)}: a name has small letters, digits and dashes"
    if not isinstance(provider.api, int) or provider.api > API_VERSION:
        return (
            f"{hook} offers {show(name)}, which needs a newer core "
            f"(version {provider.api} of the contracts; this core has {API_VERSION})"
        )
    if not callable(provider.open) or not all(isinstance(option, Option) for option in provider.options):
        return f"{hook} offers {show(name)} with a wrong record: open must be callable and options Option records"
    return ""


def hook_complaint(loaded: Any) -> str:
    """A hook that does not exist, an argument it does not have, or a function whose mark was forgotten."""
    specs = hook_arguments()
    for hook, function in implementations(loaded):
        mark = getattr(function, MARK)
        if hook not in specs:
            if mark.get("optionalhook"):
                continue
            return f"there is no hook {hook}{suggestion(hook, specs)}"
        if mark.get("wrapper") or mark.get("hookwrapper"):
            return f"{hook} is a wrapper, which QueueCTL has not"
        if strange := [name for name in _arguments(function) if name not in specs[hook]]:
            return f"{hook} has no argument {strange[0]!r} (it has {enumeration(specs[hook])})"
    for name in dir(loaded):
        function = getattr(loaded, name, None)
        ours = getattr(function, "__module__", None) == getattr(loaded, "__name__", None)
        if name in specs and ours and not hasattr(function, MARK):
            return f"{name} is not marked with @hookimpl"
    return ""


def _notices(loaded: Any) -> Iterator[str]:
    """What a plugin uses that is deprecated."""
    from .deprecated import notices

    for hook, function in implementations(loaded):
        yield from notices(hook, _arguments(function))


def hook_functions() -> dict[str, Callable[..., Any]]:
    """Every hook's specification, in the order things happen."""
    from queuectl.api import hookspecs

    return {
        name: function
        for name, function in vars(hookspecs).items()
        if name.startswith("queuectl_") and callable(function)
    }


def hook_arguments() -> dict[str, tuple[str, ...]]:
    """Every hook with the arguments that an implementation may take."""
    return {name: tuple(_arguments(function)) for name, function in hook_functions().items()}


def _arguments(function: Any) -> list[str]:
    import inspect

    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]


class Failure(NamedTuple):
    """What a plugin did wrong in a hook."""

    plugin: str
    hook: str
    error: str
    trace: str
    count: int  # type: ignore[assignment]  # how often, in this process; a record, not a sequence


# --- The manager -------------------------------------------------------------------------------------


class Plugins:
    """The plugins of one process. Costs nothing until a component is looked up or a hook is called."""

    def __init__(self, config: Config, log: Callable[[str], None]) -> None:
        self._config = config
        self._log = log
        self._plugins: list[Plugin] | None = None  # installed ones and files, once they were looked for
        self._built_in: dict[str, Plugin] = {}  # by module
        self._manager: pluggy.PluginManager | None = None
        self._configured: list[Plugin] | None = None
        self._failures: dict[tuple[str, str], Failure] = {}
        self._plain: bool | None = None
        #: Set by a process that does not want to wait for ever: calls an implementation, with a time limit or so.
        self.around: Callable[[Callable[[], Any]], Any] = _just_call

    @property
    def failures(self) -> Sequence[Failure]:
        """What went wrong in hooks so far."""
        return tuple(self._failures.values())

    def log(self, line: str) -> None:
        """One line for people, as the process that loaded the plugins says them."""
        self._log(line)

    # -- choosing -----------------------------------------------------------------------------------

    @property
    def plain(self) -> bool:
        """Whether the configuration names built-in components only: no plugin can take part in anything."""
        if self._plain is None:
            config, wanted = self._config, self._config.plugins
            self._plain = not (wanted.enable or wanted.require or wanted.files) and all(
                (kind, config.provider_of(kind, name)) in BUILTIN
                and config.provider_of(kind, name) not in wanted.disable
                for kind, name, _ in config.named_components()
            )
        return self._plain

    def is_plain(self, kind: str, name: Any) -> bool:
        """Whether *name* is a built-in component with nothing configured: known to be there without importing it."""
        return self.plain and (kind, name) in BUILTIN and name not in self._config.names(kind)

    def is_built_in(self, kind: str, name: str) -> bool:
        """Whether the instance *name* is of a component that came with us."""
        return (kind, self._config.provider_of(kind, name)) in BUILTIN

    def provider(
        self, kind: str, name: str, key: Key | None = None, *, anyway: bool = False
    ) -> tuple[Provider[Any], Plugin]:
        """The provider behind the instance *name*, and the plugin that offers it.

        *key* is what asks for it, for the complaint. ConfigError if there is none, if its plugin cannot be loaded or
        if two plugins offer it. What the configuration does not speak of is found among active plugins only, since
        installed is not active; *anyway* looks at all of them.
        """
        wanted = self._config.provider_of(kind, name)
        found = self._offers_of(kind, wanted, anyway or self._is_named(kind, name))
        if len(found) > 1:
            both = " and ".join(str(plugin) for _, plugin in found)
            raise ConfigError(
                f"{self.asked(kind, name, key)}: two plugins offer this {kind}: {both}; "
                f"list one of them in [plugins] disable"
            )
        if not found:
            raise ConfigError(f"{self.asked(kind, name, key)}: {self._why_not(kind, wanted)}")
        return found[0]

    def _offers_of(self, kind: str, wanted: str, anywhere: bool) -> list[tuple[Provider[Any], Plugin]]:
        built_in = self._built_in_plugin(kind, wanted)
        if built_in is not None and built_in.error:
            raise PluginError(f"the built-in {kind} {show(wanted)} was not loaded: {built_in.error}")
        if self.plain and built_in is not None:
            return _matching([built_in], kind, wanted)
        self.start()
        candidates = [p for p in self._known() if p.active]
        found = _matching([*([built_in] if built_in else []), *candidates], kind, wanted)
        if found or not anywhere:
            return found
        return self._search(kind, wanted)

    def _search(self, kind: str, wanted: str) -> list[tuple[Provider[Any], Plugin]]:
        """Look among plugins that are not active: first those of that name, then all."""
        usable = [p for p in self._known() if not p.disabled]
        namesakes = [p for p in usable if p.name == wanted]
        if found := _matching([p for p in namesakes if p.load()], kind, wanted):
            return found
        return _matching([p for p in usable if p.load()], kind, wanted)

    def _is_named(self, kind: str, name: str) -> bool:
        """Whether the configuration speaks of this instance."""
        if name in self._config.names(kind):
            return True
        return any((k, n) == (kind, name) for k, n, _ in self._config.named_components())

    def _built_in_plugin(self, kind: str, wanted: str) -> Plugin | None:
        module = BUILTIN.get((kind, wanted))
        if module is None or wanted in self._config.plugins.disable:
            return None
        plugin = self._built_in.get(module)
        if plugin is None:
            plugin = self._built_in[module] = Plugin(wanted, module, "built-in")
            plugin.active = True
        plugin.load()
        return plugin

    # -- complaints about what cannot be chosen -----------------------------------------------------------

    def asked(self, kind: str, name: str, key: Key | None) -> str:
        """``queuectl.toml: [queuectl] storage = "reddis"``."""
        entry = self._config.entries.get(key) if key is not None else None
        if key is None or entry is None:
            return f"{kind} {show(name)}"
        return f"{place('.'.join(key[:-1]), key[-1], entry)} = {show(name)}"

    def _why_not(self, kind: str, wanted: str) -> str:
        for plugin in (p for p in self._known() if p.name == wanted):
            if plugin.disabled:
                return f"its plugin {plugin} is disabled by [plugins] disable"
            if not plugin.load():
                hint = f"see 'queuectl plugins info {plugin.name}'"
                return f"its plugin {plugin} was not loaded: {plugin.error} ({hint})"
        for _, plugin in self._search(kind, wanted):
            return f"plugin {plugin} offers it but is not active: give it a table [{kind}.{wanted}] in queuectl.toml"
        known = [name for name in self.known_names(kind) if name != wanted]  # a table of that name offers nothing
        text = f"there is no such {kind}{suggestion(wanted, known)} (known: {enumeration(sorted(known))})"
        if (kind, wanted) in ELSEWHERE:
            text += f"; it comes with {ELSEWHERE[kind, wanted]}, which is not installed"
        if broken := [str(plugin) for plugin in self._known() if plugin.active and plugin.error]:
            text += f"; {enumeration(broken)} could not be asked"
        if self._config.untrusted:
            text += "; plugin files were left out, because the project file is not trusted"
        return text

    def known_names(self, kind: str) -> list[str]:
        """Every name that could be chosen: providers, and instances with a table of their own."""
        names = [name for k, name in BUILTIN if k == kind]
        names += [
            p.name for plugin in self._known() if not plugin.disabled and plugin.load() for p in plugin.offers[kind]
        ]
        names += self._config.names(kind)
        return list(dict.fromkeys(names))

    # -- finding and activating ---------------------------------------------------------------------------

    def _known(self) -> list[Plugin]:
        """Installed plugins and files, in order; loaded or not."""
        if self._plugins is None:
            from .entrypoints import scan

            disable = set(self._config.plugins.disable)
            self._plugins = [_plugin_of_file(path) for path in self._config.plugins.files]
            self._plugins += [_plugin_of_point(point) for point in scan()]
            for plugin in self._plugins:
                plugin.disabled = plugin.name in disable or plugin.distribution in disable
        return self._plugins

    def _called(self, name: str) -> list[Plugin]:
        """The plugins of that name; the standard library is asked too where we find none."""
        found = [plugin for plugin in self._known() if name in (plugin.name, plugin.distribution)]
        if not found:
            from .entrypoints import find_elsewhere

            found = [_plugin_of_point(point) for point in find_elsewhere(name)]
            self._known().extend(found)
        return found

    def start(self) -> None:
        """Load and activate what the configuration asks for. Idempotent.

        ConfigError for what it needs and cannot have: all of it in one message. Anything else is one warning.
        """
        if self._manager is not None or self.plain:
            return
        self._manager = self._new_manager()
        wanted = self._config.plugins
        self._require(wanted.require)
        for path in wanted.files:
            if not os.path.isfile(path):
                raise ConfigError(f"{self._listed('files')}: {shown_path(path)}: there is no such file")
        for plugin in [p for p in self._known() if p.source == "file"]:
            self._activate(plugin)
        for name in wanted.enable:
            found = self._called(name)
            if not found:
                known = [plugin.name for plugin in self._known()]
                raise ConfigError(
                    f"{self._listed('enable')}: there is no plugin {show(name)}{suggestion(name, known)} "
                    f"(installed: {enumeration(known)})"
                )
            for plugin in found:
                self._activate(plugin)
        for kind, name, key in self._config.named_components():
            self._activate(self.provider(kind, name, key)[1])

    def _require(self, names: Iterable[str]) -> None:
        missing = []
        for name in names:
            found = self._called(name)
            if not found:
                missing.append(f"{show(name)}: there is no such plugin")
            for plugin in found:
                if plugin.disabled:
                    missing.append(f"{show(name)}: {plugin} is disabled by [plugins] disable")
                elif not plugin.load():
                    missing.append(f"{show(name)}: {plugin} was not loaded: {plugin.error}")
                else:
                    self._activate(plugin)
        if missing:
            raise ConfigError(f"{self._listed('require')}: {'; '.join(missing)}")

    def _listed(self, key: str) -> str:
        entry = self._config.entries.get(("plugins", key))
        return f"[plugins] {key}" if entry is None else place("plugins", key, entry)

    def _activate(self, plugin: Plugin) -> None:
        """Load a plugin and have its hooks called. One warning if it cannot be."""
        if plugin.active or plugin.disabled:
            return
        plugin.active = True
        if not plugin.load():
            self._log(f"warning: plugin {plugin} was not loaded: {plugin.error}")
            return
        assert self._manager is not None
        self._manager.register(plugin.object, plugin.value)

    def _new_manager(self) -> pluggy.PluginManager:
        import pluggy

        from queuectl.api import hookspecs

        manager = pluggy.PluginManager("queuectl")
        manager.add_hookspecs(hookspecs)
        if os.environ.get("QUEUECTL_TRACE_PLUGINS", "") not in ("", "0"):
            manager.trace.root.setwriter(sys.stderr.write)
        return manager

    def every(self) -> list[Plugin]:
        """All plugins that there are, built-in ones first, each loaded as far as possible: for people to look at."""
        try:
            self.start()
        except ConfigError as error:
            self._log(f"warning: {error}")
        for kind, name in BUILTIN:
            self._built_in_plugin(kind, name)
        known = self._known()
        for plugin in known:
            if not plugin.disabled:
                plugin.load()
        return [*self._built_in.values(), *known]

    def named(self, name: str) -> list[Plugin]:
        """The plugins of that name or distribution, or the file of that path, loaded as far as possible."""
        if name.endswith(".py") and os.path.isfile(name):
            plugin = _plugin_of_file(os.path.abspath(name))
            plugin.load()
            return [plugin]
        return [plugin for plugin in self.every() if name in (plugin.name, plugin.distribution)]

    # -- calling hooks ------------------------------------------------------------------------------

    def takes_part_in_enqueue(self) -> bool:
        """Whether any plugin may have a say before jobs are stored. Cheap where the answer is no."""
        return self.implements("queuectl_prepare")

    def implements(self, *hooks: str) -> bool:
        """Whether an active plugin implements one of *hooks*."""
        if self.plain:
            return False
        self.start()
        return any(plugin.active and hook in plugin.hooks for plugin in self._known() for hook in hooks)

    def configure(self) -> None:
        """Give every active plugin its checked table, once. ConfigError for a bad table, PluginError if one refuses."""
        if self._configured is not None or self.plain:
            return
        self.start()
        self._configured = []
        for plugin in [p for p in self._known() if p.active and not p.error]:
            arguments = {"options": self.plugin_options(plugin)}
            for impl in self._implementations("queuectl_configure", plugin):
                call = partial(self._call, impl, arguments, hurry=True)
                guarded(f"plugin {plugin}: queuectl_configure", call)
            self._configured.append(plugin)

    def plugin_options(self, plugin: Plugin) -> dict[str, Any]:
        """The checked ``[plugin.NAME]`` of a plugin, secrets read."""
        return resolve(
            check_table(f"plugin.{plugin.name}", self._config.table("plugin", plugin.name), self.declared(plugin))
        )

    def check_own_tables(self) -> None:
        """Check ``[plugin.NAME]`` of every plugin that is active. ConfigError."""
        for plugin in self._known():
            if plugin.active and not plugin.error:
                check_table(f"plugin.{plugin.name}", self._config.table("plugin", plugin.name), self.declared(plugin))

    def table_of(self, name: str) -> list[Option]:
        """What ``[plugin.NAME]`` may have, of any plugin that there is. ConfigError if it cannot be known."""
        found = next((plugin for plugin in self._called(name) if not plugin.disabled), None)
        if found is None:
            known = [plugin.name for plugin in self._known()]
            raise ConfigError(
                f"there is no plugin {show(name)}{suggestion(name, known)} (installed: {enumeration(known)})"
            )
        if not found.load():
            raise ConfigError(f"plugin {found} was not loaded: {found.error}")
        return self.declared(found)

    def declared(self, plugin: Plugin) -> list[Option]:
        """The options a plugin declares. PluginError if it cannot say."""
        what = f"plugin {plugin}: queuectl_options"
        options = guarded(what, lambda: list(offered(plugin.object, "queuectl_options")))
        for option in options:
            if not isinstance(option, Option):
                raise PluginError(f"{what} gave {_a(option)}, not an Option record")
        return list(options)

    def prepare(self, jobs: list[NewJob]) -> None:
        """Let plugins look at jobs before they are stored. JobRejected and PluginError refuse all of them."""
        from queuectl.api.model import NewJob

        for impl in self._ready("queuectl_prepare"):
            n = len(jobs)
            try:
                self._call(impl, {"jobs": jobs}, hurry=True)
            except (JobRejected, KeyboardInterrupt):
                raise
            except BaseException as error:
                self._note(impl, "queuectl_prepare", error, quiet=True)
                raise PluginError(
                    f"plugin {self._owner(impl)}: queuectl_prepare failed, so nothing was stored: {explain(error)}"
                ) from error
            if len(jobs) != n or not all(isinstance(job, NewJob) for job in jobs):
                raise PluginError(
                    f"plugin {self._owner(impl)}: queuectl_prepare left something else than {n} NewJob records, "
                    f"so nothing was stored"
                )

    def environment(self, claim: Claim) -> dict[str, str]:
        """The variables that plugins add for one attempt. Later plugins win; what fails gives none."""
        merged: dict[str, str] = {}
        for answer in self._isolated("queuectl_environment", {"claim": claim}, _environment_complaint):
            merged.update({k: v for k, v in answer.items() if not k.startswith("QUEUECTL_")})
        return merged

    def verdict(self, job: Job, outcome: Outcome) -> str | None:
        """The first plugin's answer that is one, or None: core's rule."""
        return next(
            self._isolated("queuectl_verdict", {"job": job, "outcome": outcome}, _verdict_complaint),
            None,
        )

    def events(self, events: Sequence[Event]) -> None:
        """Tell observers what happened."""
        for _ in self._isolated("queuectl_events", {"events": events}):
            pass

    def observers(self) -> list[tuple[str, Callable[[Sequence[Event]], object]]]:
        """Who wants to hear of events: the plugin's name, and its hook, which may raise or never return."""
        return [(self._owner(impl), partial(self._observe, impl)) for impl in self._ready("queuectl_events")]

    def _observe(self, impl: Any, events: Sequence[Event]) -> None:
        self._call(impl, {"events": events})

    def panels(self, storage: Callable[[], Storage]) -> list[tuple[str, Panel]]:
        """The boxes that plugins offer for the dashboard, in their order, each with its plugin's name."""
        found = self._offered_now("queuectl_panels", storage, Panel)
        return sorted(found, key=lambda offer: offer[1].order)

    def blueprints(self, storage: Callable[[], Storage]) -> list[tuple[str, Any]]:
        """The pages that plugins offer for the dashboard, each with its plugin's name."""
        if self.plain:
            return []
        from flask import Blueprint

        return self._offered_now("queuectl_blueprints", storage, Blueprint)

    def _offered_now(self, hook: str, storage: Callable[[], Storage], kind: type[Any]) -> list[tuple[str, Any]]:
        """What plugins offer by a hook that is called once; one that fails offers nothing, and that is noted."""
        found = []
        for impl in self._ready(hook):
            try:
                offers = list(self._call(impl, {"storage": storage}) or ())
                for offer in offers:
                    if not isinstance(offer, kind):
                        raise TypeError(f"it gave {_a(offer)}, not a {kind.__name__}")
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._note(impl, hook, error)
                continue
            found += [(self._name(impl), offer) for offer in offers]
        return found

    def _name(self, impl: Any) -> str:
        return next((p.name for p in self._known() if p.object is impl.plugin), str(impl.plugin_name))

    def shutdown(self) -> None:
        """Tell the plugins that were configured that this process ends. Once."""
        if self._configured:
            self._configured, configured = [], self._configured
            for plugin in reversed(configured):
                for impl in self._implementations("queuectl_shutdown", plugin):
                    self._attempt(impl, "queuectl_shutdown", {})

    def commands(self) -> Iterator[tuple[Plugin, Command]]:
        """The commands that installed plugins and files offer, and whose they are. A plugin need not be active: it
        can only add."""
        self.start()
        taken: dict[str, Plugin] = {}
        for plugin in self._known():
            if plugin.disabled:
                continue
            if not plugin.load():
                if not plugin.active:  # else it was said already
                    self._log(f"warning: plugin {plugin} was not loaded: {plugin.error}")
                continue
            for command in self._commands_of(plugin):
                if command.name in taken:
                    self._log(
                        f"warning: plugin {plugin}: the command {command.name} is {taken[command.name]}'s already"
                    )
                    continue
                taken[command.name] = plugin
                yield plugin, command

    def _commands_of(self, plugin: Plugin) -> Iterator[Command]:
        try:
            commands = list(offered(plugin.object, "queuectl_commands"))
            for command in commands:
                if not isinstance(command, Command):
                    raise TypeError(f"it gave {_a(command)}, not a Command record")
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._log(f"warning: plugin {plugin}: queuectl_commands: {explain(error)}")
            return
        for command in commands:
            what, load = f"plugin {plugin}: command {command.name}", command.load
            yield command._replace(load=partial(guarded, what, load))

    # -- one call ---------------------------------------------------------------------------------------

    def _ready(self, hook: str) -> list[Any]:
        """The implementations of a hook of configured plugins, in the order they are called."""
        if self.plain:
            return []
        self.configure()
        return self._implementations(hook)

    def _implementations(self, hook: str, plugin: Plugin | None = None) -> list[Any]:
        """Pluggy's implementations: those that try first, then in the order of the configuration, then the last."""
        assert self._manager is not None
        impls = getattr(self._manager.hook, hook).get_hookimpls()
        if plugin is not None:
            return [impl for impl in impls if impl.plugin is plugin.object]
        return sorted(impls, key=lambda impl: (not impl.tryfirst, impl.trylast))

    def _isolated(
        self, hook: str, arguments: Mapping[str, Any], complaint: Callable[[Any], str] = lambda _: ""
    ) -> Iterator[Any]:
        """The answers of a hook, one by one; what raises or answers wrongly is logged, counted and left out."""
        for impl in self._ready(hook):
            answer = self._attempt(impl, hook, arguments)
            if answer is None:
                continue
            if text := complaint(answer):
                self._note(impl, hook, TypeError(text))
                continue
            yield answer

    def _attempt(self, impl: Any, hook: str, arguments: Mapping[str, Any]) -> Any:
        try:
            return self._call(impl, arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._note(impl, hook, error)
            return None

    def _call(self, impl: Any, arguments: Mapping[str, Any], *, hurry: bool = False) -> Any:
        """One implementation. *hurry*: something waits for it in every process, also in one that sets no limits."""
        around = self.around
        if hurry and around is _just_call:
            from .patience import impatient as around
        assert self._manager is not None
        trace = self._manager.trace.root.get("hook")
        trace(impl.function.__name__, "in", impl.plugin_name, dict(arguments))
        result = around(partial(impl.function, *[arguments[name] for name in impl.argnames]))
        trace(impl.function.__name__, "in", impl.plugin_name, "-->", result)
        return result

    def _owner(self, impl: Any) -> str:
        return next((str(plugin) for plugin in self._known() if plugin.object is impl.plugin), str(impl.plugin_name))

    def _note(self, impl: Any, hook: str, error: BaseException, quiet: bool = False) -> None:
        """Keep what went wrong, and say it: the first time, the second, the fourth and so on."""
        from traceback import format_exception

        owner = self._owner(impl)
        known = self._failures.get((owner, hook))
        count = known.count + 1 if known else 1
        trace = "".join(format_exception(error))
        self._failures[owner, hook] = Failure(owner, hook, explain(error), trace, count)
        if not quiet and count & (count - 1) == 0:
            often = f" ({count} times so far)" if count > 1 else ""
            self._log(f"warning: plugin {owner}: {hook}: {explain(error)}{often}")


def _just_call(call: Callable[[], Any]) -> Any:
    return call()


def _matching(plugins: Iterable[Plugin], kind: str, wanted: str) -> list[tuple[Provider[Any], Plugin]]:
    return [(offer, plugin) for plugin in plugins for offer in plugin.offers[kind] if offer.name == wanted]


def _plugin_of_point(point: EntryPoint) -> Plugin:
    return Plugin(point.name, point.value, "installed", point.distribution, point.version)


def _plugin_of_file(path: str) -> Plugin:
    return Plugin(os.path.basename(path).removesuffix(".py").replace("_", "-").lower(), path, "file")


def _environment_complaint(answer: Any) -> str:
    from collections.abc import Mapping

    if not isinstance(answer, Mapping):
        return f"it answered with {_a(answer)}, not a mapping"
    for name, value in answer.items():
        if not isinstance(name, str) or not isinstance(value, str):
            return "it answered with something else than texts"
        if not name or "=" in name or "\0" in name + value:
            return f"{show(name)} cannot be the name of a variable with this value"
    return ""


def _verdict_complaint(answer: Any) -> str:
    return "" if answer in VERDICTS else f"it answered {show(answer)}, not one of {enumeration(VERDICTS)}"
