"""Connectors in other languages, written by the documents of the protocol alone: examples/connector with the host."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

import qanat as qn

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples" / "connector"
ARROW = ROOT / "docs" / "protocol" / "arrow.md"
TORTURE = bool(os.environ.get("QANAT_TORTURE"))
END = bytes.fromhex("ffffffff00000000")


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def in_c(folder: Path) -> tuple[str, list[str]]:
    flags = run("pkg-config", "--cflags", "--libs", "jansson").split()
    run("cc", "-Wall", "-Wextra", "-Werror", "-o", folder / "squares", EXAMPLES / "squares.c", *flags)
    return f"ipc::{folder}/squares", [f"{folder}/squares"]


def in_node(folder: Path) -> tuple[str, list[str]]:
    node = tool("node")
    version = run(node, "--version").strip()
    if int(version.lstrip("v").partition(".")[0]) < 18:
        pytest.skip(f"node is {version}, which is older than the example's 18")
    return f"ipc::{node} {EXAMPLES}/squares.mjs", [node, f"{EXAMPLES}/squares.mjs"]


def in_go(folder: Path) -> tuple[str, list[str]]:
    go = tool("go")
    run(
        go,
        "build",
        "-o",
        folder / "squares",
        EXAMPLES / "squares.go",
        GO111MODULE="off",
        GOTOOLCHAIN="local",
        GOFLAGS="",
    )
    return f"ipc::{folder}/squares", [f"{folder}/squares"]


def in_java(folder: Path) -> tuple[str, list[str]]:
    run(tool("javac"), "-d", folder / "classes", EXAMPLES / "Squares.java")
    jar = folder / "squares.jar"
    run(tool("jar"), "--create", "--file", jar, "--main-class", "Squares", "-C", folder / "classes", ".")
    return f"java::{jar}", [tool("java"), "-jar", str(jar)]


LANGUAGES: dict[str, Callable[[Path], tuple[str, list[str]]]] = {
    "c": in_c,
    "go": in_go,
    "java": in_java,
    "node": in_node,
}


@pytest.fixture(scope="module", params=sorted(LANGUAGES))
def squares(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The URI of the connector in each language, and its command."""
    return LANGUAGES[request.param](tmp_path_factory.mktemp(request.param))


def test_connector_without_an_sdk(squares: tuple[str, list[str]]) -> None:
    with qn.open_connector(squares[0], {"ignored": "yes"}, allow_external_code=True, processes=2) as connector:
        found = {location.location: location.num_rows for location in connector.discover(["1"])}
        assert found == {"10": 10, "1000000": 1_000_000, "0": None}
        for rows in (1, 10, 1000, 1001, 1_000_000):
            stream = connector.data(str(rows))
            assert stream is not None
            table = pa.table(stream)
            assert table.schema == pa.schema([pa.field(name, pa.int64(), nullable=False) for name in ("n", "square")])
            assert table.num_rows == rows
            if rows <= 1001:
                assert table["n"].to_pylist() == list(range(1, rows + 1))
                assert table["square"].to_pylist() == [n * n for n in range(1, rows + 1)]
        assert connector.data("0") is None
        assert connector.stable_url("10") is None
        shaped = connector.data("1001", columns=["square"], limit=3)
        assert shaped is not None and pa.table(shaped).to_pydict() == {"square": [1, 4, 9]}  # the host's work
        with pytest.raises(qn.ConnectorError, match="a location is a number of rows"):
            connector.data("many")
        again = connector.data("10")
        assert again is not None and pa.table(again).num_rows == 10  # it goes on after an error
        assert connector.describe()["protocol"] == 1


def test_connector_survives_what_is_no_request(squares: tuple[str, list[str]]) -> None:
    lines = [
        "",
        "  ",
        "this is not JSON",
        "[]",
        "7",
        '{"jsonrpc":"2.0","id":1}',
        '{"jsonrpc":"2.0","method":"log","params":{"message":"no reply to this"}}',
        '{"jsonrpc":"2.0","id":"text","method":"ping"}',
        '{"jsonrpc":"2.0","id":2,"method":"handshake","params":{"protocol_version":"1","qanat":{"versions":[2]}}}',
        '{"jsonrpc":"2.0","id":3,"method":"describe","params":{}}',
        '{"jsonrpc":"2.0","id":4,"method":"data","params":{}}',
        '{"jsonrpc":"2.0","id":5,"method":"data","params":{"location":{"location":"x\\u00e4\\"\\\\"}}}',
        '{"jsonrpc":"2.0","id":6,"method":"shutdown"}',
        '{"jsonrpc":"2.0","id":7,"method":"ping"}',
    ]
    done = subprocess.run(squares[1], input="\n".join(lines).encode(), capture_output=True, check=False, timeout=60)
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert all(reply["jsonrpc"] == "2.0" for reply in replies)
    codes = [reply.get("error", {}).get("code") for reply in replies]
    assert codes == [-32700, -32600, -32600, -32600, None, None, -32601, -32602, -32000, None]
    assert [reply["id"] for reply in replies][4:] == ["text", 2, 3, 4, 5, 6]
    assert replies[4]["result"] == "pong"
    assert "qanat" not in replies[5]["result"]  # the offer of version 2 is nobody's business here
    assert replies[-1]["result"] == {"ok": True}


# The kit takes some seconds for each: `make torture` runs it over all of them.
@pytest.mark.parametrize("squares", sorted(LANGUAGES) if TORTURE else ["c"], indirect=True)
def test_kit_finds_nothing_wrong(squares: tuple[str, list[str]]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qanat", "connector", "test", squares[0], "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["ok"] and done.returncode == 0, done.stdout
    assert report["counts"]["passed"] >= 20 and "warned" not in report["counts"], report["counts"]


# ---- the bytes of arrow.md ----


def dumps_of_the_page() -> list[bytearray]:
    blocks = re.findall(r"^```text\n(.*?)^```$", ARROW.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    found = []
    for block in blocks:
        data = bytearray()
        for line in block.splitlines():
            at, *words = line.split()
            assert int(at) == len(data)
            data += bytes.fromhex("".join(words))
        found.append(data)
    return found


def test_bytes_of_the_page_are_an_arrow_stream() -> None:
    schema, batch = dumps_of_the_page()
    places = [40, 72, 96, 104, 112, 120, 136, 144, 152, 160, 168, 176, 184, 192]
    text = ARROW.read_text("utf-8")
    numbers = [48, 3, 3, 0, 3, 0, 0, 0, 0, 24, 0, 0, 24, 24]
    assert (
        "body 48, rows 3, 3 and 0, 3 and 0, validity 0 and 0, values 0 and 24, validity 0 and\n0, values 24 and 24"
        in text
    )
    for place, number in zip(places, numbers, strict=True):
        assert re.search(rf"^\| (?:\d+, )?{place}\b", text, re.MULTILINE), place
        struct.pack_into("<q", batch, place, number)
    body = struct.pack("<6q", 1, 2, 3, 1, 4, 9)
    table = pa.ipc.open_stream(bytes(schema + batch + body + END)).read_all()
    table.validate(full=True)
    assert table.to_pydict() == {"n": [1, 2, 3], "square": [1, 4, 9]}
    schema[104:105], schema[172:178] = b"m", b"sqrs__"
    schema[124] = 0
    table = pa.ipc.open_stream(bytes(schema + batch + body + END)).read_all()
    assert (table.column_names, table.schema.types) == (["m", "sqrs__"], [pa.uint64(), pa.int64()])


def test_examples_have_the_bytes_of_the_page() -> None:
    messages = [bytes(message) for message in dumps_of_the_page()]
    for name in ("squares.mjs", "squares.go", "Squares.java"):
        text = (EXAMPLES / name).read_text("utf-8")
        runs = re.findall(
            r'((?:"[0-9a-f]{20,}"[\s+]*)+)(?:\+?\s*(?:strings\.Repeat\("00", |"00"\.repeat\()(\d+)\))?', text
        )
        found = [
            bytes.fromhex("".join(re.findall("[0-9a-f]{20,}", run))) + bytes(int(zeros or 0)) for run, zeros in runs
        ]
        assert found == messages, name


# ---- an embedding program ----


@pytest.mark.trace("B4")
def test_c_program_hosts_a_python_connector() -> None:
    program = ROOT / "build" / "dev" / "examples" / "c" / "connector"  # of `make build`
    uri = f"ipc::{EXAMPLES}/planets.py"
    done = subprocess.run(
        [program, uri], capture_output=True, text=True, check=False, env={**os.environ, "PYTHON": sys.executable}
    )
    assert done.stdout == (ROOT / "examples" / "c" / "planets.expected.txt").read_text("utf-8"), done.stderr
    assert "[info] inner planets of the solar system" in done.stderr
    assert done.returncode == 0
