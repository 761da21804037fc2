"""The vocabulary of a checkpoint: word pieces with their ids, or a whole ``tokenizer.json``."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simsearch.checkpoint.json_file import read_json
from simsearch.encoder import canonical_json
from simsearch.errors import CheckpointError

_FRAME = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
# Those that a tokenizer puts in by itself. Written in a text they are text; what else a
# tokenizer.json calls special is a token that its model was taught to read.
_SPECIAL = (*_FRAME, "[MASK]", "<s>", "</s>", "<pad>", "<unk>", "<mask>")
# transformers makes these anew, by tokenizer_config.json and not by the tokenizer.json beside it
_BERT_CLASS = re.compile(r"(Bert|DistilBert|Electra|Nezha|RoFormer)Tokenizer(Fast)?")
_ANY_CLASS = re.compile(r"PreTrainedTokenizer(Fast)?|TokenizersBackend")
# the parts of a tokenizer.json that decide ids; lengths and padding are the encoder's business
_DECISIVE = ("added_tokens", "normalizer", "pre_tokenizer", "post_processor", "model")
# BERT puts a space around every Chinese character, so that no piece of two is ever found
_CHINESE_WORD = re.compile("[\u4e00-\u9fff]{2,}")
_SENTENCEPIECE_PIECE = re.compile("▁.+")
_MOST_FOREIGN = 100
_SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "vocab.json")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a checkpoint, read from ``path``; ``ids`` maps a token to its id.

    ``program`` is the ``tokenizer.json`` of a tokenizer that is not BERT's WordPiece (Unigram,
    BPE, other rules), else ``None``. ``lower_case`` and ``strip_accents`` are what the files say
    about WordPiece's normalisation, ``None`` where they say nothing; ``split_chinese`` says whether
    it puts a space around every Chinese character. ``size`` counts ids.
    """

    path: Path
    ids: Mapping[str, int]
    size: int
    hash: str
    program: str | None = None
    lower_case: bool | None = None
    strip_accents: bool | None = None
    split_chinese: bool = True

    @property
    def padding(self) -> int:
        """The id of the padding token."""
        return self._id_of("[PAD]", "<pad>")

    @property
    def mask(self) -> int | None:
        """The id of the mask token, if there is one."""
        return self.ids.get("[MASK]", self.ids.get("<mask>"))

    @property
    def unknown(self) -> int:
        """The id that stands for what has no token."""
        return self._id_of("[UNK]", "<unk>")

    def _id_of(self, *names: str) -> int:
        for name in names:
            if name in self.ids:
                return self.ids[name]
        raise CheckpointError(f"{self.path}: has no token {' or '.join(names)}")

    def write(self, folder: Path) -> None:
        """Write ``tokenizer.json``, or for WordPiece ``vocab.txt``, to a folder."""
        if self.program is not None:
            shutil.copyfile(self.path, folder / "tokenizer.json")
        elif self.path.suffix == ".txt":
            shutil.copyfile(self.path, folder / "vocab.txt")  # pieces that occur twice and all
        else:
            pieces = sorted(self.ids, key=self.ids.__getitem__)
            (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), "utf-8")

    @property
    def looks_cased(self) -> bool:
        """Whether a piece has a capital letter; [UNK] and other bracketed marks do not count."""
        return any(re.search("[A-Z]", piece) and piece[0] not in "[<" for piece in self.ids)


def read_vocabulary(folder: Path) -> Vocabulary:
    """Read ``tokenizer.json``, else ``vocab.txt`` (or the only ``vocab*.txt``).

    In ``vocab.txt`` the id is the line number, counted from 0. Raises CheckpointError if neither is
    there, if one lacks the padding, unknown or frame tokens, or if the tokenizer is of a kind that
    the files don't describe.
    """
    config = read_json(folder / "tokenizer_config.json", optional=True)
    program, path = folder / "tokenizer.json", _vocabulary_file(folder)
    named = str(config.get("tokenizer_class"))
    normalizer: Mapping[str, Any] = {}
    ids: dict[str, int] | None = None
    if program.is_file():
        content = read_json(program)
        if not _is_bert(content, program, framed=_BERT_CLASS.fullmatch(named) is not None):
            return _program(program, content)
        normalizer = {} if _BERT_CLASS.fullmatch(named) else content["normalizer"]
        ids = _pieces_of(content, program)
    elif path is not None:
        _check_class(named, path, folder)
    if ids is not None and (path is None or sorted(ids.values()) == list(range(len(ids)))):
        path, size = (
            program,
            max(ids.values(), default=-1) + 1,
        )  # else a piece occurs twice, and vocab.txt has both lines
    elif path is not None:
        ids, size = _lines_of(path)
    else:
        raise CheckpointError(f"{folder / 'vocab.txt'}: no such file; {_advice(folder)}")
    _check_pieces(ids, path)
    lower = normalizer.get("lowercase", config.get("do_lower_case"))
    if lower is None and _BERT_CLASS.fullmatch(named):
        lower = True  # the default of these classes
    chinese = normalizer.get("handle_chinese_chars", config.get("tokenize_chinese_chars"))
    split_chinese = chinese is not False
    return Vocabulary(
        path,
        ids,
        size,
        _hash_of(ids, split_chinese),
        lower_case=_flag(lower),
        strip_accents=_flag(normalizer.get("strip_accents", config.get("strip_accents"))),
        split_chinese=split_chinese,
    )


def _check_class(named: str, path: Path, folder: Path) -> None:
    """Refuse a ``vocab.txt`` that is read in another way than BERT's."""
    known = named == "None" or _BERT_CLASS.fullmatch(named) or _ANY_CLASS.fullmatch(named)
    added = read_json(folder / "added_tokens.json", optional=True)
    beyond = sorted(set(added) - _lines_of(path)[0].keys()) if added else []
    if known and not beyond:
        return
    reason = f"added_tokens.json has {beyond[0]!r}" if known else f"its tokenizer is a {named}"
    raise CheckpointError(
        f"{path}: is not all there is to the tokenizer ({reason}); make a tokenizer.json with "
        "transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )


def _check_pieces(ids: Mapping[str, int], path: Path) -> None:
    words = [piece for piece in ids if _CHINESE_WORD.fullmatch(piece)]
    if len(words) > _MOST_FOREIGN:
        raise CheckpointError(
            f"{path}: has {len(words)} Chinese words such as {words[0]!r}, which BERT's tokenizer "
            "would cut into characters (its model was trained with a word segmenter); use the "
            "variant of this model that is made of characters"
        )
    missing = [piece for piece in _FRAME if piece not in ids]
    if missing:
        raise CheckpointError(
            f"{path}: {', '.join(missing)} not found among its {len(ids)} lines; "
            "is this the vocabulary of the checkpoint?"
        )
    if sum(_SENTENCEPIECE_PIECE.fullmatch(piece) is not None for piece in ids) > _MOST_FOREIGN:
        raise CheckpointError(
            f"{path}: its pieces are SentencePiece's (▁), which BERT's tokenizer never finds; make "
            "a tokenizer.json with transformers: AutoTokenizer.from_pretrained(FOLDER)"
            ".save_pretrained(FOLDER)"
        )


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _vocabulary_file(folder: Path) -> Path | None:
    if (folder / "vocab.txt").is_file():
        return folder / "vocab.txt"
    others = list(folder.glob("vocab*.txt"))
    return others[0] if len(others) == 1 else None


def _advice(folder: Path) -> str:
    for name in _SENTENCEPIECE:
        if (folder / name).is_file():
            return (
                f"{name} alone is not read; make a tokenizer.json of it with transformers: "
                "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
            )
    return "nor is there a tokenizer.json; copy it from where the checkpoint came from"


def _lines_of(path: Path) -> tuple[dict[str, int], int]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    lines = content.replace("\r\n", "\n").rstrip("\n").split("\n")
    # Google's loader strips the line; a piece that occurs twice keeps its last id, as there.
    return {line.strip() or line: i for i, line in enumerate(lines)}, len(lines)


def _hash_of(ids: Mapping[str, int], split_chinese: bool) -> str:
    """SHA-256 of the pieces in the order of their ids, and of the rule if it is not BERT's."""
    pieces = sorted(ids.items(), key=lambda item: item[1])
    rule = "" if split_chinese else "Chinese characters stay together\n"
    content = rule + "\n".join(f"{i}\t{p}" for p, i in pieces)
    return hashlib.sha256(content.encode()).hexdigest()


# tokenizer.json


def _is_bert(content: Mapping[str, Any], path: Path, *, framed: bool) -> bool:
    """Whether the file describes what BERT does to a text, so that ``vocab.txt`` would do.

    ``framed`` says that [CLS] and [SEP] are put around a text, whatever the file says.
    """
    try:
        normalizer = content["normalizer"] or {}
        return (
            content["model"].get("type") == "WordPiece"
            and content["model"].get("continuing_subword_prefix", "##") == "##"
            and normalizer.get("type") == "BertNormalizer"
            and normalizer.get("clean_text") is True
            and (content["pre_tokenizer"] or {}).get("type") == "BertPreTokenizer"
            and all(token["content"] in _SPECIAL for token in content["added_tokens"])
            and (framed or _frames_as_bert(content.get("post_processor") or {}))
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a tokenizer file ({error!r}); copy it anew") from None


def _frames_as_bert(post_processor: Mapping[str, Any]) -> bool:
    if post_processor.get("type") == "BertProcessing":
        return (post_processor["cls"][0], post_processor["sep"][0]) == ("[CLS]", "[SEP]")
    parts = [next(iter(part.values()))["id"] for part in post_processor.get("single", ())]
    return parts == ["[CLS]", "A", "[SEP]"]


def _pieces_of(content: Mapping[str, Any], path: Path) -> dict[str, int]:
    try:
        ids = {str(piece): int(i) for piece, i in content["model"]["vocab"].items()}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a tokenizer file ({error!r}); copy it anew") from None
    return ids


def _program(path: Path, content: Mapping[str, Any]) -> Vocabulary:
    try:
        tokens = content["model"]["vocab"]
        # Unigram has a list of (piece, score), the others a map to ids
        ids = (
            {piece: i for i, (piece, _) in enumerate(tokens)}
            if isinstance(tokens, list)
            else {str(piece): int(i) for piece, i in tokens.items()}
        )
        ids |= {token["content"]: token["id"] for token in content["added_tokens"]}
        size = max(ids.values()) + 1
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a tokenizer file ({error!r}); copy it anew") from None
    decisive = {part: content.get(part) for part in _DECISIVE}
    digest = hashlib.sha256(canonical_json(decisive).encode()).hexdigest()
    vocabulary = Vocabulary(path, ids, size, digest, _taught(content, path))
    _ = vocabulary.padding, vocabulary.unknown  # which every computation needs
    return vocabulary


def _taught(content: Mapping[str, Any], path: Path) -> str:
    """The program, in which only those tokens are special that no text should give."""
    tokens = content["added_tokens"]
    if all(token["content"] in _SPECIAL or not token.get("special") for token in tokens):
        return path.read_text("utf-8-sig")
    ours = [{**token, "special": token["content"] in _SPECIAL} for token in tokens]
    return json.dumps({**content, "added_tokens": ours}, ensure_ascii=False)
