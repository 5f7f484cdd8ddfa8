"""The classes that an author uses."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

import qanat_sdk
from qanat_sdk import CancelledError, Connector, ConnectorError, Location, RetryableError, StableUrl, serve
from qanat_sdk.errors import details_of, message_of


class Least(Connector):
    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location("a")]

    def data(self, location: Location, **kwargs: Any) -> None:
        return None


@pytest.mark.trace("C4")
def test_connector_is_abstract_in_discover_and_data() -> None:
    assert Connector.__abstractmethods__ == {"discover", "data"}
    with pytest.raises(TypeError, match="abstract"):
        Connector()  # type: ignore[abstract]
    connector = Least()
    assert connector.stable_url(Location("a")) is None
    assert connector.schema() is None


@pytest.mark.trace("C8")
def test_location_has_its_fields_and_defaults() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(Location)}
    assert fields.pop("location") is dataclasses.MISSING
    assert fields == {"must_copy": True, "format": "parquet", "version": "", "num_rows": None}
    assert list(inspect.signature(Location).parameters) == ["location", "must_copy", "format", "version", "num_rows"]
    with pytest.raises(TypeError):
        Location()  # type: ignore[call-arg]
    assert Location("a", version="v1") == Location(location="a", must_copy=True, format="parquet", version="v1")


@pytest.mark.trace("C9")
def test_stable_url_has_a_url() -> None:
    assert StableUrl("https://a").url == StableUrl(url="https://a").url == "https://a"
    with pytest.raises(TypeError):
        StableUrl()  # type: ignore[call-arg]


def test_names_of_the_package() -> None:
    assert qanat_sdk.serve is serve
    assert list(inspect.signature(serve).parameters) == ["source"]
    for name in qanat_sdk.__all__:
        assert hasattr(qanat_sdk, name)


def test_errors_say_what_a_host_can_do() -> None:
    assert details_of(RetryableError(retry_after=1.5)) == {
        "kind": "unavailable",
        "retryable": True,
        "retry_after_ms": 1500,
    }
    assert details_of(ConnectorError("no key", kind="authentication")) == {"kind": "authentication", "retryable": False}
    assert details_of(CancelledError()) == {"kind": "cancelled", "retryable": False}
    assert details_of(ConnectionResetError("reset")) == {"kind": "unavailable", "retryable": True}
    assert details_of(FileNotFoundError("no file")) == {"kind": "not_found", "retryable": False}
    assert details_of(KeyError("x")) == {"kind": "failed", "retryable": False}
    with pytest.raises(ValueError, match="known are authentication"):
        ConnectorError(kind="broken")
    for wrong in (-1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="retry_after"):
            RetryableError(retry_after=wrong)


def test_message_of_any_exception() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class ToldError(KeyError):
        def __str__(self) -> str:
            return f"no setting {self.args[0]}"

    assert message_of(ValueError("Database connection failed")) == "Database connection failed"
    assert message_of(ValueError()) == "ValueError"
    assert message_of(ValueError(" \n")) == "ValueError"
    assert message_of(KeyError("api_token")) == "KeyError: 'api_token'"
    assert message_of(KeyError()) == "KeyError"
    assert message_of(ToldError("api_token")) == "no setting api_token"
    assert message_of(MuteError()) == "MuteError (its text cannot be had: RuntimeError)"


def test_without_a_host_a_connector_may_still_speak(capsys: pytest.CaptureFixture[str]) -> None:
    connector = Least()
    connector.log("hello", level="warning")
    connector.progress(5)
    connector.check_cancelled()
    assert capsys.readouterr().err == "warning: hello\n"
    with pytest.raises(ValueError, match="known are debug, info"):
        connector.log("hello", level="loud")
