"""Errors that a user can cause. Each message is one sentence: what, where, and what to type; each class has an exit code."""

from handsynth.core.secrets import hide_secrets


class HandsynthError(Exception):
    """A check failed or data are damaged (exit code 1). No message shows a secret of an address."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        """Keeps the message without secrets."""
        super().__init__(hide_secrets(str(message)))


class UsageError(HandsynthError):
    """A command, a flag or a spec is wrong (exit code 2)."""

    exit_code = 2


class AssetError(HandsynthError):
    """An asset or a device is missing or cannot be used (exit code 3)."""

    exit_code = 3


class Stopped(HandsynthError):
    """The user stopped it (exit code 130, as shells have it); the message says what is kept."""

    exit_code = 130
