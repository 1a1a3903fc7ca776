"""The help of both programs: shown as it is written, in groups, with examples that their parsers take; shell completion."""

import os
import re
import subprocess
import sys
from typing import Any

import pytest

from handmesh.cli.help import HELP as MESH_HELP
from handmesh.cli.main import make_program as mesh_program
from handsynth.cli.help import HELP as SYNTH_HELP
from handsynth.cli.main import make_program as synth_program

PROGRAMS = {"handsynth": (synth_program, SYNTH_HELP), "handmesh": (mesh_program, MESH_HELP)}


def commands(command: Any, path: tuple[str, ...] = ()):
    """Every command of a program with its path, groups too."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))


ALL = [(program, path) for program, (make, _) in PROGRAMS.items() for path, _ in commands(make())]


@pytest.fixture
def shown(monkeypatch, capsys):
    """Text of a help page, on a terminal so wide that nothing is wrapped; runs of spaces are one."""

    def show(program: str, path: tuple[str, ...]) -> str:
        monkeypatch.setenv("TERMINAL_WIDTH", "2000")
        monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", 2000, raising=False)
        with pytest.raises(SystemExit):
            PROGRAMS[program][0]()([*path, "--help"], prog_name=program)
        return " ".join(re.sub("[│╭╮╰╯─]", " ", capsys.readouterr().out).split())

    return show


def written(text: str) -> str:
    """A help text as its author wrote it: without the escapes of brackets."""
    return " ".join(text.replace("\b", "").replace("\\[", "[").split())


@pytest.mark.parametrize(("program", "path"), ALL)
def test_help_texts_are_shown_as_they_are_written(shown, program, path):
    """Of a command, its options and those below it: no bracket is taken for markup and swallowed, no colons for an emoji."""
    page = shown(program, path)
    command = dict(commands(PROGRAMS[program][0]()))[path]
    texts = [parameter.help for parameter in command.params if getattr(parameter, "help", None) and not parameter.hidden]
    assert texts or path
    missing = [text for text in [command.help, command.epilog, *texts] if text and written(text) not in page]
    assert missing == []


def test_brackets_and_colons_would_be_noticed(shown):
    """The texts hold what rich takes for markup, or the test above would show nothing."""
    assert "[px]" in shown("handmesh", ("predict",))
    assert "A:B[:STEP]" in shown("handsynth", ("generate",))


@pytest.mark.parametrize(("program", "path"), ALL)
def test_examples_are_there_and_parse(program, path, monkeypatch, tmp_path):
    """Every command that does something has examples, each begins with the program's name, is of this command, and its parser
    takes it.
    """
    make, shown_help = PROGRAMS[program]
    command = dict(commands(make()))[path]
    examples = shown_help.examples.get(" ".join(path), ())
    assert examples or hasattr(command, "commands")
    for line in examples:
        words = re.split(" > ", line)[0].split()
        assert words[0] == program
        assert words[1 : 1 + len(path)] == list(path)
        found, rest = make(), words[1:]
        if rest == ["--install-completion"]:
            assert any("--install-completion" in parameter.opts for parameter in found.params)
            continue
        while hasattr(found, "commands"):
            found, rest = found.commands[rest[0]], rest[1:]
        context = found.make_context(found.name, rest)  # raises what a user would see
        assert context.params


@pytest.mark.parametrize("program", PROGRAMS)
def test_tables_of_the_help_name_what_is_there(program):
    """Every command of the first level is in one group; no table names a command or an option that is gone."""
    make, shown_help = PROGRAMS[program]
    found = dict(commands(make()))
    first = [path[0] for path in found if len(path) == 1]
    assert sorted(name for names in shown_help.commands.values() for name in names) == sorted(first)
    flags = {flag for command in found.values() for parameter in command.params for flag in parameter.opts}
    named = [name for names in shown_help.options.values() for name in names]
    assert set(named) <= flags
    assert len(named) == len(set(named))
    assert set(shown_help.examples) <= {" ".join(path) for path in found}


def test_options_and_commands_are_in_their_groups(shown):
    page = shown("handsynth", ("generate",))
    assert page.index(" What is made ") < page.index("--samples")
    assert page.index(" How it is run ") < page.index("--jobs") < page.index("Examples:")
    page = shown("handmesh", ())
    assert page.index(" Training ") < page.index(" evaluate ")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("handsynth ge", "generate"), ("handsynth export hu", "huggingface"), ("handmesh tr", "train"),
        ("handmesh predict --ki", "--kinematics"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(words, expected, shell):
    program = words.split()[0]
    env = os.environ | {
        f"_{program.upper()}_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    ended = subprocess.run([sys.executable, "-m", program], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert expected in ended.stdout, ended.stderr
