"""Errors that a user can cause. Each message is one sentence: what, where, and what to type; each class has an exit code."""


class HandsynthError(Exception):
    """A check failed or data are damaged (exit code 1)."""

    exit_code = 1


class UsageError(HandsynthError):
    """A command, a flag or a spec is wrong (exit code 2)."""

    exit_code = 2


class AssetError(HandsynthError):
    """An asset or a device is missing or cannot be used (exit code 3)."""

    exit_code = 3
