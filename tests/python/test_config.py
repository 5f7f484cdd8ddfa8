"""DatabaseConfig and load_config."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qanat as qn

pytestmark = pytest.mark.trace("D1", "D10")


def test_fields_are_attributes() -> None:
    config = qn.DatabaseConfig(
        "postgres", host="h", port=5433, database="d", username="u", password="p", sslmode="require", read_only=True
    )
    assert (config.db_type, config.host, config.port, config.database) == ("postgres", "h", 5433, "d")
    assert (config.username, config.password, config.path) == ("u", "p", None)
    assert config.options == {"sslmode": "require", "read_only": "true"}


@pytest.mark.parametrize(
    ("given", "meant"),
    [("postgres", "postgres"), ("postgresql", "postgres"), ("PostgreSQL", "postgres"), ("sqlite", "sqlite")],
)
def test_types_and_aliases(given: str, meant: str) -> None:
    assert qn.DatabaseConfig(given).db_type == meant


def test_key_aliases() -> None:
    config = qn.DatabaseConfig("postgres", server="h", user="u", dbname="d")
    assert (config.host, config.username, config.database) == ("h", "u", "d")


def test_dict_round_trip() -> None:
    config = qn.DatabaseConfig("postgres", host="h", port=5432, database="d", password="p:/@?", application_name="a b")
    values = config.to_dict()
    assert values["db_type"] == "postgres"
    assert values["port"] == 5432
    assert values["password"] == "p:/@?"
    assert qn.DatabaseConfig.from_dict(values) == config


@pytest.mark.parametrize("name", ["type", "db_type"])
def test_both_names_of_the_type(name: str) -> None:
    assert qn.DatabaseConfig.from_dict({name: "sqlite", "path": "x.db"}).path == "x.db"


def test_dict_without_a_type() -> None:
    with pytest.raises(qn.ConfigurationError, match="type"):
        qn.DatabaseConfig.from_dict({"path": "x.db"})


def test_dict_with_a_uri_and_keys_over_it() -> None:
    config = qn.DatabaseConfig.from_dict({"uri": "postgresql://u@h/d", "password": "p", "port": 6000})
    assert (config.host, config.password, config.port) == ("h", "p", 6000)
    with pytest.raises(qn.ConfigurationError, match="sqlite"):
        qn.DatabaseConfig.from_dict({"type": "sqlite", "uri": "postgresql://u@h/d"})


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://u:p@h:5432/db?sslmode=require",
        "postgresql://u:p%40%2F%3A@[::1]:5432/db",
        "postgresql://u@a:1,b:2/db",
        "postgresql://u@%2Fvar%2Frun%2Fpostgresql/db",
        "sqlite:////abs/path.db",
        "sqlite:///rel/path.db",
        "sqlite://:memory:",
    ],
)
def test_uri_round_trip(uri: str) -> None:
    config = qn.DatabaseConfig.from_uri(uri)
    assert qn.DatabaseConfig.from_uri(config.to_uri()) == config


def test_uri_has_the_password_and_repr_does_not() -> None:
    config = qn.DatabaseConfig("postgres", host="h", username="u", password="hunter2", database="d")
    assert "hunter2" in config.to_uri()
    assert "hunter2" not in repr(config)
    assert "***" in repr(config)


def test_copies_are_equal() -> None:
    config = qn.DatabaseConfig("postgres", host="h", password="p", sslmode="disable")
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config
    assert config != qn.DatabaseConfig("postgres", host="other")
    assert config != "postgres"


@pytest.mark.parametrize("value", [b"x", ["x"], object()])
def test_values_of_other_types_are_refused(value: object) -> None:
    with pytest.raises(qn.ConfigurationError, match="application_name"):
        qn.DatabaseConfig("postgres", application_name=value)


def test_texts_with_nul_are_refused() -> None:
    with pytest.raises(qn.QanatError, match="NUL"):
        qn.DatabaseConfig("postgres", host="a\0b")
    with pytest.raises(qn.QanatError, match="NUL"):
        qn.DatabaseConfig.from_uri("sqlite:///a\0b.db")
    with pytest.raises(qn.QanatError, match="surrogate"):
        qn.DatabaseConfig("postgres", host="\ud800")


def test_path_may_be_a_path(tmp_path: Path) -> None:
    config = qn.DatabaseConfig("sqlite", path=tmp_path / "x.db")
    assert config.path == str(tmp_path / "x.db")
    with config.connect() as connection:
        assert connection.execute("select 1 as a").item() == 1


# ---- load_config ----


def write(folder: Path, text: str) -> Path:
    file = folder / "database.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_load_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANAT_TEST_SECRET", "s3cret")
    file = write(
        tmp_path,
        """
        title = "other things are left alone"
        [connections.main]
        type = "postgres"
        host = "h"
        port = 5433
        password = "${QANAT_TEST_SECRET}"
        read_only = true
        [connections."with space"]
        db_type = "sqlite"
        path = "x.db"
        [connections.uri]
        uri = "postgresql://u:${QANAT_TEST_SECRET}@h/d"
        """,
    )
    configs = qn.load_config(file)
    assert list(configs) == ["main", "with space", "uri"]
    assert (configs["main"].port, configs["main"].password) == (5433, "s3cret")
    assert configs["main"].options == {"read_only": "true"}
    assert configs["with space"].path == "x.db"
    assert configs["uri"].password == "s3cret"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[connections.main]\ntype = 'oracle'\n", ["database.toml:2", "connections.main.type", "oracle"]),
        ("\n[connections.main]\nhost = 'h'\n", ["database.toml:2", "connections.main", "type"]),
        (
            "[connections.a]\ntype='sqlite'\n[connections.main]\ntype = 'postgres'\nport = 'many'\n",
            ["database.toml:5", "connections.main.port", "many"],
        ),
        (
            "[connections.main]\ntype = 'postgres'\npassword = '${QANAT_TEST_UNSET}'\n",
            ["database.toml:3", "connections.main.password", "QANAT_TEST_UNSET"],
        ),
        ("[connections.main]\ntype = 'sqlite'\npath = ['a']\n", ["database.toml:3", "connections.main.path"]),
        ("[connections]\nmain = 3\n", ["database.toml", "connections.main"]),
        ("connections = 3\n", ["database.toml", "connections"]),
        ("[other]\n", ["database.toml", "connections"]),
        ("[connections.main\n", ["database.toml", "line 1"]),
    ],
)
def test_errors_name_file_line_and_key(tmp_path: Path, text: str, says: list[str]) -> None:
    with pytest.raises(qn.ConfigurationError) as caught:
        qn.load_config(write(tmp_path, text))
    for part in says:
        assert part in str(caught.value)


def test_missing_file_and_bad_bytes(tmp_path: Path) -> None:
    with pytest.raises(qn.ConfigurationError, match=r"absent\.toml"):
        qn.load_config(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'\n")
    with pytest.raises(qn.ConfigurationError, match="byte 5"):
        qn.load_config(tmp_path / "latin.toml")


def test_no_error_shows_the_password(tmp_path: Path) -> None:
    file = write(tmp_path, "[connections.main]\ntype = 'postgres'\npassword = 'hunter2'\nport = 'x'\n")
    with pytest.raises(qn.ConfigurationError) as caught:
        qn.load_config(file)
    assert "hunter2" not in str(caught.value) + repr(caught.value)


# ---- files of any kind ----

SAMPLE = """\
[connections.a]
type = "postgres"
host = "h"
port = 5432
password = "${HOME}"
read_only = true

[connections."b c"]
uri = "sqlite:///x.db?timeout=1.5"
"""
_words = st.sampled_from(
    ["connections", "type", "uri", "host", "port", "path", "password", "sqlite", "postgres", "sqlite:///x", "${HOME}"]
)
_texts = _words | st.sampled_from(["${", "${}", "${NO_SUCH_NAME}", "postgresql://u:p@h/d", "://"]) | st.text(max_size=6)
_values = st.recursive(
    _texts | st.integers() | st.floats() | st.booleans() | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)


def toml(value: Any) -> str:
    """Any value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08X}" for c in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def load_any(file: Path, text: bytes) -> None:
    file.write_bytes(text)
    try:
        configs = qn.load_config(file)
    except qn.ConfigurationError as error:
        assert str(error)
    else:
        assert configs
        assert all(isinstance(name, str) for name in configs)
        assert all(isinstance(config, qn.DatabaseConfig) for config in configs.values())


@given(tables=st.dictionaries(_texts, st.dictionaries(_texts, _values, max_size=4) | _values, max_size=3))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_document_is_configurations_or_an_error(tables: dict[str, Any], tmp_path: Path) -> None:
    load_any(tmp_path / "any.toml", f"connections = {toml(tables)}\n".encode("utf-8", "surrogatepass"))


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_a_file_is_configurations_or_an_error(data: st.DataObject, tmp_path: Path) -> None:
    text = SAMPLE.encode()
    for _ in range(data.draw(st.integers(1, 4))):
        at, cut = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 6))
        put = data.draw(st.one_of(st.binary(max_size=4), st.sampled_from([b"[", b'"', b"=", b"${", b"}", b"\n"])))
        text = text[:at] + put + text[at + cut :]
    load_any(tmp_path / "changed.toml", text)


@given(text=st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_configurations_or_an_error(text: bytes, tmp_path: Path) -> None:
    load_any(tmp_path / "bytes.toml", text)
