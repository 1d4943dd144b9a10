"""The fixture ``queuectl_project``."""

from queuectl.testing.plugin import queuectl_project

__all__ = ["queuectl_project"]
