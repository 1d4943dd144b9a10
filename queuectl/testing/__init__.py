"""What we test ourselves with, as a product for plugin authors: conformance suites, fakes and fixtures.

``storage``, ``executor``, ``backoff`` and ``notifier`` are suites to subclass; ``fakes`` stands in for what is slow or
far away; ``memory`` is the reference storage; ``plugin`` has pytest fixtures that drive the real program; ``receiver``
is an HTTP server that hangs, drips, floods or closes as it is told to. The suites are versioned with the core: a new
test may fail an old plugin only in a minor release, and the changelog says so.
"""

import sys

if "pytest" in sys.modules:  # else this is a program that uses the fakes
    import pytest

    pytest.register_assert_rewrite(
        *(f"queuectl.testing.{name}" for name in ("storage", "executor", "workbench", "backoff", "notifier", "plugin"))
    )
