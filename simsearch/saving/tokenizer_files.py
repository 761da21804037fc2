"""The tokenizer as transformers reads it, so that it gives our ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from simsearch.checkpoint import Checkpoint
from simsearch.checkpoint.vocabulary import Vocabulary
from simsearch.saving.folder import write_json
from simsearch.tokenizer import LONGEST_WORD

# what transformers calls each special token, and its spellings
_SPECIAL = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}


def write_tokenizer(checkpoint: Checkpoint, folder: Path) -> None:
    """Write ``tokenizer.json``, for WordPiece ``vocab.txt`` too, and what transformers adds."""
    vocabulary = checkpoint.vocabulary
    vocabulary.write(folder)
    special = _special_tokens(vocabulary)
    config: dict[str, Any] = {
        # not BertTokenizer, which transformers 5 builds anew, with words of 100 characters
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": checkpoint.max_length,
        "split_special_tokens": True,  # "[SEP]" in a text is text
        "clean_up_tokenization_spaces": False,
        **special,
    }
    if vocabulary.program is None:
        program = _wordpiece(checkpoint, list(special.values()))
        (folder / "tokenizer.json").write_text(json.dumps(program, ensure_ascii=False), "utf-8")
        config["do_lower_case"] = checkpoint.lower_case
        config["strip_accents"] = checkpoint.strip_accents
        config["tokenize_chinese_chars"] = vocabulary.split_chinese
    else:
        # a program may give segments other than 0, the only one that we compute with
        config["model_input_names"] = ["input_ids", "attention_mask"]
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", special)


def _special_tokens(vocabulary: Vocabulary) -> dict[str, str]:
    found = {
        name: next((token for token in spellings if token in vocabulary.ids), None)
        for name, spellings in _SPECIAL.items()
    }
    return {name: token for name, token in found.items() if token is not None}


def _wordpiece(checkpoint: Checkpoint, special: list[str]) -> dict[str, Any]:
    """BERT's tokenizer as the content of a ``tokenizer.json``."""
    ids = checkpoint.vocabulary.ids
    # The vocabulary is put in afterwards: an id that has no piece, as where one occurs twice in
    # vocab.txt, has `tokenizers` print a warning to stdout.
    known = {token: i for i, token in enumerate(special)}
    rust = Tokenizer(
        models.WordPiece(known, unk_token="[UNK]", max_input_chars_per_word=LONGEST_WORD)
    )
    rust.add_special_tokens(special)
    rust.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=checkpoint.vocabulary.split_chinese,
        strip_accents=checkpoint.strip_accents,
        lowercase=checkpoint.lower_case,
    )
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    rust.decoder = decoders.WordPiece(prefix="##")
    content: dict[str, Any] = json.loads(rust.to_str())
    content["model"]["vocab"] = dict(sorted(ids.items(), key=lambda item: item[1]))
    for token in content["added_tokens"]:
        token["id"] = ids[token["content"]]
    content["added_tokens"].sort(key=lambda token: token["id"])
    return content
