from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_changes import row
from test_store import ENCODER, build, plan_of

import simsearch
from simsearch.cli.commands import cli
from simsearch.errors import SettingsError, TaskError
from simsearch.evaluation.files import read_examples, read_pairs
from simsearch.mining import hard_negatives, paraphrases
from simsearch.pipeline import mine_negatives, mine_paraphrases
from simsearch.records import Example, SentencePair
from simsearch.search import Searcher
from simsearch.store import StoredIndex

# by their cosines with "a": 1, 0.894, 0.707, 0.707, 0.447, 0, 0
DOCUMENTS = ["a", "aab", "ab", "ba", "abb", "b", "c"]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    build(tmp_path, [row(str(i), text) for i, text in enumerate(DOCUMENTS)])
    return tmp_path


def mined(index: Path, examples: list[Example], count: int, margin: float) -> list[Example]:
    with Searcher(ENCODER, StoredIndex.open(index)) as searcher:
        return list(hard_negatives(searcher, examples, count, margin))


class TestHardNegatives:
    @pytest.mark.parametrize(
        ("count", "margin", "negatives"),
        [
            (1, 0.95, ["abb"]),  # more than the first four had to be asked for
            (2, 0.95, ["abb", "b"]),
            (9, 0.95, ["abb", "b", "c"]),
            (1, 0.6, ["b"]),  # 0.447 is not below 0.424
            (9, 0.01, ["b", "c"]),
        ],
    )
    def test_the_nearest_below_a_share_of_the_positives_cosine(
        self, index: Path, count: int, margin: float, negatives: list[str]
    ) -> None:
        (found,) = mined(index, [Example("aa", "ab")], count, margin)
        assert found == Example("aa", "ab", tuple(negatives))

    def test_no_positive_of_the_same_anchor_is_one_and_what_there_was_goes(
        self, index: Path
    ) -> None:
        examples = [Example("aa", "ab"), Example("aa", "abb", ("old",)), Example("b", "b\tb")]
        found = mined(index, examples, 2, 0.95)
        assert [example.negatives for example in found] == [
            ("b", "c"),
            ("b", "c"),
            ("ab", "ba"),  # 0.707; abb has 0.894, which is more than 0.95 times as much
        ]

    def test_a_text_that_comes_twice_is_one_negative(self, tmp_path: Path) -> None:
        build(tmp_path, [row(str(i), text) for i, text in enumerate(["a", "b", "b", " b", "c"])])
        (found,) = mined(tmp_path, [Example("aa", "a")], 2, 0.95)
        assert found.negatives == ("b", "c")

    def test_of_a_document_in_chunks_the_best_one_is_wrong(self, tmp_path: Path) -> None:
        rows = [row("1", "aaab"), row("2", "bbac"), row("3", "cccc")]
        build(tmp_path, rows, plan_of(ENCODER, chunk=(2, 0)))
        # "aa" is of the positive's document, "ac" has 0.707, below what "aaab" has: 0.949
        (found,) = mined(tmp_path, [Example("a", "aaab")], 1, 0.95)
        assert found.negatives == ("ac",)

    @pytest.mark.parametrize(("count", "margin"), [(0, 0.9), (1, 0.0), (1, 1.5)])
    def test_settings_that_make_no_sense(self, index: Path, count: int, margin: float) -> None:
        with pytest.raises(SettingsError, match=f"is {count if count < 1 else margin}; give"):
            mined(index, [Example("aa", "ab")], count, margin)


class TestParaphrases:
    def test_pairs_of_different_texts_nearest_first(self, tmp_path: Path) -> None:
        texts = ["ab", "aab", "c", "ba", "ab", "aaab"]
        build(tmp_path, [row(str(i), text) for i, text in enumerate(texts)])
        with StoredIndex.open(tmp_path) as stored:
            found = paraphrases(stored, 0.94)
        assert [(round(p.score, 3), p.sentence1, p.sentence2) for p in found] == [
            (1.0, "ab", "ba"),
            (0.99, "aab", "aaab"),
            (0.949, "ab", "aab"),
            (0.949, "aab", "ba"),
        ]

    def test_a_chunk_is_a_text(self, tmp_path: Path) -> None:
        build(tmp_path, [row("1", "abcc"), row("2", "cb a")], plan_of(ENCODER, chunk=(2, 0)))
        with StoredIndex.open(tmp_path) as stored:
            found = paraphrases(stored, 0.7)
        assert SentencePair(pytest.approx(0.5**0.5), "cc", "cb") in found
        assert all(len(text) <= 2 for pair in found for text in (pair.sentence1, pair.sentence2))


class TestCommand:
    @pytest.fixture
    def faq(self, tiny_bert: Path, tmp_path: Path) -> Path:
        corpus = tmp_path / "faq.jsonl"
        texts = ["dog", "张 三", "a b c", "a\tc\nb", "三 张", "b", "四", "cat dog"]
        corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
        encoder = simsearch.EncoderSettings(model=str(tiny_bert))
        simsearch.build(corpus, tmp_path / "index", encoder=encoder)
        return tmp_path

    def test_a_file_to_train_on(self, faq: Path) -> None:
        pairs = faq / "pairs.tsv"
        pairs.write_text("a b c\ta b c\ndog\tdog\n", "utf-8")
        argv = ["mine", str(faq / "index"), "--examples", str(pairs), "--negatives", "2"]
        done = CliRunner().invoke(cli, [*argv, "--out", str(faq / "hard.tsv"), "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["lines"] == 2
        examples = read_examples(faq / "hard.tsv")
        assert [(e.anchor, e.positive, len(e.negatives)) for e in examples] == [
            ("a b c", "a b c", 2),
            ("dog", "dog", 2),
        ]
        assert "a b c" not in examples[0].negatives

    def test_pairs(self, faq: Path) -> None:
        out = faq / "pairs.tsv"
        argv = ["mine", str(faq / "index"), "--threshold", "0.01", "--out", str(out)]
        done = CliRunner().invoke(cli, argv)
        assert done.exit_code == 0, done.output
        pairs = read_pairs(out)
        assert len(pairs) == int(done.stderr.split(": ")[1].split()[0])
        assert any("a c b" in (pair.sentence1, pair.sentence2) for pair in pairs)
        scores = [pair.score for pair in pairs]
        assert scores == sorted(scores, reverse=True)

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            (["--negatives", "3"], "are for --examples"),
            (["--examples", "pairs.tsv", "--threshold", "0.5"], "with --examples give --margin"),
        ],
    )
    def test_options_that_do_not_go_together(
        self, faq: Path, argv: list[str], message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(faq)
        Path("pairs.tsv").write_text("dog\tdog\n", "utf-8")
        done = CliRunner().invoke(cli, ["mine", "index", "--out", "out.tsv", *argv])
        assert done.exit_code == 2
        assert message in done.stderr
        assert not Path("out.tsv").exists()

    def test_where_nothing_is_found_nothing_is_written(self, faq: Path) -> None:
        pairs, out = faq / "pairs.tsv", faq / "out.tsv"
        pairs.write_text("dog\tdog\n", "utf-8")
        with pytest.raises(TaskError, match="no example has 50 documents"):
            mine_negatives(faq / "index", pairs, out, count=50)
        with pytest.raises(TaskError, match="no two texts have a cosine of 1;"):
            mine_paraphrases(faq / "index", out, threshold=1)
        assert not out.exists()
