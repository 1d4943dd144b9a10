"""A pool executes its program anew, in place: the same process, new code and configuration.

Every descriptor of ours closes at that moment, so the new image meets its workers exactly as after a crash, and takes
over from itself.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from queuectl.api.errors import QueueCTLError

from . import supervisor
from .points import reached
from .setup import recipes_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from queuectl.core.app import App

    from .signals import Signals
    from .telling import Telling

if sys.platform == "win32":
    raise ImportError("workers and what belongs to them need Linux or macOS")


def restart(app: App, signals: Signals, telling: Telling, log: Callable[[str], None]) -> None:
    """Does not return, unless the new configuration cannot be used or the program is gone: that changes nothing."""
    try:
        with closing(type(app).reopen(app.arguments)) as fresh:
            recipes_of(fresh)
            fresh.storage  # noqa: B018 - opening it is the test
    except QueueCTLError as error:
        log(f"not restarted: {error}")
        return
    reached("restart.checked")
    log("restarting in place; running jobs go on")
    if telling.courier is not None:
        telling.courier.close(1.0)
    supervisor.tell(supervisor.reloading())
    signals.let_go()
    reached("restart.before-exec")
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError as error:
        signals.catch()
        telling.start()
        supervisor.tell(supervisor.READY)
        log(f"not restarted: {sys.executable}: {error.strerror}")
