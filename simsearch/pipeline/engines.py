"""Who encodes the texts of a build: this process, or the machines of a Ray cluster."""

from __future__ import annotations

import functools
import itertools
import platform
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from simsearch.backbone import Progress
from simsearch.cluster import connected
from simsearch.config import EncoderSettings
from simsearch.encoder import Encoder, Vectors
from simsearch.errors import EncoderMismatchError, SimsearchError
from simsearch.pipeline.opening import load_encoder
from simsearch.sentence_encoder import SentenceEncoder
from simsearch.store import Shard, differing_fields


class Encoded(NamedTuple):
    """Vectors of texts, float32 (texts, dim), and which texts were cut: see ``truncated_texts``."""

    vectors: Vectors
    truncated: Mapping[int, int]


def encode_texts(
    encoder: Encoder,
    texts: Sequence[str],
    encode: Callable[[Sequence[str]], Vectors] | None = None,
) -> Encoded:
    """Encode texts, by default as documents, and find those that were cut."""
    before = encoder.truncated
    vectors = (encode or encoder.encode)(texts)
    return Encoded(vectors, truncated_texts(encoder, texts) if encoder.truncated > before else {})


def truncated_texts(encoder: Encoder, texts: Sequence[str]) -> dict[int, int]:
    """The positions of the texts that the encoder cuts, and how many tokens they have."""
    counts = enumerate(encoder.token_counts(texts))
    return {i: tokens for i, tokens in counts if tokens > encoder.max_length}


def encode_here(
    shards: Iterable[Shard], encoder: SentenceEncoder, advance: Progress
) -> Generator[tuple[Shard, Encoded]]:
    """Each shard with its vectors, in order."""
    encode = functools.partial(encoder.encode, progress=advance)
    for shard in shards:
        yield shard, encode_texts(encoder, shard.texts, encode)


def encode_on_cluster(
    shards: Iterable[Shard],
    encoder: SentenceEncoder,
    settings: EncoderSettings,
    address: str | None,
    advance: Progress,
) -> Generator[tuple[Shard, Encoded]]:
    """Each shard with its vectors, in order, encoded by a Ray cluster: see ``cluster.connected``.

    ``settings`` are those that ``encoder`` was loaded with; each process of the cluster loads it
    once, from the same path or by the same name. Raises SettingsError if there is no cluster, the
    CheckpointError of a machine that has no such model, and EncoderMismatchError where it is
    another one.
    """
    with connected(address) as cluster:
        threads = cluster.threads(settings.threads)
        load = _everywhere(settings, encoder, threads).model_dump_json()
        encode = functools.partial(_encode_there, load, encoder.identity)
        ahead, behind = itertools.tee(shards)
        gpu = settings.runtime == "tensorflow" and cluster.gpus > 0
        texts = (shard.texts for shard in ahead)
        with closing(cluster.ordered_map(encode, texts, threads=threads, gpu=gpu)) as results:
            for shard, encoded in zip(behind, results, strict=True):
                advance(len(shard.texts))
                yield shard, encoded


def _everywhere(
    settings: EncoderSettings, encoder: SentenceEncoder, threads: int
) -> EncoderSettings:
    """Settings that mean the same in a process with another current folder."""
    files = {"whitening": settings.whitening, "calibration": settings.calibration}
    paths = {name: str(Path(path).absolute()) for name, path in files.items() if path}
    model = encoder.checkpoint.reference
    return settings.model_copy(update={**paths, "model": model, "threads": threads})


def _encode_there(settings: str, identity: Mapping[str, Any], texts: Sequence[str]) -> Encoded:
    """Encode texts in a process of the cluster, with the encoder of that ``identity``."""
    try:
        encoder = _loaded(settings)
    except SimsearchError as error:
        raise type(error)(f"on {platform.node()}, a machine of the cluster: {error}") from None
    if fields := differing_fields(identity, encoder.identity):
        raise EncoderMismatchError(
            f"{platform.node()}, a machine of the cluster, has another encoder "
            f"by the name {encoder.checkpoint.reference}:"
            + "".join(f"\n  {field}" for field in fields)
        )
    return encode_texts(encoder, texts)


@functools.lru_cache(maxsize=1)
def _loaded(settings: str) -> SentenceEncoder:
    return load_encoder(EncoderSettings.model_validate_json(settings))
