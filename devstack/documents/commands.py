"""Commands that documents tell people to run: targets of make, commands of flask, modules of Python; their options."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click

from devstack.offline_application import create_offline_application

PROJECT = Path(__file__).resolve().parent.parent.parent
MAKE = re.compile(
    r"(?:^|&& |; |[A-Z_]+=\S+ )make((?: +[A-Z]+=(?:'[^']*'|\S+))*)(?: +([a-z]+))?(?=$|[ \n;'#])", re.MULTILINE
)
FLASK = re.compile(r"\bflask --app app((?: +[\w./:…=-]+)*)")
MODULE = re.compile(r"\bpython -m ((?:app|tasks|devstack|bench|tests)[\w.]*)((?: +(?:\\\n)? *[^\s#&|;]+)*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
# Whose options are those of another program: Celery's.
FORWARDING = {"tasks"}


def problems(text: str) -> Iterator[str]:
    """Yield what is wrong with the commands in a text."""
    for _, target in MAKE.findall(text):
        if target and target not in targets():
            yield f"make has no target {target}"
    for words in FLASK.findall(text):
        yield from _flask(words.split())
    for module, words in MODULE.findall(text):
        yield from _module(module.rstrip("."), words)


@cache
def targets() -> frozenset[str]:
    """Return the targets of the Makefile."""
    return frozenset(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), flags=re.MULTILINE))


@cache
def _group() -> click.Group:
    return create_offline_application().cli


def _flask(words: list[str]) -> Iterator[str]:
    """Follow the words down flask's commands, then look at the options."""
    command: click.Command = _group()
    context = click.Context(command)
    for word in words:
        if word.startswith("--"):
            known = [option for parameter in command.get_params(context) for option in parameter.opts]
            if word.partition("=")[0] not in known:
                yield f"flask {command.name} has no option {word}"
        elif isinstance(command, click.Group) and word != "…":
            found = command.get_command(context, word)
            if found is None:
                yield f"flask has no command {word} in {command.name}"
                return
            command = found


def _module(module: str, words: str) -> Iterator[str]:
    if importlib.util.find_spec(module) is None:
        yield f"there is no module {module}"
    elif module not in FORWARDING:
        missing = [option for option in OPTION.findall(words) if option not in _help(module)]
        yield from (f"python -m {module} has no option {option}" for option in missing)


@cache
def _help(module: str) -> str:
    command = [sys.executable, "-m", module, "--help"]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60).stdout
