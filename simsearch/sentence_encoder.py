"""From texts to unit vectors: a backbone, a pooling, a whitening."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simsearch.backbone import Backbone, Pooled, Progress
from simsearch.calibration import LEAST_COSINE, Calibration
from simsearch.checkpoint import Checkpoint, load_checkpoint
from simsearch.config import Family, Precision, RuntimeName
from simsearch.encoder import SHARD, Prompt, Vectors, fingerprint
from simsearch.errors import SettingsError
from simsearch.identity import identity_of
from simsearch.pooling import Pooling, resolve_pooling
from simsearch.records import Span
from simsearch.saving import save_google, save_huggingface
from simsearch.sources import DEFAULT_MODEL
from simsearch.tokenizer import TextPair
from simsearch.weights import weight_hashes
from simsearch.whitening import Whitening, fit_whitening


class TokenVectors(NamedTuple):
    """The tokens of a text, [CLS] and [SEP] included; their vectors, float32 (tokens, hidden)."""

    tokens: list[str]
    vectors: Vectors


class TokenProbability(NamedTuple):
    """A word piece that may stand at a [MASK]."""

    token: str
    probability: float


class SentenceEncoder:
    """A checkpoint, a pooling and what comes after it: texts to unit vectors.

    Use ``SentenceEncoder.load``; the constructor takes a backbone that may serve several encoders.
    ``truncated`` counts the texts encoded so far that were cut to ``max_length`` tokens.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        pooling: str | None = None,
        layers: Sequence[int] | None = None,
        whitening: str | Path | Whitening | None = None,
        dim: int | None = None,
    ) -> None:
        checkpoint, hashes = backbone.checkpoint, backbone.hashes
        a = checkpoint.architecture
        if pooling in (None, checkpoint.pooling) and whitening is None:
            whitening, dim = checkpoint.whitening, checkpoint.dim if dim is None else dim
        self.checkpoint = checkpoint
        self.backbone = backbone
        self.pooling = pooling_of(checkpoint, pooling, layers)
        if self.pooling.name == "pooler" and hashes.pooler is None:
            raise SettingsError(
                f"{checkpoint.name}: has no pooler (bert/pooler/dense), so pooling 'pooler' is not "
                "possible; use 'cls' or 'mean'"
            )
        self.whitening = _cut(whitening, dim)
        self.truncated = 0
        hidden = a.embedding_size if self.pooling.name == "static_mean" else a.hidden_size
        identity = functools.partial(identity_of, checkpoint, hashes, self.pooling)
        plain = identity(dim=hidden, whitening=None)
        if self.whitening is not None and self.whitening.encoder != fingerprint(plain):
            raise SettingsError(
                "this whitening was fitted on the vectors of another encoder (fingerprint "
                f"{self.whitening.encoder[:16]}…, this one is {fingerprint(plain)[:16]}…); fit it "
                "again with the same model, pooling and options"
            )
        self.dim = hidden if self.whitening is None else self.whitening.rank
        self.identity = plain
        if self.whitening is not None:
            self.identity = identity(dim=self.dim, whitening=self.whitening.hash)
        self.fingerprint = fingerprint(self.identity)

    @classmethod
    def load(
        cls,
        name_or_path: str | Path = DEFAULT_MODEL,
        *,
        pooling: str | None = None,
        layers: Sequence[int] | None = None,
        whitening: str | Path | Whitening | None = None,
        dim: int | None = None,
        precision: Precision = "auto",
        calibration: str | Path | Calibration | None = None,
        runtime: RuntimeName = "openvino",
        threads: int | None = None,
        family: Family | None = None,
        lower_case: bool | None = None,
        strip_accents: bool | None = None,
        max_length: int | None = None,
        offline: bool = False,
    ) -> SentenceEncoder:
        """Load a checkpoint; what is not given is as the checkpoint says, else mean pooling.

        ``name_or_path`` is a folder, an archive (path or URL), a short name that `simsearch models`
        lists or ``owner/name`` on the Hugging Face hub. ``layers`` are hidden states (0 the
        embeddings, -1 the last); ``whitening`` is a fitted map or its file, ``dim`` how many of its
        dimensions to keep. ``precision`` is "auto" (bfloat16 where the hardware computes in it),
        "float32", or "int8", which needs a ``calibration`` or its file; ``threads`` are OpenVINO's,
        by default as many as the process may use. ``family``, ``lower_case``, ``strip_accents`` and
        ``max_length`` (in tokens) go before what the checkpoint's files say. With ``offline``
        nothing is downloaded.
        Raises CheckpointError for a checkpoint that cannot be had or read and SettingsError for
        options that do not fit it.
        """
        checkpoint = load_checkpoint(
            name_or_path,
            family=family,
            lower_case=lower_case,
            strip_accents=strip_accents,
            max_length=max_length,
            offline=offline,
        )
        if isinstance(calibration, (str, Path)):
            calibration = Calibration.load(calibration)
        backbone = Backbone(
            checkpoint,
            weight_hashes(checkpoint),
            precision=precision,
            calibration=calibration,
            runtime=runtime,
            threads=threads,
        )
        encoder = cls(backbone, pooling=pooling, layers=layers, whitening=whitening, dim=dim)
        backbone.open(encoder.pooling.heads)
        return encoder

    def encode(
        self, texts: Sequence[str], prompt: Prompt = "document", progress: Progress | None = None
    ) -> Vectors:
        """Unit vectors, float32 (len(texts), dim), in the order of ``texts``.

        ``prompt`` says which of the model's prompts, if it has them, is put before each text;
        ``progress`` is called with the number of texts just done. Raises SettingsError if ``texts``
        is a single string.
        """
        if isinstance(texts, str):
            raise SettingsError("texts is one string; expected a list of strings, such as [text]")
        shards = list(self.encode_stream(texts, prompt, progress))
        return np.concatenate(shards) if shards else np.empty((0, self.dim), np.float32)

    def encode_stream(
        self, texts: Iterable[str], prompt: Prompt = "document", progress: Progress | None = None
    ) -> Iterator[Vectors]:
        """As ``encode``, shard by shard, in memory that does not grow with the number of texts."""
        for shard in _shards(texts):
            yield self._unit(self.pooled(shard, prompt, progress))

    def pooled(
        self, texts: Sequence[str], prompt: Prompt = "document", progress: Progress | None = None
    ) -> Vectors:
        """The pooled vectors of one shard, float32 (len(texts), hidden), of any length.

        There is at least one text.
        """
        return self._one(self.backbone.pooled(texts, self.pooling.heads, prompt, progress))

    def pooled_pairs(self, pairs: Sequence[TextPair]) -> Vectors:
        """The same of two texts that the model reads as one, (len(pairs), hidden)."""
        return self._one(self.backbone.pooled_pairs(pairs, self.pooling.heads))

    def _one(self, pooled: Pooled) -> Vectors:
        self.truncated += pooled.truncated
        if len(pooled.heads) == 1:
            return pooled.heads[0]
        return np.asarray(np.mean(pooled.heads, axis=0, dtype=np.float32))

    def _unit(self, pooled: Vectors) -> Vectors:
        vectors = pooled if self.whitening is None else self.whitening.transform(pooled)
        # in float64, so that a unit vector is one to the last bit of float32
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)

    def token_ids(self, texts: Sequence[str], prompt: Prompt = "document") -> list[list[int]]:
        """The ids that the model sees for each text, truncated, with [CLS] and [SEP]."""
        return self.backbone.tokenized(texts, prompt).ids

    def token_counts(self, texts: Sequence[str], prompt: Prompt = "document") -> list[int]:
        """How many tokens each text has with nothing cut; with [CLS], [SEP] and the prompt."""
        return self.backbone.tokenizer.counts(self.backbone.prompted(texts, prompt))

    def spans(self, texts: Sequence[str], tokens: int, overlap: int) -> list[list[Span]]:
        """Where to cut each text into chunks: see ``Tokenizer.spans``."""
        return self.backbone.tokenizer.spans(texts, tokens, overlap)

    @property
    def max_length(self) -> int:
        """How many tokens a text may have, [CLS], [SEP] and the prompt included."""
        return self.checkpoint.max_length

    def token_vectors(self, text: str) -> TokenVectors:
        """The last hidden state of a text: a text of ten characters gives twelve rows."""
        (ids,) = self.token_ids([text])
        return TokenVectors(self.backbone.tokenizer.tokens(ids), self.backbone.token_states(ids))

    def fill_mask(self, text: str, top_k: int = 5) -> list[TokenProbability]:
        """The likeliest word pieces for the one "[MASK]" in ``text``, best first.

        Raises SettingsError unless there is exactly one, and CheckpointError if the checkpoint has
        no masked-language-model head. Runs on TensorFlow.
        """
        masks = text.count("[MASK]")
        if masks != 1:
            raise SettingsError(f"{text!r} has {masks} [MASK]; expected exactly one")
        tokenizer = self.backbone.tokenizer
        (ids,) = tokenizer.encode_masked(text).ids
        mask = tokenizer.mask
        if mask not in ids:
            raise SettingsError(f"[MASK] lies beyond the first {self.checkpoint.max_length} tokens")
        probabilities = self._mask_filler(ids, ids.index(mask))
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        tokens = tokenizer.tokens(best.tolist())
        return [
            TokenProbability(token, float(probabilities[i]))
            for token, i in zip(tokens, best, strict=True)
        ]

    @functools.cached_property
    def _mask_filler(self) -> Callable[[Sequence[int], int], Vectors]:
        from simsearch import bert  # TensorFlow, which a query does without

        return bert.mask_filler(self.checkpoint)

    def fit_whitening(self, texts: Iterable[str], progress: Progress | None = None) -> Whitening:
        """Fit a whitening on these texts; load the encoder again with it to use it.

        Raises SettingsError if this encoder whitens already, or for fewer than two different texts.
        """
        if self.whitening is not None:
            raise SettingsError(
                "this encoder whitens already; load it without whitening to fit one"
            )
        pooled = (self.pooled(shard, "document", progress) for shard in _shards(texts))
        return fit_whitening(pooled, self.fingerprint)

    def fit_calibration(
        self, texts: Sequence[str], progress: Progress | None = None
    ) -> Calibration:
        """Measure what int8 needs to know on half of these texts, and what it loses on the others.

        Some hundreds of texts like those to be encoded are enough. Raises SettingsError for fewer
        than 20 different ones, and if int8 would lose more than ``LEAST_COSINE`` allows.
        """
        texts = list(dict.fromkeys(texts))
        if len(texts) < 20:
            raise SettingsError(f"calibration needs at least 20 different texts, got {len(texts)}")
        read, held_out = texts[::2], texts[1::2]
        calibration = Calibration(
            self.backbone.observed_ranges(read, progress),
            weights=self.backbone.hashes.backbone,
            texts=len(read),
            cosine=1.0,
            least_cosine=1.0,
            held_out=len(held_out),
        )
        exact, rounded = (
            SentenceEncoder(
                self.backbone.with_precision(precision, calibration),
                pooling=self.pooling.name,
                layers=list(self.pooling.layers) or None,
                whitening=self.whitening,
            ).encode(held_out, progress=progress)
            for precision in ("float32", "int8")
        )
        cosines = (exact.astype(np.float64) * rounded).sum(axis=1)
        if cosines.mean() < LEAST_COSINE:
            raise SettingsError(
                f"int8 would lose too much: its vectors of {len(held_out)} held-out texts have a "
                f"mean cosine of {cosines.mean():.4f} with those of float32, expected "
                f"{LEAST_COSINE} or more; stay with precision auto"
            )
        return replace(calibration, cosine=float(cosines.mean()), least_cosine=float(cosines.min()))

    def save(self, folder: str | Path) -> None:
        """Write a checkpoint in Google layout that loads as this encoder, options included.

        Raises SettingsError if ``folder`` exists and is not empty.
        """
        save_google(Path(folder), self.checkpoint, self.pooling, self.whitening)

    def export_hf(self, folder: str | Path) -> None:
        """Write a model that sentence-transformers loads, and that loads here as this encoder.

        Its version 6 gives the same vectors, to 1e-5 in float32. Token ids, and so vectors, differ
        only for a capital Σ that ends a word (uncased WordPiece) and for "<pad>" spelled out in a
        text (a ``tokenizer.json``); older versions also strip the spaces around a text, and before
        transformers 4.42 "[SEP]" in a text is the token. The masked-language-model head is left
        out. Raises SettingsError for what sentence-transformers would compute otherwise (see
        ``simsearch export-hf --help``), and if ``folder`` exists and is not empty.
        """
        save_huggingface(Path(folder), self.checkpoint, self.pooling, self.whitening)


def pooling_of(checkpoint: Checkpoint, name: str | None, layers: Sequence[int] | None) -> Pooling:
    """The pooling that is asked for; what is not given is as the checkpoint says."""
    if name in (None, checkpoint.pooling):
        name, layers = checkpoint.pooling, checkpoint.layers if layers is None else layers
    assert name is not None  # a checkpoint has one
    return resolve_pooling(name, layers, checkpoint.architecture.num_hidden_layers)


def _shards(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while shard := list(itertools.islice(iterator, SHARD)):
        yield shard


def _cut(whitening: str | Path | Whitening | None, dim: int | None) -> Whitening | None:
    """The whitening, read if it is a file, with ``dim`` of its dimensions."""
    if isinstance(whitening, (str, Path)):
        whitening = Whitening.load(whitening)
    if dim is None:
        return whitening
    if whitening is None:
        raise SettingsError(
            f"dim {dim} needs a whitening: the coordinates of a plain BERT vector have no "
            "order, so that cutting them loses meaning. Fit one with `simsearch whiten`"
        )
    return whitening.cut(dim)
