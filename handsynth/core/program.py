"""What surrounds the command line of both programs: every error that a user can cause is one sentence and its exit code."""

import contextlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from handsynth.core.errors import HandsynthError, Stopped
from handsynth.core.secrets import hide_secrets

DEBUG = "HANDSYNTH_DEBUG"
"""Environment variable, set by --debug: errors come with their traceback, and with those that they stand for."""


def version_line(program: str) -> str:
    """What --version prints."""
    from handsynth import __version__

    return f"{program} {__version__}"


@dataclass(frozen=True)
class Help:
    """What --help shows beside names and texts: commands and options in groups, and examples."""

    commands: Mapping[str, tuple[str, ...]]  # title of a group -> the commands in it
    options: Mapping[str, tuple[str, ...]]  # title of a group -> flags in it, of whatever command
    examples: Mapping[str, tuple[str, ...]]  # "generate" or "assets prepare" -> what to type after the program's name


def document(command: Any, shown: Help, path: tuple[str, ...] = ()) -> Any:
    """A command of typer's, and those below it, with their help in groups, with examples, and literal: returns the command.

    typer takes "[px]" for markup, and swallows it; texts are shown as they are written.
    """
    command.help, name = _literal(command.help), " ".join(path)
    if examples := shown.examples.get(name):
        command.epilog = _literal("\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in examples)]))
    for parameter in command.params:
        if getattr(parameter, "help", None):
            parameter.help = _literal(parameter.help)
        for title, names in shown.options.items():
            if set(names) & set(parameter.opts):
                parameter.rich_help_panel = title
    for below, child in getattr(command, "commands", {}).items():
        for title, names in shown.commands.items():
            if not path and below in names:
                child.rich_help_panel = title
        document(child, shown, (*path, below))
    return command


def _literal(text: str | None) -> str | None:
    """Text that rich shows as it is: brackets that it would take for a tag are escaped."""
    return text and re.sub(r"(\\*)(\[[a-z#/@][^\[]*?\])", r"\1\1\\\2", text)


def run_program(name: str, command: Callable[[], object]) -> None:
    """Calls `command`, which parses the command line and works, and ends the process when it fails.

    Results may have been printed on stdout. On stderr comes one sentence that begins with the program's name; no traceback,
    unless --debug was given or the error is none of the user's. Exit codes: see core.errors; 1 for a file that cannot be read
    or written, 130 for Ctrl-C, 141 for a reader of stdout that went away.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # replaced by something simpler
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with _interrupts() as interrupts:
        try:
            command()
            return
        except BaseException as error:
            if isinstance(error, SystemExit) and error.code != Stopped.exit_code and not interrupts:
                raise
            code = _report(name, error, bool(interrupts))
    sys.exit(code)


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Notes each Ctrl-C, because a library may turn KeyboardInterrupt into another error, above all while it is imported."""
    before, hook = signal.getsignal(signal.SIGINT), sys.unraisablehook
    noted: list[int] = []
    if before is not signal.default_int_handler:  # a caller's own, or ignored as in a shell's background
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    def raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
        if unraisable.exc_type is KeyboardInterrupt:  # it came in a callback, where it would be printed and forgotten
            threading.Timer(0.01, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
        else:
            hook(unraisable)

    signal.signal(signal.SIGINT, note)
    sys.unraisablehook = raise_again
    try:
        yield noted
    finally:
        sys.unraisablehook = hook
        # While the process ends, a second Ctrl-C ends it at once, and silently.
        signal.signal(signal.SIGINT, signal.SIG_DFL if noted else before)


def _report(name: str, error: BaseException, interrupted: bool) -> int:
    """Says what ended the program, and returns its exit code."""
    unknown = False
    if isinstance(error, Stopped):
        code, text = error.exit_code, str(error)
    elif interrupted or isinstance(error, KeyboardInterrupt | SystemExit):  # typer turns Ctrl-C into the latter
        code, text = Stopped.exit_code, "stopped"
    elif isinstance(error, HandsynthError):
        code, text = error.exit_code, str(error)
    elif isinstance(error, BrokenPipeError):
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # what is left to be flushed goes nowhere
        return 141
    elif isinstance(error, OSError):
        code, text = 1, f"{error.filename}: {error.strerror}" if error.filename else str(error)
    else:
        unknown, code, text = True, 1, ""
    if unknown or debugging():
        _print_traceback(error)
    if not unknown:
        print(f"{name}: {hide_secrets(text)}", file=sys.stderr, flush=True)
    return code


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def _print_traceback(error: BaseException) -> None:
    """Prints an error with all that led to it, without secrets."""
    seen: BaseException | None = error
    while seen is not None:
        seen.__suppress_context__ = False  # `from None` keeps messages short, and would hide the cause here
        seen = seen.__cause__ or seen.__context__
    print(hide_secrets("".join(traceback.format_exception(error))), end="", file=sys.stderr, flush=True)
