"""What stands on an encoder to predict: classes of texts, tags of their units, or of pairs one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from simsearch.errors import CheckpointError
from simsearch.saving.folder import write_json, write_tensors

Array = npt.NDArray[np.float32]
HeadKind = Literal["classes", "tags", "pairs"]
KERNEL, BIAS, TRANSITIONS = "head/kernel", "head/bias", "head/transitions"
_NAMES, _VALUES = "head.json", "head.safetensors"


@dataclass(frozen=True, eq=False)
class Head:
    """A linear layer: ``values`` has its kernel (hidden, names) and bias (names,), float32.

    ``names`` are the classes or the tags; of "pairs" there is one, whose score is the log odds
    that two texts mean the same. Tags also have transitions (names, names), the score of the
    second after the first, and ``characters`` says that each unit is a character.
    """

    kind: HeadKind
    names: tuple[str, ...]
    values: Mapping[str, Array] = field(default_factory=dict)
    characters: bool = False

    def with_values(self, values: Mapping[str, Array]) -> Head:
        """The same with those of ``values`` that are its own."""
        return replace(self, values={name: values[name] for name in self.values})

    def save(self, folder: Path) -> None:
        """Write it beside a checkpoint. Raises OSError if the system refuses."""
        facts = {"kind": self.kind, "names": list(self.names), "characters": self.characters}
        write_json(folder / _NAMES, facts)
        write_tensors(folder / _VALUES, self.values)

    @classmethod
    def load(cls, folder: Path) -> Head:
        """Read what ``save`` wrote. CheckpointError if there is none, or it is damaged."""
        try:
            facts = json.loads((folder / _NAMES).read_text("utf-8"))
            values = load_file(folder / _VALUES)
            head = cls(facts["kind"], tuple(facts["names"]), values, bool(facts["characters"]))
            shapes = {name: value.shape for name, value in values.items()}
        except FileNotFoundError:
            raise CheckpointError(
                f"{folder}: predicts nothing; train a model that does with `simsearch train "
                "classify`, `label` or `rerank`"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise CheckpointError(f"{folder / _NAMES}: cannot be read ({error})") from None
        count = len(head.names)
        wanted = {BIAS: (count,), KERNEL: (*shapes.get(KERNEL, ())[:1], count)}
        if head.kind == "tags":
            wanted[TRANSITIONS] = (count, count)
        if head.kind not in get_args(HeadKind) or shapes != wanted:
            raise CheckpointError(
                f"{folder / _VALUES}: holds {shapes}, which is no layer for {count} names; copy "
                "the folder anew"
            )
        return head
