"""The graph as bert4keras built it, run by TensorFlow, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simsearch.bert import encoder_graph
from simsearch.checkpoint import Checkpoint


class TensorFlowRuntime:
    """Implements ``Runtime``."""

    def __init__(self, checkpoint: Checkpoint, heads: Sequence[str]) -> None:
        self._heads = tuple(heads)
        self._graph = encoder_graph(checkpoint, heads)

    def run(self, ids: npt.NDArray[np.int32]) -> list[npt.NDArray[np.float32]]:
        """See ``Runtime``."""
        outputs = self._graph.encode(ids)
        return [outputs[head].numpy() for head in self._heads]
