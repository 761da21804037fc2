"""Corpus files, written byte by byte here, come back as the rows and the problems they hold."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsearch import readers
from simsearch.corpus import Row, RowProblem, content_id, hash_inputs, read_corpus
from simsearch.errors import CorpusError, MissingPackageError, SettingsError

UNUSUAL_SPACES = "a\u2028b\x0bc\x0cd\x1ce\x85f\u2029g"  # str.splitlines() would cut this in seven


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "语料 库"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("语料 库")


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def rows(*paths: Path, **options: Any) -> list[Row]:
    """The rows, none of which may be a problem."""
    found = list(read_corpus(paths, **options))
    assert [str(row) for row in found if isinstance(row, RowProblem)] == []
    return [row for row in found if isinstance(row, Row)]


def texts(*paths: Path, **options: Any) -> list[tuple[int, str]]:
    return [(row.line, row.text) for row in rows(*paths, **options)]


def outcome(*paths: Path, **options: Any) -> list[tuple[int, str]]:
    """The line with the text of a row, or with the reason of a problem after ``!``."""
    return [
        (row.line, row.text if isinstance(row, Row) else f"!{row.reason}")
        for row in read_corpus(paths, **options)
    ]


def reason(path: Path, **options: Any) -> str:
    """The reason of the only problem of a file that holds nothing else."""
    (problem,) = read_corpus([path], **options)
    assert isinstance(problem, RowProblem)
    return problem.reason


# One text a line


def test_each_line_of_a_txt_file_is_a_row(folder: Path) -> None:
    path = write(folder, "句 子.txt", "我爱你\n  two  spaces \n")
    assert rows(path) == [
        Row(path, 1, None, "我爱你", {}),
        Row(path, 2, None, "  two  spaces ", {}),
    ]


@pytest.mark.parametrize("content", [b"a\nb", b"a\nb\n", b"a\r\nb\r\n", b"a\r\nb"])
def test_line_ends_are_no_part_of_a_text_and_the_last_one_makes_no_row(
    folder: Path, content: bytes
) -> None:
    assert texts(write(folder, "a.txt", content)) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl"])
def test_only_newlines_end_a_line(folder: Path, name: str) -> None:
    quoted = json.dumps({"text": UNUSUAL_SPACES}, ensure_ascii=False)
    # JSON itself wants control characters escaped; U+2028, U+2029 and U+0085 stay as they are.
    row = {"a.jsonl": quoted}.get(name, UNUSUAL_SPACES)
    header = "text\n" if name in ("a.tsv", "a.csv") else ""
    line = 2 if header else 1
    assert texts(write(folder, name, f"{header}{row}\n")) == [(line, UNUSUAL_SPACES)]


def test_a_lone_carriage_return_inside_a_line_is_text(folder: Path) -> None:
    assert texts(write(folder, "a.txt", b"a\rb\r\r\n")) == [(1, "a\rb\r")]


def test_a_byte_order_mark_is_dropped_once(folder: Path) -> None:
    mark = "\ufeff"
    assert texts(write(folder, "a.txt", f"{mark}{mark}a\n{mark}b\n")) == [
        (1, f"{mark}a"),
        (2, f"{mark}b"),
    ]
    assert texts(write(folder, "a.csv", f"{mark}text\na\n")) == [(2, "a")]
    assert texts(write(folder, "a.tsv", f"{mark}text\na\n")) == [(2, "a")]
    assert texts(write(folder, "a.jsonl", f'{mark}{{"text": "a"}}\n')) == [(1, "a")]
    assert texts(write(folder, "b.txt", mark)) == []


def test_blank_lines_are_problems_and_keep_the_count(folder: Path) -> None:
    assert outcome(write(folder, "a.txt", "a\n\n \t\u3000\nb\n")) == [
        (1, "a"),
        (2, "!empty text"),
        (3, "!empty text"),
        (4, "b"),
    ]


def test_bytes_that_are_not_utf8_cost_one_line_only(folder: Path) -> None:
    path = write(folder, "a.txt", "好a".encode() + b"\xff\xfe\nok\n\xed\xa0\x80\n")
    first, second, third = read_corpus([path])
    assert str(first).startswith(f"{path}:1: not UTF-8: byte 0xff at column 3;")
    assert second == Row(path, 2, None, "ok", {})
    assert isinstance(third, RowProblem)
    assert third.reason.startswith("not UTF-8: byte 0xed at column 1;")


def test_a_gbk_file_is_told_how_to_become_utf8(folder: Path) -> None:
    assert "iconv -f GB18030 -t UTF-8" in reason(write(folder, "a.txt", "我爱你\n".encode("gbk")))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_utf16_file_is_refused_as_a_whole(folder: Path, encoding: str) -> None:
    path = write(folder, "a.txt", "\ufeffplain\nASCII\n".encode(encoding))
    with pytest.raises(CorpusError, match="iconv -f UTF-16 -t UTF-8"):
        list(read_corpus([path]))


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl"])
def test_a_line_beyond_the_bound_is_a_problem_and_the_next_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(readers, "MAX_ROW_BYTES", 32)
    good = '{"text": "ok"}' if name == "a.jsonl" else "ok"
    header = "text\n" if name in ("a.tsv", "a.csv") else ""
    line = 2 if header else 1
    path = write(folder, name, f"{header}{'x' * 100}\n{good}\n")
    assert outcome(path) == [(line, "!longer than 32 bytes"), (line + 1, "ok")]


# Tables


def test_a_csv_file_gives_id_text_and_the_rest_as_metadata(folder: Path) -> None:
    path = write(folder, "a.csv", 'id,text,年 份\r\nx1,"猫, ""狗""",2020\r\n07,b,\r\n')
    assert rows(path) == [
        Row(path, 2, "x1", '猫, "狗"', {"年 份": "2020"}),
        Row(path, 3, "07", "b", {"年 份": ""}),
    ]


def test_named_columns_take_the_place_of_text_and_id(folder: Path) -> None:
    path = write(folder, "a.csv", "id,text,body,key\n1,t,b,k\n")
    assert rows(path, text_column="body", id_column="key") == [
        Row(path, 2, "k", "b", {"id": "1", "text": "t"})
    ]


def test_one_column_may_be_both_text_and_id(folder: Path) -> None:
    path = write(folder, "a.csv", "text,n\na,1\n")
    assert rows(path, id_column="text") == [Row(path, 2, "a", "a", {"n": "1"})]


def test_quoted_csv_fields_span_lines_and_rows_start_where_they_start(folder: Path) -> None:
    path = write(folder, "a.csv", 'text,n\n"a\n\nb",1\n"c\r\nd",2\ne,3\n')
    assert texts(path) == [(2, "a\n\nb"), (5, "c\r\nd"), (7, "e")]


def test_a_csv_header_may_span_lines(folder: Path) -> None:
    path = write(folder, "a.csv", 'text,"a\nb"\nx,1\n')
    assert rows(path) == [Row(path, 3, None, "x", {"a\nb": "1"})]


def test_a_quote_is_text_in_tsv(folder: Path) -> None:
    path = write(folder, "a.tsv", 'text\tid\n"open\t1\n"a" b\t"2"\n')
    assert rows(path) == [
        Row(path, 2, "1", '"open', {}),
        Row(path, 3, '"2"', '"a" b', {}),
    ]


@pytest.mark.parametrize("tab", [",", "\t"])
def test_rows_of_another_width_are_problems(folder: Path, tab: str) -> None:
    name = {",": "a.csv", "\t": "a.tsv"}[tab]
    content = "text,n\na,1\nb\nc,1,2\n\nd,2\n".replace(",", tab)
    assert outcome(write(folder, name, content)) == [
        (2, "a"),
        (3, "!the header has 2 fields, this row 1"),
        (4, "!the header has 2 fields, this row 3"),
        (5, "!empty line"),
        (6, "d"),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_empty_texts_and_ids_of_a_table_are_problems(folder: Path, name: str) -> None:
    tab = "," if name == "a.csv" else "\t"
    content = "id,text\n1,\n2, \n,a\n3,b\n".replace(",", tab)
    assert outcome(write(folder, name, content)) == [
        (2, "!empty text"),
        (3, "!empty text"),
        (4, "!empty id"),
        (5, "b"),
    ]


def test_undecodable_bytes_in_csv_mark_their_row_and_no_other(folder: Path) -> None:
    path = write(folder, "a.csv", b'text,n\na,\xff\n"b\nc\xfe",1\nd,2\n')
    first, second, third = outcome(path)
    assert first[0] == 2
    assert first[1].startswith("!not UTF-8: byte 0xff at column 3;")
    assert second[0] == 3
    assert second[1].startswith("!line 4 of this row: not UTF-8: byte 0xfe at column 2;")
    assert third == (5, "d")


def test_a_csv_quote_that_is_never_closed_names_the_lines_it_costs(folder: Path) -> None:
    path = write(folder, "a.csv", 'text,n\na,1\n"open,1\nb,2\nc,3\n')
    first, second = outcome(path)
    assert first == (2, "a")
    assert second[0] == 3
    assert second[1].startswith("!not valid CSV (unexpected end of data); lines 3 to 5 skipped;")


def test_an_undoubled_csv_quote_is_a_problem_and_reading_goes_on(folder: Path) -> None:
    path = write(folder, "a.csv", 'text\n"a"b\nc\n')
    first, second = outcome(path)
    assert first[0] == 2
    assert first[1].startswith("!not valid CSV (',' expected after '\"');")
    assert second == (3, "c")


def test_a_bare_carriage_return_in_an_unquoted_csv_field_is_a_problem(folder: Path) -> None:
    first, second = outcome(write(folder, "a.csv", 'text\na\rb\n"c\rd"\n'))
    assert first[0] == 2
    assert first[1].startswith("!not valid CSV (new-line character seen")
    assert second == (3, "c\rd")


def test_a_csv_record_beyond_the_bound_is_a_problem(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MAX_ROW_BYTES", 32)
    path = write(folder, "a.csv", 'text\n"' + "0123456789\n" * 3 + "a\nb\n")
    first, *rest = outcome(path)
    assert first[0] == 2
    assert first[1].startswith("!not valid CSV (longer than 32 characters); lines 2 to 4 skipped;")
    assert rest == [(5, "a"), (6, "b")]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl"])
def test_a_text_of_ten_megabytes_is_read(folder: Path, name: str) -> None:
    text = "0123456789" * 1_000_000
    content = {
        "a.txt": text,
        "a.tsv": f"text\n{text}",
        "a.csv": f'text\n"{text}"',
        "a.jsonl": json.dumps({"text": text}),
    }[name]
    (row,) = rows(write(folder, name, content))
    assert row.text == text


# Columns that are not there


@pytest.mark.parametrize(
    ("wanted", "near"), [("titel", "title"), ("BODY", "Body"), ("句字", "句子")]
)
@pytest.mark.parametrize("option", ["text_column", "id_column"])
def test_a_missing_column_lists_those_present_and_suggests_the_nearest(
    folder: Path, option: str, wanted: str, near: str
) -> None:
    path = write(folder, "a.csv", "title,Body,句子,text\na,b,c,d\n")
    with pytest.raises(CorpusError) as caught:
        list(read_corpus([path], **{option: wanted}))
    assert str(caught.value) == (
        f"{path}: no column {wanted!r}; there are 'title', 'Body', '句子', 'text'; "
        f"did you mean {near!r}?"
    )


def test_a_missing_column_that_resembles_none_names_the_option(folder: Path) -> None:
    path = write(folder, "a.tsv", "text\na\n")
    with pytest.raises(CorpusError, match=r"no column 'qqq'; there are 'text'; .*--id-column"):
        list(read_corpus([path], id_column="qqq"))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_table_without_a_text_column_says_how_to_name_one(folder: Path, name: str) -> None:
    path = write(folder, name, "body\na\n")
    with pytest.raises(CorpusError, match=r"no column 'text'; there are 'body' .*--text-column"):
        list(read_corpus([path]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\na\n", "it is empty"),
        (b"text,\xff\n", "byte 0xff at column 6"),
        (b'text,"n\n', "unexpected end of data"),
        (b"text,a,a\n", "has 'a' more than once"),
    ],
)
def test_a_header_that_cannot_be_used_stops_the_file(
    folder: Path, content: bytes, message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        list(read_corpus([write(folder, "a.csv", content)]))


def test_a_wide_header_is_listed_in_part(folder: Path) -> None:
    path = write(folder, "a.csv", ",".join(f"c{i}" for i in range(25)) + "\n")
    with pytest.raises(CorpusError, match="'c18', 'c19' and 5 more"):
        list(read_corpus([path]))


def test_column_options_are_ignored_for_txt_among_other_files(folder: Path) -> None:
    txt = write(folder, "a.txt", "a\n")
    table = write(folder, "b.csv", "body,key\nb,k\n")
    assert rows(txt, table, text_column="body", id_column="key") == [
        Row(txt, 1, None, "a", {}),
        Row(table, 2, "k", "b", {}),
    ]


# Types of columns


def held(path: Path, **types: Any) -> list[Any]:
    """What each row has in the column ``v``, or the reason of its problem after ``!``."""
    return [
        row.metadata["v"] if isinstance(row, Row) else f"!{row.reason}"
        for row in read_corpus([path], types=types)
    ]


def same(found: list[Any], expected: list[Any]) -> bool:
    """Equal, and of the same types, for 1 == 1.0 == True."""
    return [(type(v), v) for v in found] == [(type(v), v) for v in expected]


def test_without_a_type_a_table_holds_strings(folder: Path) -> None:
    path = write(folder, "a.csv", "text,v\na,1\nb,true\nc,\nd,x|y\n")
    assert held(path) == ["1", "true", "", "x|y"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("string", ["1", " x ", "", "  "], ["1", " x ", None, None]),
        (
            "integer",
            ["1", "-12", "+007", " 3 ", "", " ", "9" * 30],
            [1, -12, 7, 3, None, None, int("9" * 30)],
        ),
        (
            "number",
            ["1", "-0.5", "6e23", ".5", "1.", "-1E-3", "+0", ""],
            [1, -0.5, 6e23, 0.5, 1.0, -0.001, 0, None],
        ),
        (
            "boolean",
            ["true", "FALSE", "Yes", "no", "1", "0", " True ", ""],
            [True, False, True, False, True, False, True, None],
        ),
        (
            "list",
            ["x", "x|y", " x | y z ", "x||y|", "|", "猫|狗", ""],
            [["x"], ["x", "y"], ["x", "y z"], ["x", "y"], [], ["猫", "狗"], None],
        ),
    ],
)
def test_strings_become_what_the_type_says_in_any_kind_of_file(
    folder: Path, name: str, kind: str, fields: list[str], expected: list[Any]
) -> None:
    if name == "a.parquet":
        path = parquet(folder, {"text": ["t"] * len(fields), "v": fields}, name)
    elif name == "a.jsonl":
        path = write(
            folder, name, "".join(json.dumps({"text": "t", "v": v}) + "\n" for v in fields)
        )
    else:
        tab = "," if name == "a.csv" else "\t"
        path = write(folder, name, f"text{tab}v\n" + "".join(f"t{tab}{v}\n" for v in fields))
    assert same(held(path, v=kind), expected)


@pytest.mark.parametrize(
    ("kind", "field", "expected"),
    [
        ("integer", "1.0", "an integer such as -12"),
        ("integer", "1,000", "an integer such as -12"),
        ("integer", "1_000", "an integer such as -12"),
        ("integer", "１", "an integer such as -12"),
        ("integer", "9" * 5000, "an integer such as -12"),
        ("number", "abc", "a number such as -12, 0.5 or 6e23"),
        ("number", "nan", "a number such as -12, 0.5 or 6e23"),
        ("number", "inf", "a number such as -12, 0.5 or 6e23"),
        ("number", "1e999", "a number such as -12, 0.5 or 6e23"),
        ("number", "0x10", "a number such as -12, 0.5 or 6e23"),
        ("number", ".", "a number such as -12, 0.5 or 6e23"),
        ("boolean", "2", "true or false, yes or no, 1 or 0"),
        ("boolean", "t", "true or false, yes or no, 1 or 0"),
    ],
)
def test_a_field_of_another_type_is_a_problem_of_its_row(
    folder: Path, kind: str, field: str, expected: str
) -> None:
    path = write(folder, "a.tsv", f"text\tv\nt\t{field}\nt\t1\n")
    problem, after = held(path, v=kind)
    shown = repr(field) if len(field) < 20 else "'999999999999...9999999999999'"
    assert problem == f"!column 'v' is {shown}; expected {expected}"
    assert after == 1


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("string", ["a", 5, None], ["a", "5", None]),
        ("integer", [5, 3.0, -0.0, 2**70, None], [5, 3, 0, 2**70, None]),
        ("number", [5, 0.5, "0.5", None], [5, 0.5, 0.5, None]),
        ("boolean", [True, False, 1, 0, None], [True, False, True, False, None]),
        ("list", [["a", "b|c"], [], "a|b", None], [["a", "b|c"], [], ["a", "b"], None]),
    ],
)
def test_json_values_are_checked_and_converted(
    folder: Path, kind: str, values: list[Any], expected: list[Any]
) -> None:
    lines = "".join(json.dumps({"text": "t", "v": value}) + "\n" for value in values)
    assert same(held(write(folder, "a.jsonl", lines), v=kind), expected)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("string", value) for value in (True, 0.5, ["a"], {"a": "b"})),
        *(("integer", value) for value in (True, 0.5, 1e999, [1], {})),
        *(("number", value) for value in (False, float("nan"), [0.5])),
        *(("boolean", value) for value in (2, 1.0, ["true"], {})),
        *(("list", value) for value in (1, ["a", 1], [["a"]], {"a": "b"})),
    ],
)
def test_a_json_value_of_another_type_is_a_problem(folder: Path, kind: str, value: Any) -> None:
    path = write(folder, "a.jsonl", json.dumps({"text": "t", "v": value, "other": "x"}))
    (problem,) = held(path, v=kind)
    assert problem.startswith(f"!column 'v' is {value!r}; expected ")


def test_parquet_integers_with_gaps_that_were_stored_as_floats_are_integers(folder: Path) -> None:
    path = parquet(folder, {"text": ["a", "b"], "v": [1999.0, None]})
    assert same(held(path, v="integer"), [1999, None])


def test_a_json_object_may_lack_a_column_that_has_a_type(folder: Path) -> None:
    path = write(folder, "a.jsonl", '{"text": "a", "year": "1"}\n{"text": "b"}\n')
    assert [row.metadata for row in rows(path, types={"year": "integer"})] == [{"year": 1}, {}]


def test_a_type_of_a_column_that_a_table_lacks_is_an_error(folder: Path) -> None:
    path = write(folder, "a.csv", "text,year\na,1\n")
    with pytest.raises(CorpusError) as caught:
        list(read_corpus([path], types={"yaer": "integer"}))
    assert str(caught.value) == (
        f"{path}: no column 'yaer'; there are 'text', 'year'; did you mean 'year'?"
    )
    with pytest.raises(CorpusError, match=r"no column 'qqq'; .*; name one with --type"):
        list(read_corpus([path], types={"qqq": "integer"}))


@pytest.mark.parametrize(
    ("columns", "name", "what"),
    [
        ({}, "text", "texts"),
        ({}, "id", "ids"),
        ({"text_column": "body"}, "body", "texts"),
        ({"id_column": "key"}, "key", "ids"),
    ],
)
def test_texts_and_ids_have_no_other_type(
    folder: Path, columns: dict[str, str], name: str, what: str
) -> None:
    path = write(folder, "a.csv", "text,id,body,key\na,1,b,2\n")
    message = f"--type {name}=integer: {name!r} is the column of the {what}, which are strings"
    asked: dict[str, Any] = {"text_column": None, "id_column": None, **columns}
    for function in (read_corpus, hash_inputs):
        with pytest.raises(SettingsError, match=message):
            function([path], types={name: "integer"}, **asked)


def test_columns_that_are_neither_texts_nor_ids_have_types_whatever_their_names(
    folder: Path,
) -> None:
    path = write(folder, "a.csv", "text,id,body,key\n5,6,b,k\n")
    (row,) = rows(
        path, text_column="body", id_column="key", types={"text": "integer", "id": "number"}
    )
    assert row.metadata == {"text": 5, "id": 6}


def test_types_are_ignored_for_txt_among_other_files(folder: Path) -> None:
    txt = write(folder, "a.txt", "a\n")
    table = write(folder, "b.csv", "text,year\nb,1\n")
    found = rows(txt, table, types={"year": "integer"})
    assert [row.metadata for row in found] == [{}, {"year": 1}]


# JSON lines


def test_json_values_are_kept_as_metadata(folder: Path) -> None:
    metadata = {"n": 1, "f": 0.5, "none": None, "list": [True, {"深": "度"}], "big": 2**80}
    path = write(folder, "a.jsonl", json.dumps({"id": "x", "text": "a", **metadata}) + "\n")
    assert rows(path) == [Row(path, 1, "x", "a", metadata)]


def test_json_ids_are_strings_or_integers_and_may_be_absent(folder: Path) -> None:
    path = write(
        folder,
        "a.ndjson",
        '{"text": "a", "id": 12}\n{"text": "a", "id": -3}\n{"text": "a", "id": "0012"}\n'
        '{"text": "a"}\n',
    )
    assert [row.id for row in rows(path)] == ["12", "-3", "0012", None]


def test_an_escaped_pair_of_surrogates_is_one_character(folder: Path) -> None:
    assert texts(write(folder, "a.jsonl", r'{"text": "\ud83d\ude00"}')) == [(1, "😀")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "empty line"),
        ("  ", "empty line"),
        ("{", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        ('["a"]', "not a JSON object: ['a']"),
        ("null", "not a JSON object: None"),
        ("{}", "no key 'text'; there are none; name one with --text-column"),
        (
            '{"body": "a", "n": 1}',
            "no key 'text'; there are 'body', 'n'; name one with --text-column",
        ),
        ('{"text": 3}', "the text must be a string, not 3"),
        ('{"text": null}', "the text must be a string, not None"),
        ('{"text": ["a"]}', "the text must be a string, not ['a']"),
        ('{"text": " \\n"}', "empty text"),
        ('{"text": "a\\ud800"}', "lone surrogate \\ud800 in the text"),
        ('{"text": "a", "id": ""}', "empty id"),
        ('{"text": "a", "id": true}', "the id must be a string or an integer, not True"),
        ('{"text": "a", "id": 1.0}', "the id must be a string or an integer, not 1.0"),
        ('{"text": "a", "id": null}', "the id must be a string or an integer, not None"),
        ('{"text": "a", "id": "\\udfff"}', "lone surrogate \\udfff in the id"),
        ('{"text": "a", "ok": 1, "v": "\\ud800"}', "column 'v': lone surrogate"),
        ('{"text": "a", "ok": 1, "\\ud800": 1}', "column '\\ud800': lone surrogate"),
    ],
)
def test_a_bad_json_line_is_a_problem_with_its_reason(
    folder: Path, line: str, expected: str
) -> None:
    path = write(folder, "a.jsonl", f'{{"text": "before"}}\n{line}\n{{"text": "after"}}\n')
    assert outcome(path) == [(1, "before"), (2, f"!{expected}"), (3, "after")]


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", '[1, {"a": NaN}]'])
def test_numbers_that_json_cannot_carry_name_their_column(folder: Path, value: str) -> None:
    path = write(folder, "a.jsonl", f'{{"text": "a", "ok": 1, "score": {value}}}\n')
    assert reason(path).startswith("column 'score': NaN or Infinity, which JSON cannot carry")


def test_a_missing_json_id_key_that_was_named_is_a_problem(folder: Path) -> None:
    path = write(folder, "a.jsonl", '{"text": "a", "kee": 1}')
    assert reason(path, id_column="key") == (
        "no key 'key'; there are 'text', 'kee'; name one with --id-column"
    )


def test_json_nested_without_end_is_a_problem(folder: Path) -> None:
    path = write(folder, "a.jsonl", '{"text": "a", "v": ' + "[" * 200_000 + "]" * 200_000 + "}")
    assert reason(path).startswith("JSON that cannot be read:")


# Parquet


def parquet(folder: Path, columns: dict[str, Any], name: str = "表 格.parquet") -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    tables = pytest.importorskip("pyarrow.parquet")
    tables.write_table(pyarrow.table(columns), folder / name)
    return folder / name


def test_parquet_rows_are_counted_from_one_and_keep_json_values(folder: Path) -> None:
    path = parquet(
        folder,
        {"id": [7, 8], "text": ["猫", " b "], "标签": [["x", "y"], None], "n": [{"a": 0.5}, None]},
    )
    assert rows(path) == [
        Row(path, 1, "7", "猫", {"标签": ["x", "y"], "n": {"a": 0.5}}),
        Row(path, 2, "8", " b ", {"标签": None, "n": None}),
    ]


def test_parquet_rows_go_on_over_batches(folder: Path) -> None:
    path = parquet(folder, {"body": [f"t{i}" for i in range(600)]})
    assert texts(path, text_column="body") == [(i + 1, f"t{i}") for i in range(600)]


def test_parquet_categories_are_texts(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    path = parquet(folder, {"text": pyarrow.array(["a", "b", "a"]).dictionary_encode()})
    assert texts(path) == [(1, "a"), (2, "b"), (3, "a")]


def test_bad_parquet_rows_are_problems(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    path = parquet(
        folder,
        {
            "id": ["1", "", None, "4", "5", "6"],
            "text": ["", "b", "c", None, "e", "f"],
            "day": pyarrow.array([None, None, None, None, 0, None], pyarrow.date32()),
            "score": [1.0, 1.0, 1.0, 1.0, 1.0, float("nan")],
        },
    )
    assert outcome(path) == [
        (1, "!empty text"),
        (2, "!empty id"),
        (3, "!the id must be a string or an integer, not None"),
        (4, "!the text must be a string, not None"),
        (5, "!column 'day': JSON has no date32[day]; cast it to a string"),
        (
            6,
            "!column 'score': NaN or Infinity, which JSON cannot carry; "
            "leave the value out or use null",
        ),
    ]


def test_parquet_strings_that_are_not_utf8_are_problems(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    column = pyarrow.array([b"\xff", b"ok"]).view(pyarrow.string())
    assert outcome(parquet(folder, {"text": column})) == [
        (1, "!column 'text': not UTF-8: byte 0xff"),
        (2, "ok"),
    ]


def test_a_missing_parquet_column_is_an_error(folder: Path) -> None:
    path = parquet(folder, {"sentence": ["a"]})
    with pytest.raises(CorpusError, match="no column 'text'; there are 'sentence'"):
        list(read_corpus([path]))


def test_a_broken_parquet_file_is_an_error(folder: Path) -> None:
    path = parquet(folder, {"text": ["a"] * 100})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorpusError, match="cannot be read as parquet"):
        list(read_corpus([path]))


def test_parquet_without_pyarrow_names_the_command_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = write(folder, "a.parquet", b"")
    with pytest.raises(MissingPackageError) as caught:
        read_corpus([path])
    assert "pip install 'simsearch[parquet]'" in str(caught.value).splitlines()


# Files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt.gz", "句子\n"),
        ("a.csv.gz", "text\n句子\n"),
        ("a.tsv.gz", "text\n句子\n"),
        ("a.jsonl.gz", '{"text": "句子"}\n'),
        ("A.NDJSON.GZ", '{"text": "句子"}\n'),
    ],
)
def test_gzipped_text_files_are_read(folder: Path, name: str, content: str) -> None:
    path = write(folder, name, gzip.compress(content.encode()))
    assert [row.text for row in rows(path)] == ["句子"]


def test_a_gzip_file_cut_short_gives_its_rows_and_then_an_error(folder: Path) -> None:
    whole = gzip.compress(b"".join(b"%d\n" % (i * i * 7919) for i in range(20_000)))
    stream = read_corpus([write(folder, "a.txt.gz", whole[: len(whole) // 2])])
    first = next(stream)
    assert isinstance(first, Row)
    assert first.text == "0"
    with pytest.raises(CorpusError, match="not a whole gzip file"):
        list(stream)


@pytest.mark.parametrize("content", [b"plain text\n", b"\x1f\x8b\x08\x00" + b"\xff" * 40])
def test_a_file_that_is_no_gzip_is_an_error_with_its_path(folder: Path, content: bytes) -> None:
    path = write(folder, "a.txt.gz", content)
    with pytest.raises(CorpusError) as caught:
        list(read_corpus([path]))
    assert str(path) in str(caught.value)
    assert "gzip -t" in str(caught.value)


@pytest.mark.parametrize("name", ["a.json", "a", "a.gz", "a.zip", "a.parquet.gz", ".txt"])
def test_other_suffixes_are_refused_with_those_that_can_be_read(folder: Path, name: str) -> None:
    path = write(folder, name, b"a\n")
    with pytest.raises(CorpusError) as caught:
        read_corpus([path])
    for word in (str(path), ".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".gz", ".parquet"):
        assert word in str(caught.value)


def test_bad_paths_are_refused_before_any_row_is_read(folder: Path) -> None:
    good = write(folder, "a.txt", "a\n")
    with pytest.raises(CorpusError, match=r"没有\.txt: there is no such file"):
        read_corpus([good, folder / "没有.txt"])
    with pytest.raises(CorpusError, match="语料 库 is a folder; give the files in it"):
        read_corpus([good, folder])
    with pytest.raises(CorpusError, match=r"x{300}\.txt"):
        read_corpus([good, folder / ("x" * 300 + ".txt")])


def test_files_are_read_in_the_order_given_and_only_as_far_as_asked(folder: Path) -> None:
    first = write(folder, "b.txt", "b\n")
    second = write(folder, "a.csv", "no such column\n")
    stream = read_corpus([first, second])
    assert next(stream) == Row(first, 1, None, "b", {})
    with pytest.raises(CorpusError):
        next(stream)


def test_a_problem_prints_as_path_line_and_reason() -> None:
    assert str(RowProblem(Path("语料 库") / "a.txt", 3, "empty text")) == (
        f"{Path('语料 库') / 'a.txt'}:3: empty text"
    )


# Identity of the inputs


def test_the_hash_depends_on_contents_formats_order_and_columns_only(folder: Path) -> None:
    elsewhere = folder / "别处"
    elsewhere.mkdir()
    a, b = write(folder, "a.txt", "a\n"), write(folder, "b.txt", "b\n")
    variants = {
        hash_inputs(paths, text_column=text, id_column=id_)
        for paths, text, id_ in [
            ([a, b], None, None),
            ([b, a], None, None),
            ([a], None, None),
            ([a, a], None, None),
            ([write(folder, "joined.txt", "a\nb\n")], None, None),
            ([write(folder, "a.tsv", "a\n"), b], None, None),
            ([write(folder, "a.txt.gz", "a\n"), b], None, None),
            ([a, b], "text", None),
            ([a, b], None, "text"),
        ]
    }
    assert len(variants) == 9
    moved = [write(elsewhere, "c.txt", "a\n"), write(elsewhere, "d.TXT", "b\n")]
    again = hash_inputs(moved, text_column=None, id_column=None)
    assert again == hash_inputs([a, b], text_column=None, id_column=None)
    assert len(again) == 64
    assert set(again) <= set("0123456789abcdef")


def test_the_hash_depends_on_types_and_not_on_their_order(folder: Path) -> None:
    path = write(folder, "a.csv", "text,a,b\nt,1,2\n")

    def hashed(**types: Any) -> str:
        return hash_inputs([path], text_column=None, id_column=None, types=types)

    # as it was before there were types, so that no finished index is built again
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = hashlib.sha256(f"[null, null]\ncsv gzipped=False {content}".encode())
    assert hashed() == expected.hexdigest()
    assert hashed() == hash_inputs([path], text_column=None, id_column=None)
    assert hashed(a="integer", b="number") == hashed(b="number", a="integer")
    kinds = [{}, {"a": "integer"}, {"a": "number"}, {"b": "integer"}, {"a": "integer", "b": "list"}]
    assert len({hashed(**types) for types in kinds}) == 5


def test_the_hash_refuses_what_reading_refuses(folder: Path) -> None:
    for path in (folder, folder / "none.txt", write(folder, "a.zip", b"")):
        with pytest.raises(CorpusError):
            hash_inputs([path], text_column=None, id_column=None)


def test_the_id_of_a_text_is_the_beginning_of_its_sha256() -> None:
    assert content_id("abc") == "ba7816bf8f01cfea"  # FIPS 180-2, appendix B.1
    assert content_id("我爱你") == hashlib.sha256("我爱你".encode()).hexdigest()[:16]


# Whatever is written is read back

CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")
LINES = st.lists(st.text(CHARACTERS, min_size=1).filter(str.strip), max_size=8)


def numbered(lines: list[str], start: int) -> list[tuple[int, str]]:
    return list(enumerate(lines, start=start))


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_lines_written_as_txt_are_read_back(
    shared_folder: Path, lines: list[str], end: str, final_end: bool
) -> None:
    content = "\ufeff" + end.join(lines) + (end if final_end and lines else "")
    assert texts(write(shared_folder, "a.txt", content)) == numbered(lines, 1)


@given(st.lists(st.text(CHARACTERS).map(lambda t: t.replace("\t", "")).filter(str.strip)))
def test_any_lines_written_as_tsv_are_read_back(shared_folder: Path, lines: list[str]) -> None:
    content = "n\ttext\n" + "".join(f"{i}\t{line}\n" for i, line in enumerate(lines))
    assert texts(write(shared_folder, "a.tsv", content)) == numbered(lines, 2)


@given(LINES, st.booleans())
def test_any_lines_written_as_jsonl_are_read_back(
    shared_folder: Path, lines: list[str], ascii_only: bool
) -> None:
    content = "".join(json.dumps({"text": t}, ensure_ascii=ascii_only) + "\n" for t in lines)
    assert texts(write(shared_folder, "a.jsonl", content)) == numbered(lines, 1)


@given(LINES)
def test_any_lines_written_as_csv_are_read_back(shared_folder: Path, lines: list[str]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([["text"], *([line] for line in lines)])
    assert texts(write(shared_folder, "a.csv", buffer.getvalue())) == numbered(lines, 2)


WITH_LINE_ENDS = st.text(st.sampled_from('a猫",\n\r \u2028\t'), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(WITH_LINE_ENDS, st.text(st.sampled_from('b"\n,')))))
def test_csv_texts_with_line_ends_are_read_back_with_their_first_lines(
    shared_folder: Path, records: list[tuple[str, str]]
) -> None:
    expected: list[tuple[int, str, dict[str, str]]] = []
    content = "text,note\r\n"
    for text, note in records:
        expected.append((content.count("\n") + 1, text, {"note": note}))
        buffer = io.StringIO(newline="")
        csv.writer(buffer).writerow([text, note])
        content += buffer.getvalue()
    found = rows(write(shared_folder, "b.csv", content))
    assert [(row.line, row.text, row.metadata) for row in found] == expected


@given(st.binary(max_size=60), st.sampled_from(["txt", "csv", "tsv", "jsonl"]))
def test_any_bytes_give_rows_or_problems_but_no_other_error(
    shared_folder: Path, content: bytes, suffix: str
) -> None:
    header = b"text,n\n" if suffix == "csv" else b"text\tn\n" if suffix == "tsv" else b""
    path = write(shared_folder, f"c.{suffix}", header + b"\n" + content)
    lines = [row.line for row in read_corpus([path])]
    assert lines == sorted(set(lines))
    assert max(lines) <= (header + b"\n" + content).count(b"\n") + 1


def test_of_a_row_with_several_problems_the_text_is_named_first(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "", "year": "x"}\n{"text": "b", "id": "", "year": "x"}\n', "utf-8")
    found = list(read_corpus([path], types={"year": "integer"}))
    assert [str(problem).partition(": ")[2] for problem in found] == ["empty text", "empty id"]


class TestElsewhere:
    """Files of another file system: that of fsspec's memory."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        return f"memory://{tmp_path.name}"

    @pytest.mark.parametrize("name", ["语料.jsonl", "a.jsonl.gz", "a.csv", "a.parquet"])
    def test_rows_and_hash_are_those_of_a_local_file(
        self, tmp_path: Path, folder: str, name: str
    ) -> None:
        local = tmp_path / name
        if name.endswith(".parquet"):
            parquet(tmp_path, {"text": ["猫", "b"], "n": [1, 2]}, name)
        elif name.endswith(".csv"):
            local.write_text("text,n\n猫,1\nb,2\n", "utf-8")
        else:
            lines = '{"text": "猫", "n": 1}\n{"text": "b", "n": 2}\nno JSON\n'.encode()
            local.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
        (there,) = readers.corpus_paths(f"{folder}/{name}")
        there.write_bytes(local.read_bytes())
        rows, expected = list(read_corpus([there])), list(read_corpus([local]))
        assert [(r.line, getattr(r, "text", None)) for r in rows] == [
            (r.line, getattr(r, "text", None)) for r in expected
        ]
        assert str(rows[0].path) == f"{folder}/{name}"
        columns = {"text_column": None, "id_column": None}
        assert hash_inputs([there], **columns) == hash_inputs([local], **columns)

    def test_what_is_not_there(self, folder: str) -> None:
        (there,) = readers.corpus_paths([f"{folder}/a.txt"])
        with pytest.raises(CorpusError, match=r"memory://.*/a.txt: there is no such file"):
            list(read_corpus([there]))
        with pytest.raises(CorpusError, match=r"nowhere://a.txt: .*; give a file, or a URI"):
            readers.corpus_paths("nowhere://a.txt")

    def test_a_system_whose_package_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(MissingPackageError, match=r"s3://b/a.txt: .*such as s3fs or gcsfs"):
            readers.corpus_paths("s3://b/a.txt")
        monkeypatch.setitem(sys.modules, "upath", None)
        with pytest.raises(MissingPackageError, match=r"pip install 'simsearch\[remote\]'"):
            readers.corpus_paths("memory://a.txt")
