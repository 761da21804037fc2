"""MTEB: ``SimsearchModel``, an encoder that ``mteb.evaluate`` takes.

::

    import mteb
    from simsearch.integrations.mteb import SimsearchModel

    mteb.evaluate(SimsearchModel(), mteb.get_tasks(tasks=["STSBenchmark"]))
"""

from __future__ import annotations

from typing import Any

from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ScoringFunction
from mteb.types import PromptType

from simsearch import __version__
from simsearch.encoder import Prompt, Vectors
from simsearch.sentence_encoder import SentenceEncoder


class SimsearchModel(AbsEncoder):  # type: ignore[misc]  # untyped where mteb is not installed
    """An encoder as MTEB's model; by default the embedded one.

    Queries get the encoder's query prompt, everything else its document prompt. Results are kept
    under the model's name, its pooling and its fingerprint, so that no two encoders share them.
    """

    def __init__(self, encoder: SentenceEncoder | None = None) -> None:
        self.encoder = SentenceEncoder.load() if encoder is None else encoder

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **options: Any,
    ) -> Vectors:
        """Unit vectors, float32 (texts, dim), of MTEB's batches of texts.

        ``options`` are MTEB's for other encoders, such as ``batch_size``; nothing needs them here.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        prompt: Prompt = "query" if prompt_type == PromptType.query else "document"
        return self.encoder.encode(texts, prompt=prompt)

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What MTEB writes beside results."""
        checkpoint = self.encoder.checkpoint
        name = f"simsearch/{checkpoint.name}-{self.encoder.pooling.name}"
        return ModelMeta(
            loader=None,
            name=name.replace(" ", "_"),
            revision=self.encoder.fingerprint[:16],
            release_date=None,
            languages=None,
            n_parameters=None,
            memory_usage_mb=None,
            max_tokens=self.encoder.max_length,
            embed_dim=self.encoder.dim,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=[],
            similarity_fn_name=ScoringFunction.COSINE,
            use_instructions=False,
            training_datasets=None,
            experiment_kwargs={"simsearch": __version__},
        )
