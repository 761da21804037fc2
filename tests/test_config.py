from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml

from simsearch.cli.options import settings_from
from simsearch.config import EncoderSettings, Settings, encoder_settings, load_settings
from simsearch.errors import SettingsError

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, so that no test reads the project's own config.yaml."""
    folder = tmp_path / "工作 目录"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def load(content: str | bytes) -> Settings:
    path = Path("设置.yaml")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_settings(path, {})


def refusal(content: str | bytes) -> str:
    with pytest.raises(SettingsError) as raised:
        load(content)
    return str(raised.value)


def all_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: all_keys(below) for name, below in value.items()}
    return None


def test_a_flag_goes_before_the_named_file_before_the_folders_file_before_the_default() -> None:
    assert settings_from({}).query.k == 10
    Path("config.yaml").write_text("query: {k: 3}\nencoder: {pooling: cls, dim: 5}\n")
    Path("other.yaml").write_text("query: {k: 4}\n")
    other = Path("other.yaml")
    assert settings_from({}).query.k == 3
    assert settings_from({"config": other}).query.k == 4
    assert settings_from({"config": other, "k": 5}).query.k == 5
    assert settings_from({"k": 5}).query.k == 5


def test_a_named_file_replaces_the_folders_file_altogether() -> None:
    Path("config.yaml").write_text("encoder: {pooling: cls}\n")
    Path("other.yaml").write_text("query: {k: 4}\n")
    assert settings_from({}).encoder.pooling == "cls"
    assert settings_from({"config": Path("other.yaml")}).encoder.pooling is None


def test_a_flag_changes_its_own_key_and_no_other() -> None:
    Path("config.yaml").write_text("encoder: {pooling: cls, dim: 5}\nquery: {k: 3}\n")
    settings = settings_from({"pooling": "max", "threshold": 0.5})
    assert settings.encoder == EncoderSettings(pooling="max", dim=5)
    assert (settings.query.k, settings.query.threshold) == (3, 0.5)


def test_a_repeatable_pooling_is_no_setting_of_one_encoder() -> None:
    Path("config.yaml").write_text("encoder: {pooling: cls}\n")
    assert settings_from({"poolings": ("mean", "max")}).encoder.pooling == "cls"


def test_a_commands_own_default_of_precision_gives_way_only_to_a_flag() -> None:
    assert settings_from({}, default_precision="float32").encoder.precision == "float32"
    flag = settings_from({"precision": "auto"}, default_precision="float32")
    assert flag.encoder.precision == "auto"
    # as the comment in config.yaml says, whose "auto" would otherwise always win
    Path("config.yaml").write_text("encoder: {precision: auto}\n")
    assert settings_from({}, default_precision="float32").encoder.precision == "float32"
    assert settings_from({}).encoder.precision == "auto"


def test_the_projects_config_yaml_states_every_setting_and_its_default() -> None:
    path = ROOT / "config.yaml"
    assert load_settings(path, {}) == Settings()
    assert all_keys(yaml.safe_load(path.read_bytes())) == all_keys(Settings().model_dump())


@pytest.mark.parametrize("content", ["", "# nothing\n", "null\n", "---\n", "\ufeff"])
def test_an_empty_file_gives_the_defaults(content: str) -> None:
    assert load(content) == Settings()


@pytest.mark.parametrize("section", ["encoder", "corpus", "query", "benchmark"])
def test_an_empty_section_gives_its_defaults(section: str) -> None:
    assert load(f"{section}:\n") == Settings()


@pytest.mark.parametrize(
    ("written", "chunk"),
    [("200", (200, 0)), ("[200]", (200, 0)), ("[200, 40]", (200, 40)), ("[1, 0]", (1, 0))],
)
def test_the_overlap_of_chunks_is_nothing_unless_it_is_given(
    written: str, chunk: tuple[int, int]
) -> None:
    assert load(f"corpus: {{chunk: {written}}}").corpus.chunk == chunk
    Path("config.yaml").write_text(f"corpus: {{chunk: {written}}}\n")
    assert settings_from({}).corpus.chunk == chunk
    assert settings_from({"chunk": [9, 2]}).corpus.chunk == (9, 2)


def test_types_of_columns_are_replaced_by_those_of_the_flag() -> None:
    Path("config.yaml").write_text("corpus: {types: {year: integer, tags: list}}\n")
    assert settings_from({}).corpus.types == {"year": "integer", "tags": "list"}
    assert settings_from({"types": {"year": "number"}}).corpus.types == {"year": "number"}


def test_null_takes_an_optional_setting_back_to_not_given() -> None:
    content = "encoder: {pooling: null, dim: null}\nquery: {threshold: null}\n"
    assert load(content) == Settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("query: {k: null}", "设置.yaml: query.k is None; input should be a valid integer"),
        ("query: {k: 0}", "query.k is 0; input should be greater than or equal to 1"),
        ("query: {k: 2.0}", "query.k is 2.0; input should be a valid integer"),
        ("query: {k: '2'}", "query.k is '2'; input should be a valid integer"),
        ("query: {k: yes}", "query.k is True; input should be a valid integer"),
        ("query: {threshold: 1.5}", "query.threshold is 1.5; input should be less than or equal"),
        ("query: {threshold: .nan}", "query.threshold is nan"),
        ("encoder: {pooling: meann}", "encoder.pooling is 'meann'; input should be 'cls', "),
        ("encoder: {model: 7}", "encoder.model is 7; input should be a valid string"),
        ("encoder: {layers: 0}", "encoder.layers is 0; input should be a valid list"),
        ("encoder: {layers: [0, a]}", "encoder.layers.1 is 'a'; input should be a valid integer"),
        ("encoder: {dim: 0}", "encoder.dim is 0"),
        ("encoder: {runtime: torch}", "encoder.runtime is 'torch'; input should be 'openvino' or"),
        ("corpus: {on_error: ignore}", "corpus.on_error is 'ignore'; input should be 'stop' or"),
        ("corpus: {chunk: 0}", "corpus.chunk is 0; expected 1 token or more"),
        ("corpus: {types: integer}", "corpus.types is 'integer'; input should be a valid dict"),
        (
            "corpus: {types: {year: int}}",
            "corpus.types.year is 'int'; input should be 'string', 'integer', 'number', 'boolean' ",
        ),
        ("corpus: {types: {2020: list}}", "is 2020; input should be a valid string"),
        (
            "corpus: {chunk: [5, 5]}",
            "corpus.chunk is [5, 5]; expected an overlap from 0 to 4, best",
        ),
        ("corpus: {chunk: [5, -1]}", "corpus.chunk is [5, -1]; expected an overlap from 0 to 4"),
        (
            "corpus: {chunk: '5,2'}",
            "corpus.chunk is '5,2'; expected the tokens of a chunk and the ",
        ),
        ("corpus: {chunk: [5, 1.0]}", "corpus.chunk is [5, 1.0]; expected the tokens of a chunk"),
        ("corpus: {chunk: [yes, 0]}", "corpus.chunk is [True, 0]; expected the tokens of a chunk"),
        ("corpus: {chunk: []}", "corpus.chunk is []; expected the tokens of a chunk and the over"),
        ("benchmark: {poolings: mean}", "benchmark.poolings is 'mean'; input should be a valid l"),
        ("benchmark: {poolings: [men]}", "benchmark.poolings.0 is 'men'"),
        ("encoder: zhen-small", "encoder is 'zhen-small'; input should be a valid dict"),
        ("query: [k, 3]", "query is ['k', 3]; input should be a valid dict"),
        ("- encoder", "设置.yaml: expected sections such as 'encoder:', got list"),
        ("encoder", "设置.yaml: expected sections such as 'encoder:', got str"),
        ("5: 6", "设置.yaml: expected sections such as 'encoder:'"),
        ("encoder: {1: 2}", "encoder.1"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(content: str, message: str) -> None:
    assert message in refusal(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("encodr: {}", "设置.yaml: unknown setting 'encodr'; did you mean 'encoder'?"),
        ("query: {treshold: 1}", "unknown setting 'query.treshold'; did you mean 'threshold'?"),
        ("corpus: {textcolumn: a}", "'corpus.textcolumn'; did you mean 'text_column'?"),
        ("query: {zzz: 1}", "unknown setting 'query.zzz'; known here: k, threshold"),
        ("zzz: 1", "unknown setting 'zzz'; known here: encoder, corpus, index, query, benchmark"),
        ("k: 5", "unknown setting 'k'"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(content: str, message: str) -> None:
    assert message in refusal(content)


def test_every_fault_of_a_file_is_named_at_once() -> None:
    message = refusal("query: {k: 0, treshold: 1}\nencoder: {pooling: men}\n")
    assert len(message.splitlines()) == 3
    assert all(name in message for name in ("query.k", "query.treshold", "encoder.pooling"))


@pytest.mark.parametrize(
    "content",
    [
        "encoder: {",
        "encoder:\n\tmodel: x",
        "a: b: c",
        b"encoder: \xff",
        "!!python/object:os.system {}",
        "? [a]\n: b",
        "encoder: {model: 2001-99-99}",
        "[" * 2000,
    ],
)
def test_what_is_not_yaml_is_refused(content: str | bytes) -> None:
    assert refusal(content).startswith("设置.yaml: not YAML (")


def test_a_section_of_the_wrong_type_is_refused_beside_a_flag_too() -> None:
    Path("config.yaml").write_text("encoder: zhen-small\n")
    with pytest.raises(SettingsError, match="encoder is 'zhen-small'"):
        settings_from({"pooling": "cls"})


def test_a_wrong_flag_is_not_blamed_on_the_file() -> None:
    Path("config.yaml").write_text("query: {k: 3}\n")
    with pytest.raises(SettingsError) as raised:
        settings_from({"pooling": "meann"})
    assert "config.yaml" not in str(raised.value)


def test_settings_of_an_encoder_name_where_they_came_from() -> None:
    assert encoder_settings({"pooling": "cls"}, "索引").pooling == "cls"
    with pytest.raises(SettingsError, match=r"^索引: unknown setting 'poling'; did you mean 'pool"):
        encoder_settings({"poling": "cls"}, "索引")


def test_settings_cannot_be_changed_by_whoever_holds_them() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        Settings().encoder.model = "other"
