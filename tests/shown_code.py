"""The code that pages show, and how it is run."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from simsearch.cli import main

PLAIN = r"""simsearch (?:'[^']*'|"[^"$`\\]*"|[^'"<>|&;$`\\])+"""


def uncommented(line: str) -> str:
    return re.sub(r"\s+#.*", "", line)


def is_plain(line: str) -> bool:
    """Whether a line calls simsearch and needs nothing of a shell but its quotes.

    Embedded Milvus is a server that stays in its process, so that has one of its own.
    """
    return re.fullmatch(PLAIN, uncommented(line)) is not None and "milvus" not in line


class Block(NamedTuple):
    language: str
    title: str
    code: str
    heading: str

    def commands(self) -> list[str]:
        """Its lines that call simsearch, without their comments."""
        whole = self.code.replace("\\\n", " ")
        lines = re.findall(r"^(?:\$ )?(simsearch .+)$", whole, re.MULTILINE)
        return list(map(uncommented, lines))


class Ran(NamedTuple):
    status: int
    out: str
    err: str


def blocks(page: Path, *languages: str) -> list[Block]:
    """The code of a page, each block with the heading that it stands under."""
    found, heading = [], ""
    pattern = r'^(?:#+ ([^\n]+)|```(\w*)(?: title="([^\n"]+)")?\n(.*?)^```)$'
    for match in re.finditer(pattern, page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        else:
            found.append(Block(match[2], match[3] or "", match[4], heading))
    return [block for block in found if not languages or block.language in languages]


class Reader:
    """Runs what is shown, in the current folder: plain commands in this process, which is quick."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, block: Block) -> Ran:
        """A block of Python or of a shell, to its first failure."""
        if block.language == "python":
            exec(block.code, {"__name__": "__main__"})
            return Ran(0, *self._capsys.readouterr())
        ran = Ran(0, "", "")
        for plain, lines in itertools.groupby(block.code.splitlines(), is_plain):
            for step in lines if plain else ["\n".join(lines)]:
                ran = self.command(step) if plain else self._shell(step)
                if ran.status:
                    return ran
        return ran

    def command(self, line: str) -> Ran:
        """One plain command."""
        self._monkeypatch.setattr(sys, "argv", shlex.split(uncommented(line)))
        status: object = 0
        try:
            main()
        except SystemExit as exit_:
            status = exit_.code
        return Ran(int(str(status or 0)), *self._capsys.readouterr())

    def _shell(self, script: str) -> Ran:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env={**os.environ, "PATH": path, "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)
