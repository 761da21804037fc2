"""What sentence-transformers writes beside the weights: modules, pooling, prompts, lengths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simsearch.checkpoint.json_file import read_json
from simsearch.errors import CheckpointError

# the modules of a model that we compute; a Dense layer, say, would give other vectors
_MODULES = ("Transformer", "Pooling", "Normalize")
# sentence-transformers' names, since 6 a word, before that a flag each, and ours
_POOLINGS = {
    "cls": ("pooling_mode_cls_token", "cls"),
    "mean": ("pooling_mode_mean_tokens", "mean"),
    "max": ("pooling_mode_max_tokens", "max"),
    "mean_sqrt_len_tokens": ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len"),
    "weightedmean": ("pooling_mode_weightedmean_tokens", "position_weighted_mean"),
    "lasttoken": ("pooling_mode_lasttoken", None),
}
# transformers writes 1e30 where a tokenizer knows no length
_LONGEST = 1_000_000


def sentence_transformers_defaults(folder: Path) -> dict[str, Any]:
    """The defaults that the folder's files give (see ``Checkpoint``), by field.

    Raises CheckpointError for a pooling or a module that we don't compute.
    """
    try:
        return _defaults(folder)
    except (AttributeError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: a JSON file there is not as sentence-transformers writes it ({error}); "
            "copy modules.json, 1_Pooling/config.json, sentence_bert_config.json and "
            "config_sentence_transformers.json anew"
        ) from None


def _defaults(folder: Path) -> dict[str, Any]:
    modules = read_json(folder / "modules.json", optional=True, expected=list)
    paths = {str(m.get("type")).rpartition(".")[2]: str(m.get("path") or "") for m in modules}
    for kind in paths:
        if kind not in _MODULES:
            raise CheckpointError(
                f"{folder / 'modules.json'}: the model has a {kind} module, which is not "
                f"supported; we compute {', '.join(_MODULES)}"
            )
    tokenizer = read_json(folder / "tokenizer_config.json", optional=True)
    bert = read_json(folder / "sentence_bert_config.json", optional=True)
    defaults: dict[str, Any] = {}
    length = bert.get("max_seq_length") or tokenizer.get("model_max_length")
    if isinstance(length, int) and length < _LONGEST:
        defaults["max_length"] = length
    if bert.get("do_lower_case"):
        defaults["lower_case"] = True
    prompts = _prompts(folder)
    # only the last part of a name: nothing outside the folder is read
    config = folder / Path(paths.get("Pooling") or "1_Pooling").name / "config.json"
    pooling = read_json(config, optional=True)
    if pooling:
        defaults["pooling"] = _pooling(pooling, config)
        if pooling.get("include_prompt") is False and prompts:
            raise CheckpointError(
                f"{config}: include_prompt is false, which leaves "
                "the prompt's tokens out of the mean; that is not supported"
            )
    if prompts:
        defaults["prompts"] = prompts
    return defaults


def _prompts(folder: Path) -> dict[str, str]:
    """The prompts for queries and documents; none at all if both are empty.

    What is missing is taken from "passage" and from the default prompt, as the authors of E5 and
    others mean them; sentence-transformers itself leaves them to its caller.
    """
    config = read_json(folder / "config_sentence_transformers.json", optional=True)
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name")) or ""
    chosen = {
        "query": prompts.get("query", default) or "",
        "document": prompts.get("document", prompts.get("passage", default)) or "",
    }
    return chosen if any(chosen.values()) else {}


def _pooling(config: Mapping[str, Any], path: Path) -> str:
    named = config.get("pooling_mode")
    if named is None:
        named = [name for name, (flag, _) in _POOLINGS.items() if config.get(flag)] or ["mean"]
    names = [named] if isinstance(named, str) else named
    ours = _POOLINGS.get(names[0], (None, None))[1] if len(names) == 1 else None
    if ours is None:
        raise CheckpointError(
            f"{path}: pooling {' + '.join(map(str, names))} is not "
            "supported; remove the file and choose a pooling yourself"
        )
    return ours
