"""The command line: parse, call the pipeline, render.

Exit status: 0 ok, 2 the user's error, 1 ours. Answers go to stdout, messages and progress to
stderr.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from simsearch.cli.commands import cli
from simsearch.errors import SimsearchError


def main() -> None:
    """Run the command line and exit."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  # until exit
    for stream in (sys.stdout, sys.stderr):
        # the texts are Unicode, whatever the terminal's locale says
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    try:
        cli.main(prog_name="simsearch", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except SimsearchError as error:
        _fail(str(error))
    except BrokenPipeError:
        # the reader of our output has had enough; keep Python from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except SystemExit:
        # the same, noticed by click or rich, which call it a failure
        sys.exit(0)
    except OSError as error:
        # a full disk, a missing permission: the machine's state, which the user can mend
        _fail(f"{error.filename or 'standard output'}: {error.strerror or error}")
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(130)


def _fail(message: str) -> None:
    from simsearch.cli.render import printable  # rich, which --help does without

    lines = (printable(line) for line in message.split("\n"))
    click.echo("simsearch: " + "\n".join(lines), err=True)
    sys.exit(2)
