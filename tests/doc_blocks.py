"""The code of documentation pages: found as readers see it, commands checked by the programs' own parsers, and run.

A block is fenced, with its language, or indented by four spaces, which is commands where it begins with one. What a test cannot run
says so where a reader sees it: its title begins with "Needs", as in ```sh title="Needs MANO, which is licensed". Such commands are
checked, and not run.
"""

import contextlib
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handmesh.cli import main as handmesh_cli
from handsynth.cli import main as handsynth_cli

ROOT = Path(__file__).parents[1]
PROGRAMS = {"handsynth": handsynth_cli, "handmesh": handmesh_cli}
NEEDS = "Needs "
COMMAND = re.compile(r"(handsynth|handmesh|pip|python|bash|sbatch|torchrun) ")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


@dataclass(frozen=True)
class Block:
    """A block of code, without its fences or indentation."""

    page: str
    line: int  # of the file, where its text begins
    language: str
    title: str
    text: str

    @property
    def is_run(self) -> bool:
        return not self.title.startswith(NEEDS)

    @property
    def commands(self) -> list[str]:
        """Its lines without comments; what a backslash continues is one."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def blocks_of(page: Path) -> list[Block]:
    """Every block of a page of Markdown, in order; fences within lists and notes are found, too."""
    found: list[Block] = []
    lines = page.read_text("utf-8").splitlines()
    number, before = 0, ""
    while number < len(lines):
        line = lines[number]
        if fence := re.match(r"( *)```(\w*)(.*)$", line):
            end = next(k for k in range(number + 1, len(lines)) if lines[k].strip() == "```")
            title = re.search(r'title="([^"]*)"', fence[3])
            text = "\n".join(row.removeprefix(fence[1]) for row in lines[number + 1 : end])
            found.append(Block(page.name, number + 2, fence[2], title[1] if title else "", text + "\n"))
            number, before = end + 1, "```"
        elif line.startswith("    ") and (not before or before.startswith("#")):
            end = next((k for k in range(number, len(lines)) if lines[k] and not lines[k].startswith("    ")), len(lines))
            text = "\n".join(row[4:] for row in lines[number:end]).rstrip() + "\n"
            found.append(Block(page.name, number + 1, "sh" if COMMAND.match(text) else "text", "", text))
            number, before = end, ""
        else:
            number, before = number + 1, line.strip()
    return found


def program_calls(block: Block) -> Iterator[tuple[str, list[str]]]:
    """Name and words of every call of our programs in a block of commands; other lines are checked: what they name exists.

    Raises AssertionError for lines that are neither.
    """
    for command in block.commands:
        words = shlex.split(command)
        where = f"{block.page}:{block.line}: {command}"
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            words = words[1:]  # the environment
        if words[0] in PROGRAMS:
            yield words[0], words[1:]
        elif words[:2] == ["pip", "install"]:
            for extra in re.findall(r"[\w]+", "".join(re.findall(r"\[([\w,]+)\]", command))):
                assert extra in EXTRAS, f"{where}: there is no extra {extra}"
        elif script := next((word for word in words if re.match(r"(scripts|benchmarks|tests)/", word)), None):
            assert (ROOT / script).exists(), f"{where}: there is no {script}"
        else:
            assert not block.is_run, f"{where}: neither run nor checked"


def parse(program: str, words: list[str]) -> None:
    """Raises AssertionError with what a user would see, where the program has no such command or option."""
    found: Any = PROGRAMS[program].make_program()
    words = words[: words.index(">")] if ">" in words else words
    while hasattr(found, "commands"):
        if words[0].startswith("--"):
            assert any(words[0] in option.opts for option in found.params), f"{program} {words[0]}"
            return
        assert words[0] in found.commands, f"{program} has no command {words[0]}"
        found, words = found.commands[words[0]], words[1:]
    try:
        found.make_context(found.name, words)
    except Exception as error:  # of the parser, whose classes Typer keeps to itself
        raise AssertionError(f"{program} {found.name} {' '.join(words)}: {error}") from error


def check(page: Path) -> int:
    """Raises where a command of the page is none of ours, or one that its program would refuse; returns how many there are."""
    calls = [call for block in blocks_of(page) if block.language == "sh" for call in program_calls(block)]
    for program, words in calls:
        parse(program, words)
    return len(calls)


def run(program: str, words: list[str], monkeypatch: Any) -> int:
    """Calls a program in this process, with what is printed in a file where the words say so; returns its exit code."""
    out = words.pop() if ">" in words else None
    monkeypatch.setattr(sys, "argv", [program, *(word for word in words if word != ">")])
    with contextlib.ExitStack() as stack:
        if out:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(out, "w"))))
        try:
            PROGRAMS[program].main()
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    return 0


def run_page(page: Path, monkeypatch: Any, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Runs every block that is not marked, in the current folder and in the page's order; returns the names that Python has then.

    Blocks of other languages, settings and outputs, are for readers; a title that is the name of a file makes them that file.
    """
    names = {} if names is None else names
    for block in blocks_of(page):
        if not block.is_run:
            continue
        if block.language == "python":
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)
        elif block.language == "sh":
            for program, words in program_calls(block):
                assert run(program, words, monkeypatch) == 0, f"{page.name}:{block.line}: {program} {' '.join(words)}"
        elif re.fullmatch(r"[\w.-]+\.\w+", block.title):
            Path(block.title).write_text(block.text, "utf-8")
    return names
