"""The same class does the same in this process and in one of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import qanat as qn
import qanat_sdk

EXPECTED = {"id": [1, 2, 3], "name": ["a", None, "c"]}
SAME = ["table", "batch", "batches", "rows", "columns", "row iterator", "batch iterator", "stream", "reader", "tables"]
Opener = Callable[..., qn.ConnectorHandle]


def rows(stream: qn.Stream | None) -> Any:
    assert stream is not None
    return stream.to_pyarrow().to_pydict()


@pytest.mark.trace("C5", "C8")
def test_locations_have_their_fields_and_defaults(mode: str, opener: Opener) -> None:
    found = opener(mode, "Documented").discover()
    assert found == [
        qn.Location("plain", True, "parquet", "", None),
        qn.Location("all", False, "csv", "v7", 3),
        qn.Location("odd name/..\n\u2603 ü", True, "parquet", "1", None),
    ]
    assert [field.name for field in qanat_sdk.Location.__dataclass_fields__.values()] == list(
        qn.Location.__dataclass_fields__
    )


@pytest.mark.trace("C5")
def test_attached_locations_reach_discover(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Documented")
    assert [found.location for found in handle.discover(["plain", "unknown"])] == ["all", "odd name/..\n\u2603 ü"]
    assert [found.location for found in handle.discover(found for found in ("all",))][:1] == ["plain"]
    with pytest.raises(TypeError, match="not one str"):
        handle.discover("plain")


@pytest.mark.trace("C8")
def test_a_location_reaches_data_whole(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Documented")
    for location in (
        *handle.discover(),
        qn.Location("x", False, "arrow", "v", 5),
        qanat_sdk.Location("y", version="w"),
    ):
        fields = [location.location, location.must_copy, location.format, location.version, location.num_rows]
        assert rows(handle.data(location)) == {"field": [repr(field) for field in fields]}
    assert rows(handle.data("only a name")) == {"field": ["'only a name'", "True", "'parquet'", "''", "None"]}


@pytest.mark.trace("C7")
def test_stable_urls(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Documented")
    assert handle.stable_url("all") == "https://example.com/all"
    assert handle.stable_url("plain") is None


@pytest.mark.trace("C25")
def test_arguments_reach_every_method_as_texts(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Arguments", {"host": "prod", "port": 5432, "fast": True, "none": None, "odd": 'ü"\\\n'})
    expected = ["fast='true'", "host='prod'", "odd='ü\"\\\\\\n'", "port='5432'"]
    assert [found.location for found in handle.discover()] == expected
    assert rows(handle.data("x")) == {"argument": expected}
    assert handle.stable_url("x") == "test:" + ",".join(expected)


@pytest.mark.trace("C25")
def test_an_argument_that_no_method_takes_is_named(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Strict", {"plant": "Mars"})
    for call in (handle.discover, lambda: handle.data("x")):
        with pytest.raises(qn.ConnectorError, match='takes no argument "plant"; it takes planet'):
            call()
    assert opener(mode, "Strict", {"planet": "Mars"}).discover() == [qn.Location("Mars")]


@pytest.mark.trace("C11", "C12", "C13", "C14", "C15", "C16", "C17", "C23")
def test_everything_that_data_returns(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Returns")
    names = [found.location for found in handle.discover()]
    assert names == [*SAME, "none", "no items"]
    for name in SAME:
        assert rows(handle.data(name)) == EXPECTED, name
    assert handle.data("none") is None
    stream = handle.data("no items")
    assert stream is not None
    assert stream.schema.names == ["id", "name"]
    assert stream.to_polars().height == 0


@pytest.mark.trace("C19")
def test_rows_without_a_schema_are_refused(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Schemaless")
    for name in ("rows", "columns", "row iterator"):
        with pytest.raises(qn.ConnectorError, match=r"which needs schema\(\): define it in the connector"):
            handle.data(name)
    assert rows(handle.data("table")) == EXPECTED


@pytest.mark.trace("C28")
def test_an_exception_is_a_connector_error_with_its_message(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Failing")
    with pytest.raises(qn.ConnectorError) as caught:
        handle.data("value error")
    text = str(caught.value)
    assert text.startswith('connector "acme.sample": location "value error": ')
    assert "the data is not there" in text
    assert "\n" not in text
    assert not caught.value.retryable
    assert rows(handle.data("good")) == {"n": [1]}  # it goes on
    with pytest.raises(qn.ConnectorError, match="no URL"):
        handle.stable_url("value error")
    with pytest.raises(qn.ConnectorError, match="returns a StableUrl or None, not 'https://example.com'"):
        handle.stable_url("wrong type")
    with pytest.raises(qn.ConnectorError, match=r'^connector "acme\.sample": .*no catalogue today'):
        opener(mode, "Failing", {"fail": "discover"}).discover()


@pytest.mark.trace("C28")
def test_errors_say_whether_to_try_again(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Failing", retries=0)
    with pytest.raises(qn.ConnectorError, match="come again") as caught:
        handle.data("retryable")
    assert caught.value.retryable
    assert caught.value.retry_after == 30
    with pytest.raises(qn.ConnectorError, match="the token has expired") as caught:
        handle.data("authentication")
    assert not caught.value.retryable
    assert caught.value.retry_after is None


def test_a_failure_in_the_middle_comes_after_the_rows_before_it(mode: str, opener: Opener) -> None:
    stream = opener(mode, "Failing", retries=0).data("after a batch")
    assert stream is not None
    assert next(stream).num_rows == 1000
    for _ in range(2):  # the error repeats itself
        with pytest.raises(qn.ConnectorError, match='location "after a batch": .*the link went down'):
            next(stream)


def test_strange_ends_of_a_call_are_errors(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Failing")
    with pytest.raises(qn.ConnectorError, match=r"called sys\.exit\(3\)"):
        handle.data("exit")
    with pytest.raises(qn.ConnectorError, match=r"_UnprintableError \(its text cannot be had"):
        handle.data("unprintable")
    assert rows(handle.data("good")) == {"n": [1]}


def test_retryable_errors_are_retried(mode: str, opener: Opener, tmp_path: Any) -> None:
    counter = tmp_path / "counter"
    assert rows(opener(mode, "Flaky", {"counter": counter}).data("x")) == {"count": [3]}
    counter.unlink()
    with pytest.raises(qn.ConnectorError, match="failure 2") as caught:
        opener(mode, "Flaky", {"counter": counter}, retries=1).data("x")
    assert caught.value.retryable


def test_what_is_asked_is_what_comes(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Numbers")
    assert handle.can_resume()
    assert rows(handle.data("numbers", columns=["n"], skip_rows=10, limit=3)) == {"n": [10, 11, 12]}
    assert rows(handle.data("numbers", columns=["even", "n"], limit=2)) == {"even": [True, False], "n": [0, 1]}
    assert rows(handle.data("numbers", skip_rows=99_998, columns=["n"])) == {"n": [99_998, 99_999]}
    with pytest.raises(qn.QanatError, match="nonsense"):
        handle.data("numbers", columns=["nonsense"])
    for wrong in ({"limit": -1}, {"skip_rows": -1}, {"filter": [object()]}):
        with pytest.raises(qn.ArgumentError):
            handle.data("numbers", **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not one str"):
        handle.data("numbers", columns="n")


def test_filters(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Numbers")
    wanted = handle.data(
        "numbers", columns=["n"], filter=["and", [">=", "n", 500], ["=", "even", True]], skip_rows=10, limit=3
    )
    assert rows(wanted) == {"n": [520, 522, 524]}
    assert rows(handle.data("numbers", columns=["n"], filter=["in", "n", [7, 70_000]])) == {"n": [7, 70_000]}


def test_rows_cannot_be_skipped_where_the_order_is_not_stable(mode: str, opener: Opener) -> None:
    handle = opener(mode, "Endless")
    assert not handle.can_resume()
    with pytest.raises(qn.NotSupportedError, match="order"):
        handle.data("endless", skip_rows=1)


def test_an_endless_iterator_is_ended_with_its_stream(mode: str, opener: Opener) -> None:
    heard: list[tuple[str, str]] = []
    handle = opener(mode, "Endless", on_log=lambda level, text: heard.append((level, text)))
    stream = handle.data("endless")
    assert stream is not None
    assert [next(stream).num_rows for _ in range(3)] == [1000, 1000, 1000]
    stream.close()
    assert [found.location for found in handle.discover()] == ["endless"]
    assert ("warning", "closed") in heard


def test_log_and_progress_are_heard(mode: str, opener: Opener) -> None:
    heard: list[Any] = []
    handle = opener(
        mode,
        "Talking",
        on_log=lambda level, text: heard.append((level, text)),
        on_progress=lambda rows, total, text: heard.append((rows, total, text)),
    )
    handle.discover()
    stream = handle.data("x")
    assert stream is not None
    assert stream.to_polars().height == 2000
    assert heard == [("debug", "looking"), (0, 2000, "begun"), ("warning", "half"), (1000, 2000, "half")]


def test_without_a_callback_the_log_goes_to_logging(
    mode: str, opener: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    stream = opener(mode, "Talking").data("x")
    assert stream is not None
    with caplog.at_level("INFO", logger="qanat.connector"):
        stream.to_polars()
    assert ("qanat.connector", 30, "acme.sample: half") in caplog.record_tuples


def test_describe(mode: str, opener: Opener) -> None:
    said = opener(mode, "Numbers").describe()
    assert said["name"] == "Numbers"
    assert {"limit", "projection", "stable_order"} <= set(said["capabilities"])
    strict = opener(mode, "Strict").describe()
    assert strict["arguments"] == {
        "type": "object",
        "properties": {"planet": {"type": "string", "default": "Earth"}},
        "additionalProperties": False,
    }
