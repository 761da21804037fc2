"""The variables of a BERT checkpoint: their names, their shapes, and the names others give them.

The canonical name is Google's (``bert/encoder/layer_0/attention/self/query/kernel``), which is what
bert4keras reads; ``names`` maps others' onto it.
"""

from __future__ import annotations

from simsearch.checkpoint.architecture import Architecture
from simsearch.config import Family

Shapes = dict[str, tuple[int, ...]]


def backbone_shapes(a: Architecture) -> Shapes:
    """What every checkpoint must have: embeddings and layers."""
    hidden, embedding, root = a.hidden_size, a.embedding_size, root_of(a.family)
    shapes: Shapes = {
        word_embeddings(a.family): (a.vocab_size, embedding),
        f"{root}/embeddings/token_type_embeddings": (a.type_vocab_size, embedding),
        **_norm(f"{root}/embeddings/LayerNorm", embedding),
    }
    if a.family not in _RELATIVE:
        positions = a.max_position_embeddings, embedding
        shapes[position_embeddings(a.family)] = positions
    if embedding != hidden:
        shapes |= _dense(_projection(a.family), embedding, hidden)
    if a.family == "albert":
        layer = "bert/encoder/transformer/group_0/inner_group_0/"
        shapes |= _attention(f"{layer}attention_1", a)
        shapes |= _dense(f"{layer}ffn_1/intermediate/dense", hidden, a.intermediate_size)
        shapes |= _dense(f"{layer}ffn_1/intermediate/output/dense", a.intermediate_size, hidden)
        return shapes | _norm(f"{layer}LayerNorm", hidden) | _norm(f"{layer}LayerNorm_1", hidden)
    for i in range(a.num_hidden_layers):
        layer = f"{root}/encoder/layer_{i}/"
        shapes |= _attention(f"{layer}attention", a)
        shapes |= _norm(f"{layer}attention/output/LayerNorm", hidden)
        shapes |= _dense(f"{layer}intermediate/dense", hidden, a.intermediate_size)
        shapes |= _dense(f"{layer}output/dense", a.intermediate_size, hidden)
        shapes |= _norm(f"{layer}output/LayerNorm", hidden)
    return shapes


def word_embeddings(family: Family) -> str:
    """The name of the embedding table: a row for each token id."""
    return f"{root_of(family)}/embeddings/word_embeddings"


def position_embeddings(family: Family) -> str:
    """The name of the position table: a row for each position, the first token's first."""
    return f"{root_of(family)}/embeddings/position_embeddings"


OUTPUT_BIAS = "cls/predictions/output_bias"
"""The name of the masked-language-model head's bias: a value for each token id."""

# positions are in the attention here, not in the embeddings
_RELATIVE = ("nezha", "roformer")


def root_of(family: Family) -> str:
    """What the names of the backbone's variables begin with."""
    return "electra" if family == "electra" else "bert"


def _projection(family: Family) -> str:
    """From the size of embeddings to that of layers, where the two differ."""
    if family == "electra":
        return "electra/embeddings_project"
    return "bert/encoder/embedding_hidden_mapping_in"


def _attention(name: str, a: Architecture) -> Shapes:
    hidden, keys = a.hidden_size, a.num_attention_heads * a.attention_key_size
    return {
        **_dense(f"{name}/self/query", hidden, keys),
        **_dense(f"{name}/self/key", hidden, keys),
        **_dense(f"{name}/self/value", hidden, hidden),
        **_dense(f"{name}/output/dense", hidden, hidden),
    }


def pooler_shapes(a: Architecture) -> Shapes:
    """The head behind pooling ``pooler``; many checkpoints have none, ELECTRA's never."""
    return _dense(f"{root_of(a.family)}/pooler/dense", a.hidden_size, a.hidden_size)


def mlm_shapes(a: Architecture) -> Shapes:
    """The masked-language-model head, whose output matrix is the word embeddings."""
    return {
        **_dense("cls/predictions/transform/dense", a.hidden_size, a.embedding_size),
        **_norm("cls/predictions/transform/LayerNorm", a.embedding_size),
        OUTPUT_BIAS: (a.vocab_size,),
    }


def all_shapes(a: Architecture) -> Shapes:
    """Everything that we know how to use: what every checkpoint has, and both heads."""
    return backbone_shapes(a) | pooler_shapes(a) | mlm_shapes(a)


def _dense(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}/kernel": (rows, columns), f"{name}/bias": (columns,)}


def _norm(name: str, size: int) -> Shapes:
    return {f"{name}/beta": (size,), f"{name}/gamma": (size,)}
