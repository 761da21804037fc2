"""The model card of an exported model."""

from __future__ import annotations

from pathlib import Path

from simsearch.checkpoint import Checkpoint
from simsearch.pooling import Pooling
from simsearch.whitening import Whitening

_CARD = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags:
- sentence-transformers
- sentence-similarity
- feature-extraction
---

# {name}

A {family} of {layers} layers, written by simsearch (`export-hf`) from the checkpoint `{name}`,
whose licence and limits are this model's too.

| | |
|---|---|
| pooling | {pooling} |
| dimensions | {dim} |
| longest text | {length} tokens; what is longer is cut |
| prompts | {prompts} |

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
queries = model.encode_query(["怎么退款？"])
documents = model.encode_document(["退款在七天内到账。", "Nice weather today."])
print(model.similarity(queries, documents))
```

Loading may report pooler weights that are missing and newly initialized: nothing here reads them.
simsearch loads the folder as the encoder that it was exported from: `--model path/to/this/folder`.
An uncased model reads a capital Σ that ends a word as σ here, and as ς in simsearch.

Like most sentence encoders it hardly sees the order of words: expect a cosine near 1 for
"张三请李四吃饭。" and "李四请张三吃饭。", which mean different things.
"""


def model_card(checkpoint: Checkpoint, pooling: Pooling, whitening: Whitening | None) -> str:
    """The text of ``README.md``, with the header that the Hugging Face hub reads."""
    a = checkpoint.architecture
    states = f" of hidden state {', '.join(map(str, pooling.layers))}" if pooling.layers else ""
    whitened = "" if whitening is None else f", whitened (fitted on {whitening.rows} texts)"
    prompts = [f"{kind}: `{text}`" for kind, text in checkpoint.prompts.items() if text]
    return _CARD.format(
        name=Path(checkpoint.name).name,  # of a path the last part: the rest is this machine's
        family={"bert": "BERT", "albert": "ALBERT"}.get(a.family, a.family),
        layers=a.num_hidden_layers,
        pooling=f"{pooling.name}{states}{whitened}",
        dim=a.hidden_size if whitening is None else whitening.rank,
        length=checkpoint.max_length,
        prompts=", ".join(prompts) or "none",
    )
