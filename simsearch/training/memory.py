"""Whether a step of training fits in memory, asked before the first one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simsearch.bert.trainable import pass_ends
from simsearch.checkpoint.architecture import Architecture
from simsearch.config import TrainSettings
from simsearch.errors import SettingsError
from simsearch.training.method import Arrays, Method

# Numbers that are kept until the gradients are known, for each token and layer: so many times the
# hidden size, the intermediate size, and heads by tokens. Fitted to the peaks of seven models,
# 4 to 12 layers, 384 and 768 wide, texts of 64 to 512 tokens, from which they are 20 % off at most.
_HIDDEN, _INTERMEDIATE, _ATTENTION = 16.0, 4.5, 2.0
_BFLOAT16 = 0.65  # of that, where products are in it: what lies between them is not
_COPIES = 5  # of the variables: themselves, gradients, the same cut to a length, and two moments
_LOGITS = 4  # numbers for each word of the vocabulary and each token that is asked for


def check_memory(
    free: int,
    architecture: Architecture,
    parameters: int,
    method: Method,
    parts: Sequence[Arrays],
    passes: int,
    settings: TrainSettings,
    devices: int = 1,
) -> None:
    """Raise SettingsError if a step on these ``parts`` of a batch needs more than ``free`` bytes.

    ``parameters`` are the numbers in the variables; texts go through the model in ``passes``, on as
    many ``devices``.
    """
    sums = 4 * parameters  # of the gradients of several parts
    fixed = sums * _COPIES + (sums if len(parts) > 1 else 0)
    each = max(
        _activations(architecture, method, part, passes, settings.bfloat16) for part in parts
    )
    if fixed + each <= free:
        return
    message = f"a step needs about {_gib(fixed + each)} of memory, and {_gib(free)} are free; "
    if fixed >= free:
        raise SettingsError(
            f"{message}the model alone, with what its optimizer keeps, needs {_gib(fixed)}; train "
            "a smaller one"
        )
    rows = settings.batch_size // len(parts)
    more = 0 if len(parts) > 1 else sums
    for times in range(2, rows + 1):
        if rows % (times * devices) == 0 and fixed + more + each / times <= free:
            number = len(parts) * times
            raise SettingsError(f"{message}with --accumulate {number} it would fit")
    raise SettingsError(f"{message}give a smaller --batch-size and --max-length")


def _activations(
    a: Architecture, method: Method, arrays: Arrays, passes: int, bfloat16: bool
) -> float:
    """Bytes of what is computed on the way to the loss of one part and kept for the gradients."""
    ids = [arrays[name].reshape(-1, arrays[name].shape[-1]) for name in method.ids]
    lengths = np.sort(np.concatenate([np.count_nonzero(rows, axis=1) for rows in ids]))
    numbers = 0.0
    for part in np.split(lengths, pass_ends(len(lengths), passes)[:-1]):
        width = part.max(initial=0)
        each = _HIDDEN * a.hidden_size + _INTERMEDIATE * a.intermediate_size
        numbers += len(part) * width * (each + width * _ATTENTION * a.num_attention_heads)
    numbers *= a.num_hidden_layers * (_BFLOAT16 if bfloat16 else 1)
    asked = np.count_nonzero(arrays["targets"] >= 0) if "targets" in arrays else 0  # of mlm
    return 4 * (numbers + _LOGITS * a.vocab_size * asked)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
