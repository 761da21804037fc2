"""Filters against an evaluator of their own, written here, and what is refused of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simsearch import filters
from simsearch.errors import CorruptIndexError, SettingsError
from simsearch.filters import AllOf, AnyOf, Compare, Contains, Not, OneOf, parse_filter
from simsearch.store.filtering import (
    delete_fields,
    field_records,
    insert_fields,
    matching_documents,
)
from simsearch.store.schema import FIELDS

INJECTIONS = ["x' OR '1'='1", '"; DROP TABLE fields; --', "?1", ":key", "%", "a_", "') --"]


def database(documents: dict[int, dict[str, Any]]) -> apsw.Connection:
    """The documents under their numbers; of ``documents``, as much as filters read."""
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE documents (number INTEGER PRIMARY KEY, id TEXT UNIQUE)")
    connection.execute("CREATE TABLE tombstones (document INTEGER PRIMARY KEY)")
    connection.execute(FIELDS)
    for number, metadata in documents.items():
        add(connection, number, metadata)
    for number in range(max(documents, default=0)):
        if number not in documents:
            connection.execute("INSERT INTO tombstones VALUES (?)", (number,))
    return connection


def add(connection: apsw.Connection, number: int, metadata: dict[str, Any]) -> None:
    connection.execute("INSERT INTO documents VALUES (?, ?)", (number, f"id {number}"))
    insert_fields(connection, number, metadata)


def remove(connection: apsw.Connection, number: int, metadata: dict[str, Any]) -> None:
    connection.execute("DELETE FROM documents WHERE number = ?", (number,))
    connection.execute("INSERT INTO tombstones VALUES (?)", (number,))
    delete_fields(connection, number, metadata)


def found(connection: apsw.Connection, filter: object) -> list[int]:
    answer = matching_documents(connection, Path("索引"), parse_filter(filter))
    assert answer.dtype == "int64"
    return list(map(int, answer))


def refusal(filter: object) -> str:
    with pytest.raises(SettingsError) as raised:
        parse_filter(filter)
    return str(raised.value)


# An evaluator of the definition, document by document


def matches(metadata: dict[str, Any], filter: dict[str, Any]) -> bool:
    for key, below in filter.items():
        if key == "$and":
            holds = all(matches(metadata, part) for part in below)
        elif key == "$or":
            holds = any(matches(metadata, part) for part in below)
        else:
            conditions = below if isinstance(below, dict) else {"$eq": below}
            holds = all(holds_of(metadata, key, *pair) for pair in conditions.items())
        if not holds:
            return False
    return True


def holds_of(metadata: dict[str, Any], key: str, operator: str, operand: Any) -> bool:
    if operator in ("$ne", "$nin"):
        return not holds_of(metadata, key, {"$ne": "$eq", "$nin": "$in"}[operator], operand)
    if key not in metadata:
        return False
    held = metadata[key]
    values = held if isinstance(held, list) else [held]
    if operator == "$in":
        return any(same(value, wanted) for value in values for wanted in operand)
    if operator == "$contains" and not isinstance(held, list):
        return isinstance(held, str) and isinstance(operand, str) and operand in held
    if operator in ("$eq", "$contains"):
        return any(same(value, operand) for value in values)
    return any(in_order(operator, value, operand) for value in values)


def same(value: Any, operand: Any) -> bool:
    return kind(value) == kind(operand) != "none" and number(value) == number(operand)


def in_order(operator: str, value: Any, operand: Any) -> bool:
    if kind(value) != kind(operand):
        return False
    a, b = number(value), number(operand)
    return bool({"$gt": a > b, "$gte": a >= b, "$lt": a < b, "$lte": a <= b}[operator])


def kind(value: Any) -> str:
    names = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), "none")


def number(value: Any) -> Any:
    """Integers beyond 64 bits as float64; all else as it is."""
    if type(value) is int and value.bit_length() > 63 and value != -(2**63):
        largest = 2**1024 - 2**970  # and what is nearer to 2**1024 rounds to it
        return float(value) if abs(value) < largest + 2**969 else math.inf * (1, -1)[value < 0]
    return value


STRINGS = st.sampled_from(
    ["", "a", "ab", "b", "A", "1", "true", "null", "a\0", "a\0b", "é", "猫", "\uffff", "😀"]
    + INJECTIONS
) | st.text("ab猫😀\0", max_size=3)
NUMBERS = st.sampled_from(
    [0, 1, 2, -1, 0.0, -0.0, 1.0, 0.1, -0.5, 1e300, -1e300, 5e-324, 10**400, -(10**400)]
    + [sign * (2**power + step) for sign in (1, -1) for power in (53, 63) for step in (-1, 0, 1)]
    + [sign * 2.0**power for sign in (1, -1) for power in (53, 63)]
) | st.integers(-3, 3)
SCALARS = st.none() | st.booleans() | NUMBERS | STRINGS
KEYS = st.sampled_from(["a", "", "a\0", INJECTIONS[0]])


def metadata(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    nested = st.dictionaries(KEYS, scalars, max_size=2)
    elements = scalars | st.lists(scalars, max_size=2) | nested
    return st.dictionaries(KEYS, scalars | nested | st.lists(elements, max_size=4), max_size=4)


def filters_of(scalars: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    ordered = scalars.filter(lambda value: value is not None and not isinstance(value, bool))
    operands = {
        **dict.fromkeys(["$eq", "$ne", "$contains"], scalars),
        **dict.fromkeys(["$gt", "$gte", "$lt", "$lte"], ordered),
        **dict.fromkeys(["$in", "$nin"], st.lists(scalars, max_size=4)),
    }
    condition = st.sampled_from(list(operands)).flatmap(
        lambda name: st.fixed_dictionaries({name: operands[name]})
    )
    conditions = st.tuples(condition, condition).map(lambda pair: pair[0] | pair[1])
    return st.recursive(
        st.dictionaries(KEYS, scalars | condition | conditions, min_size=1, max_size=2),
        lambda below: st.dictionaries(
            st.sampled_from(["$and", "$or"]), st.lists(below, min_size=1, max_size=3), min_size=1
        ),
        max_leaves=5,
    )


@st.composite
def corpora_and_filters(draw: st.DrawFn) -> tuple[list[Any], list[dict[str, Any]]]:
    """Documents, each with whether it is removed, and filters: all of the same few values."""
    # a number and a string among them, so that there is something to be above or below
    pool = [draw(NUMBERS), draw(STRINGS), *draw(st.lists(SCALARS, max_size=4))]
    scalars = st.sampled_from(pool)
    documents = st.lists(st.tuples(metadata(scalars), st.booleans()), min_size=1, max_size=8)
    return draw(documents), draw(st.lists(filters_of(scalars), min_size=1, max_size=4))


@settings(max_examples=150, deadline=None)
@given(corpora_and_filters())
def test_any_filter_finds_what_the_definition_says(
    drawn: tuple[list[tuple[dict[str, Any], bool]], list[dict[str, Any]]],
) -> None:
    documents, asked = drawn
    connection = database({n: held for n, (held, _) in enumerate(documents)})
    for n, (held, removed) in enumerate(documents):
        if removed:
            remove(connection, n, held)
    left = {n: held for n, (held, removed) in enumerate(documents) if not removed}
    for filter in asked:
        expected = [n for n, held in left.items() if matches(held, filter)]
        assert found(connection, filter) == expected
        tree = parse_filter(filter)
        assert [n for n, held in left.items() if filters.matches(tree, held)] == expected


@given(metadata(SCALARS), metadata(SCALARS))
def test_what_is_deleted_leaves_no_record_and_takes_none_of_another(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    connection = database({0: first, 1: second})
    everything = "SELECT key, value FROM fields ORDER BY 1, 2"
    remove(connection, 1, second)
    assert connection.execute(everything).fetchall() == sorted_records(first)
    remove(connection, 0, first)
    assert connection.execute(everything).fetchall() == []


def sorted_records(metadata: dict[str, Any]) -> list[Any]:
    def order(record: tuple[str, Any]) -> tuple[Any, ...]:
        key, value = record
        kinds = [isinstance(value, kind) for kind in (bytes, str)]
        return key, *kinds, value

    return sorted(field_records(metadata), key=order)


# What the definition means, by hand

LIBRARY = {
    0: {"year": 1999, "language": "zh", "draft": False, "tags": ["news", "art"]},
    1: {"year": 2005.0, "language": "en", "draft": True, "tags": ["party"]},
    2: {"year": "2005", "language": None, "tags": []},
    3: {"year": [2001, 2020], "language": ["zh", "en"], "source": {"name": "zh"}},
    7: {},
}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"language": "zh"}, [0, 3]),
        ({"language": {"$eq": "zh"}}, [0, 3]),
        ({"language": {"$ne": "zh"}}, [1, 2, 7]),
        ({"language": None}, [2]),
        ({"language": {"$ne": None}}, [0, 1, 3, 7]),
        ({"language": {"$in": ["zh", None]}}, [0, 2, 3]),
        ({"language": {"$nin": ["zh", None]}}, [1, 7]),
        ({"language": {"$in": []}}, []),
        ({"language": {"$nin": []}}, [0, 1, 2, 3, 7]),
        ({"year": 2005}, [1]),
        ({"year": "2005"}, [2]),
        ({"year": {"$gt": 1999}}, [1, 3]),
        ({"year": {"$gte": 1999}}, [0, 1, 3]),
        ({"year": {"$lte": 2001}}, [0, 3]),
        ({"year": {"$lt": 2001}}, [0]),
        ({"year": {"$lt": "3"}}, [2]),
        # each by a value of its own: 2020 is above, 2001 below
        ({"year": {"$gt": 2010, "$lt": 2005}}, [3]),
        ({"draft": False}, [0]),
        ({"draft": 0}, []),
        ({"tags": "art"}, [0]),
        ({"tags": {"$contains": "art"}}, [0]),  # no part of "party": elements are whole
        ({"language": {"$contains": "n"}}, [1]),
        ({"language": {"$contains": ""}}, [0, 1]),
        ({"year": {"$contains": 2001}}, [3]),
        ({"year": {"$contains": 1999}}, []),
        ({"source": "zh"}, []),
        ({"source": {"$ne": "zh"}}, [0, 1, 2, 3, 7]),
        ({"language": "zh", "year": {"$gt": 2000}}, [3]),
        ({"$or": [{"year": 1999}, {"draft": True}]}, [0, 1]),
        ({"$or": [{"year": 1999}, {"draft": {"$ne": False}}]}, [0, 1, 2, 3, 7]),
        ({"$and": [{"tags": {"$ne": "art"}}, {"draft": {"$ne": True}}]}, [2, 3, 7]),
    ],
)
def test_a_filter_finds_documents_in_ascending_order(
    filter: dict[str, Any], expected: list[int]
) -> None:
    assert found(database(LIBRARY), filter) == expected
    assert [n for n, metadata in LIBRARY.items() if matches(metadata, filter)] == expected


def test_nothing_is_found_where_there_is_no_document() -> None:
    assert found(database({}), {"year": {"$ne": 1}}) == []


def test_a_document_has_each_value_once_and_nothing_of_what_is_nested() -> None:
    values = [1, 1.0, True, "1", None, -0.0, 0, ["x"], {"y": 1}, 2**63, 2**63 + 1, 10**400]
    assert field_records({"a": values, "b": {"c": 1}}) == [
        ("a", 1),
        ("a", b"\x01"),
        ("a", "1"),
        ("a", b""),
        ("a", -0.0),
        ("a", 2.0**63),
        ("a", math.inf),
        ("a", b"\x02"),  # it is a list
    ]


def test_ten_thousand_values_and_more_are_asked_for_at_once() -> None:
    connection = database({n: {"n": n} for n in range(0, 25_000, 5)})
    assert found(connection, {"n": {"$in": list(range(24_000))}}) == list(range(0, 24_000, 5))


def test_a_wide_filter_is_answered() -> None:
    wide = [{"n": {"$gte": n}} for n in range(filters.MAX_CONDITIONS - 1)]
    connection = database({n: {"n": n} for n in (0, 5, 2000)})
    assert found(connection, {"$or": wide}) == [0, 5, 2000]
    assert found(connection, {"$and": wide}) == [2000]


def statements(connection: apsw.Connection, filter: object) -> Iterator[str]:
    """How SQLite finds what the filter asks of ``fields``, and what deleting a document does."""
    ran: list[tuple[str, Any]] = []

    def trace(_: Any, sql: str, bindings: Any) -> bool:
        ran.append((sql, bindings))
        return True

    connection.exec_trace = trace
    found(connection, filter)
    remove(connection, 0, {"n": 1})
    connection.exec_trace = None
    for sql, bindings in ran:
        if "fields" in sql:
            for *_, plan in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings):
                yield plan


def test_records_are_looked_up_and_never_all_read() -> None:
    conditions: dict[str, Any] = dict.fromkeys(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"], 1)
    plans = set(statements(database({0: {"n": 1}}), {"n": {**conditions, "$in": ["a", 1]}}))
    found_by = "SEARCH fields USING PRIMARY KEY (key=? AND value"
    assert plans == {
        f"{found_by}=?)",
        f"{found_by}>? AND value<?)",
        f"{found_by}=? AND document=?)",  # the deletion
    }
    (plan, *_) = statements(database({0: {"n": 1}}), {"n": {"$contains": "a"}})
    assert plan.startswith(found_by)


def test_a_record_of_no_document_is_damage() -> None:
    connection = database({0: {"n": 1}})
    insert_fields(connection, 9, {"n": 1})
    with pytest.raises(CorruptIndexError, match="索引 is damaged: its table fields names document"):
        found(connection, {"n": 1})


# The tree, and what is refused


def test_a_filter_becomes_a_tree() -> None:
    assert parse_filter({"a": 1}) == OneOf("a", (1,))
    assert parse_filter({"a": {"$ne": "x"}}) == Not(OneOf("a", ("x",)))
    assert parse_filter({"a": {"$nin": ["x", None]}}) == Not(OneOf("a", ("x", None)))
    assert parse_filter({"a": {"$gte": 1, "$lt": 2}, "b": {"$contains": "x"}}) == AllOf(
        (AllOf((Compare("a", "$gte", 1), Compare("a", "$lt", 2))), Contains("b", "x"))
    )
    assert parse_filter({"$or": [{"a": 1}, {"$and": [{"b": 2}]}]}) == AnyOf(
        (OneOf("a", (1,)), OneOf("b", (2,)))
    )


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (None, 'filter is None; expected an object such as {"year": {"$gte": 2000}}'),
        ([{"a": 1}], "filter is [{'a': 1}]; expected an object"),
        ("a = 1", "filter is 'a = 1'; expected an object"),
        ({}, "filter: it is empty; name a field, or leave the filter out"),
        ({5: 1}, "filter: a field's name must be a string, not 5"),
        ({"a": {5: 1}}, "filter['a']: an operator must be a string, not 5"),
        ({"a": {}}, "filter['a']: it has no operator; there are $eq, $ne, $gt, "),
        ({"a": {"$gtt": 1}}, "filter['a']: unknown operator '$gtt'; did you mean '$gt'?"),
        ({"a": {"$GTE": 1}}, "filter['a']: unknown operator '$GTE'; did you mean '$gte'?"),
        ({"a": {"contain": 1}}, "unknown operator 'contain'; did you mean '$contains'?"),
        ({"a": {"$exists": True}}, "unknown operator '$exists'; there are $eq, $ne, $gt, $gte"),
        ({"a": {"b": 1}}, "filter['a']: unknown operator 'b'; there are $eq"),
        ({"$adn": [{"a": 1}]}, "filter: unknown operator '$adn'; did you mean '$and'?"),
        ({"$not": {"a": 1}}, "filter: unknown operator '$not'; "),
        ({"$gt": 1}, 'filter: $gt stands behind a field: {"FIELD": {"$gt": …}}'),
        ({"a": {"$or": [1]}}, "filter['a']: $or stands before the fields: {\"$or\": [{"),
        ({"$and": []}, "filter['$and'] is []; expected a list of one filter or more"),
        ({"$or": {"a": 1}}, "filter['$or'] is {'a': 1}; expected a list of one filter or more"),
        ({"$or": [{"a": 1}, {}]}, "filter['$or'][1]: it is empty"),
        ({"$or": [{"a": 1}, 3]}, "filter['$or'][1] is 3; expected an object"),
        ({"a": [1, 2]}, "filter['a'] is [1, 2]; expected a string, a number, true, false or null"),
        ({"a": {"$ne": {}}}, "filter['a']['$ne'] is {}; expected a string, a number, true"),
        ({"a": {"$contains": ["x"]}}, "filter['a']['$contains'] is ['x']; expected a string, a"),
        ({"a": {"$eq": object}}, "expected a string, a number, true, false or null (lists are fo"),
        ({"a": {"$in": "xy"}}, "filter['a']['$in'] is 'xy'; expected a list of values"),
        ({"a": {"$in": [1, [2]]}}, "filter['a']['$in'][1] is [2]; expected a string"),
        ({"a": {"$gt": None}}, "filter['a']['$gt'] is None; expected a number or a string"),
        ({"a": {"$lte": True}}, "filter['a']['$lte'] is True; expected a number or a string"),
        ({"a": math.nan}, "filter['a'] is nan; NaN and infinities are no JSON; expected another"),
        ({"a": {"$lt": math.inf}}, "filter['a']['$lt'] is inf; NaN and infinities are no JSON"),
        ({"a": {"$in": [math.nan]}}, "filter['a']['$in'][0] is nan"),
        ({"a": "x\ud800"}, "filter['a']: lone surrogate \\ud800 in a value; expected Unicode"),
        ({"\udfff": 1}, "filter: lone surrogate \\udfff in a field's name"),
        ({"a": {"\udfff": 1}}, "filter['a']: lone surrogate \\udfff in an operator"),
    ],
)
def test_a_wrong_filter_is_refused_at_its_place(filter: object, message: str) -> None:
    assert message in refusal(filter)


@given(st.recursive(SCALARS | st.floats(), lambda v: st.lists(v) | st.dictionaries(STRINGS, v)))
def test_anything_is_a_filter_or_refused(value: object) -> None:
    try:
        tree = parse_filter(value)
    except SettingsError:
        return
    matching_documents(database(LIBRARY), Path("索引"), tree)


def nested(depth: int) -> dict[str, Any]:
    filter: dict[str, Any] = {"a": 1}
    for _ in range(depth - 1):
        filter = {"$or": [filter, {"b": {"$ne": 1}}]}
    return filter


def test_a_filter_may_be_so_deep_and_no_deeper() -> None:
    assert found(database({0: {}}), nested(filters.MAX_DEPTH)) == [0]
    assert "more than 32 filters inside one another" in refusal(nested(filters.MAX_DEPTH + 1))
    inside_itself: dict[str, Any] = {}
    inside_itself["$and"] = [inside_itself, inside_itself]
    assert "more than 32 filters inside one another" in refusal(inside_itself)


def test_a_filter_may_be_so_large_and_no_larger() -> None:
    conditions = [{"a": 1}] * (filters.MAX_CONDITIONS - 1)  # and one is the $or
    assert len(parse_filter({"$or": conditions}).filters) == 999  # type: ignore[union-attr]
    assert "more than 1,000 conditions; use $in" in refusal({"$or": [*conditions, {"a": 1}]})
    values = [0] * filters.MAX_VALUES
    assert parse_filter({"a": {"$in": values}}) == OneOf("a", tuple(values))
    assert "more than 100,000 values" in refusal({"a": {"$in": [*values, 0]}})
