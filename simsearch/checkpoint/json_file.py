"""The JSON files of a checkpoint, each an object or a list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simsearch.errors import CheckpointError


def read_json(path: Path, *, optional: bool = False, expected: type[Any] = dict) -> Any:
    """The JSON object (or list, if ``expected``) in a file; an empty one if it may be absent.

    Raises CheckpointError if it cannot be read or is something else.
    """
    if optional and not path.is_file():
        return expected()
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; copy it anew") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(content, expected):
        kind = "object" if expected is dict else "list"
        raise CheckpointError(
            f"{path}: expected a JSON {kind}, got {type(content).__name__}; copy the file anew"
        )
    return content
