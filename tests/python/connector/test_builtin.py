"""The built-in connectors files, http and database from Python: every format, TLS, proxies, both databases."""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import importlib.util
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import qanat as qn

ODD_SERVER = Path(__file__).resolve().parents[2] / "unit" / "connector" / "odd_server.py"
TABLE = pa.table({"id": [1, 2, 3], "name": ["Ada", "Grace", None]})
ROWS = [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}, {"id": 3, "name": None}]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def rows_of(handle: qn.ConnectorHandle, location: Any, **asked: Any) -> list[dict[str, Any]]:
    stream = handle.data(location, **asked)
    assert stream is not None
    with stream:
        return pa.table(stream).to_pylist()


def write_all_formats(folder: Path) -> None:
    pq.write_table(TABLE, folder / "a.parquet")
    pyarrow.csv.write_csv(TABLE, folder / "b.csv")
    (folder / "c.jsonl").write_text('{"id": 1, "name": "Ada"}\n{"id": 2, "name": "Grace"}\n{"id": 3, "name": null}\n')
    (folder / "d.json").write_text('[{"id": 1, "name": "Ada"}, {"id": 2, "name": "Grace"}, {"id": 3, "name": null}]')
    with pa.ipc.new_file(folder / "e.arrow", TABLE.schema) as writer:
        writer.write_table(TABLE)


# ---- files ----


def test_files_in_every_format(tmp_path: Path) -> None:
    write_all_formats(tmp_path)
    with qn.open_connector("files", {"path": str(tmp_path)}) as files:
        found = files.discover()
        assert [(place.location, place.format) for place in found] == [
            ("a.parquet", "parquet"),
            ("b.csv", "csv"),
            ("c.jsonl", "jsonl"),
            ("d.json", "json"),
            ("e.arrow", "arrow"),
        ]
        for place in found:
            expected = [row if place.format != "csv" else {**row, "name": row["name"] or ""} for row in ROWS]
            got = rows_of(files, place)
            assert [{**row, "name": row["name"] or expected[i]["name"]} for i, row in enumerate(got)] == expected
            assert rows_of(files, place, columns=["name"], limit=1) == [{"name": "Ada"}]
            assert rows_of(files, place, filter=[">", "id", 2], columns=["id"]) == [{"id": 3}]
            assert rows_of(files, place, skip_rows=2, columns=["id"]) == [{"id": 3}]


def test_files_take_options_of_their_format(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("id;name\n1;Ada\n")
    with qn.open_connector("files", {"path": tmp_path / "a.txt", "format": "csv", "csv.delimiter": ";"}) as files:
        assert rows_of(files, "a.txt") == [{"id": 1, "name": "Ada"}]


def test_options_that_a_format_does_not_have_are_found_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;name\n1;Ada\n")
    for uri, where in (("files", {"path": tmp_path}), ("http", {"url": "http://127.0.0.1:1/a.csv"})):
        with pytest.raises(qn.ConfigurationError, match=r'"csv\.delimeter": the format csv has no such option') as told:
            qn.open_connector(uri, {**where, "csv.delimeter": ";"})
        assert told.value.hint is not None
        assert told.value.hint.startswith("it has delimiter header ")
    with pytest.raises(qn.ConfigurationError, match="the format parquet has no such option"):
        qn.open_connector("files", {"path": tmp_path, "parquet.rows": "5"})


def test_arguments_are_a_dict() -> None:
    with pytest.raises(TypeError, match=r'arguments are a dict such as \{"path": "data"\}, not str'):
        qn.open_connector("files", "web/t.csv")  # type: ignore[arg-type]


def test_files_know_parquet_by_its_content(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "data")
    with qn.open_connector("files", {"path": tmp_path, "count": True}) as files:
        (place,) = files.discover()
        assert (place.format, place.num_rows) == ("parquet", 3)
        assert rows_of(files, place) == ROWS


def test_files_torn_while_read_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id\n" + "1\n" * 5_000_000)
    with qn.open_connector("files", {"path": tmp_path}) as files:
        stream = files.data(files.discover()[0])
        assert stream is not None
        batches = iter(stream)
        next(batches)
        with path.open("r+") as file:
            file.write("xx\n")
        with pytest.raises(qn.QanatError, match="changed while it was read"):
            for _ in batches:
                pass


def test_files_with_odd_names(tmp_path: Path) -> None:
    names = ["a\nb.csv", "c d.csv", "é.csv", "[x].csv", "'\".csv"]
    for name in names:
        (tmp_path / name).write_text(f"name\n{len(name)}\n")
    with qn.open_connector("files", {"path": tmp_path}) as files:
        assert sorted(place.location for place in files.discover()) == sorted(names)
        for name in names:
            assert rows_of(files, name) == [{"name": len(name)}]
    with qn.open_connector("files", {"path": tmp_path / "[[]x].csv"}) as files:
        assert [place.location for place in files.discover()] == ["[x].csv"]
    with qn.open_connector("files", {"path": tmp_path / "[x].csv"}) as files:  # it is there: no pattern
        assert [place.location for place in files.discover()] == ["[x].csv"]
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.csv", os.O_CREAT | os.O_WRONLY))
    with qn.open_connector("files", {"path": tmp_path}) as files, pytest.raises(qn.QanatError, match=r"\\xff\.csv"):
        files.discover()


# ---- http ----


@pytest.fixture(scope="module")
def odd() -> Any:
    spec = importlib.util.spec_from_file_location("odd_server", ODD_SERVER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def web(odd: Any, tmp_path: Path) -> Iterator[str]:
    """The address of a server that serves tmp_path, in odd ways."""
    servers = odd.start(tmp_path)
    yield f"http://127.0.0.1:{servers[0].server_address[1]}"
    for server in servers:
        server.shutdown()
        server.server_close()


def test_http_in_every_format(web: str, tmp_path: Path) -> None:
    write_all_formats(tmp_path)
    for name in ("a.parquet", "b.csv", "c.jsonl", "d.json", "e.arrow"):
        with qn.open_connector("http", {"url": f"{web}/ok/{name}"}) as http:
            (place,) = http.discover()
            assert (place.location, place.format) == (f"{web}/ok/{name}", name.partition(".")[2])
            assert place.version == 'etag:"one"'
            assert [row["id"] for row in rows_of(http, place)] == [1, 2, 3]
            assert rows_of(http, place, columns=["name"], filter=["=", "id", 2]) == [{"name": "Grace"}]
            assert not http.can_resume()


def test_http_errors_say_whether_to_come_back(web: str, tmp_path: Path) -> None:
    write_all_formats(tmp_path)
    with qn.open_connector("http", {"url": f"{web}/busy/2/a.parquet"}) as http:  # two refusals, three retries
        assert rows_of(http, f"{web}/busy/2/a.parquet") == ROWS
    with (
        qn.open_connector("http", {"url": f"{web}/status/503/5"}, retries=0, name="acme.web") as http,
        pytest.raises(qn.ConnectorError, match=r'"acme\.web".*status 503') as caught,
    ):
        http.data(f"{web}/status/503/5")
    assert caught.value.retryable


def test_http_many_at_once(web: str, tmp_path: Path) -> None:
    write_all_formats(tmp_path)
    before = open_descriptors()
    with qn.open_connector("http", {"url": f"{web}/break/300/a.parquet"}) as http:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            results = list(pool.map(lambda _: rows_of(http, f"{web}/break/300/a.parquet"), range(64)))
        assert results == [ROWS] * 64
    assert open_descriptors() <= before + 20  # those of the server that is in this process


def test_http_goes_through_the_proxy_of_the_environment(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all_formats(tmp_path)
    monkeypatch.setenv("http_proxy", web)
    monkeypatch.delenv("no_proxy", raising=False)
    url = "http://data.invalid/proxied/a.parquet"  # a name that nobody has
    with qn.open_connector("http", {"url": url}) as http:
        assert rows_of(http, url) == ROWS
    monkeypatch.setenv("no_proxy", "data.invalid")
    with (
        qn.open_connector("http", {"url": url}, retries=0) as http,
        pytest.raises(qn.ConnectorError, match="Could not resolve host"),
    ):
        http.discover()


@pytest.fixture
def secure_web(odd: Any, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The same by TLS, with a certificate of an authority that nobody else knows."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    odd.Handler.folder = tmp_path
    server = odd.Server(("127.0.0.1", 0), odd.Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}", certificate
    server.shutdown()
    server.server_close()


def test_https_is_always_verified(secure_web: tuple[str, Path], tmp_path: Path) -> None:
    address, certificate = secure_web
    write_all_formats(tmp_path)
    url = f"{address}/ok/a.parquet"
    with (
        qn.open_connector("http", {"url": url}, retries=0) as http,
        pytest.raises(qn.ConnectorError, match="certificate") as caught,
    ):
        http.discover()
    assert "ca_file" in (caught.value.hint or "")
    with qn.open_connector("http", {"url": url, "ca_file": certificate}) as http:
        assert rows_of(http, http.discover()[0]) == ROWS
    by_address = url.replace("localhost", "127.0.0.1")  # for which the certificate is not
    with (
        qn.open_connector("http", {"url": by_address, "ca_file": certificate}, retries=0) as http,
        pytest.raises(qn.ConnectorError, match=r"127\.0\.0\.1"),
    ):
        http.discover()
    downgraded = f"{address}/plainly/a.parquet"  # which leads to http://
    with (
        qn.open_connector("http", {"url": downgraded, "ca_file": certificate}, retries=0) as http,
        pytest.raises(qn.ConnectorError, match="which is not encrypted"),
    ):
        http.discover()


# ---- database ----


@pytest.fixture
def orders(db_uri: str) -> str:
    """A database with a table of 1,000 orders."""
    with qn.connect(db_uri) as connection:
        connection.execute("create table orders (id bigint, customer text, amount decimal(10,2), at timestamp)")
        start = dt.datetime(2024, 1, 1)
        connection.insert(
            "orders",
            pa.table(
                {
                    "id": range(1000),
                    "customer": [f"customer {n % 7}" for n in range(1000)],
                    "amount": pa.array([Decimal(n) / 4 for n in range(1000)], pa.decimal128(10, 2)),
                    "at": [start + dt.timedelta(minutes=n) for n in range(1000)],
                }
            ),
        )
    return db_uri


def test_database_gives_exact_rows(orders: str) -> None:
    with qn.open_connector("database", {"connection": orders, "table": "orders", "watermark": "at"}) as database:
        (place,) = database.discover()
        assert place.location == "orders"
        assert "2024-01-01 16:39:00" in place.version
        rows = rows_of(database, place, filter=["and", ["=", "customer", "customer 3"], ["<", "id", 20]])
        assert [row["id"] for row in rows] == [3, 10, 17]
        assert rows[1] == {
            "id": 10,
            "customer": "customer 3",
            "amount": Decimal("2.50"),
            "at": dt.datetime(2024, 1, 1, 0, 10),
        }


def test_database_ranges_by_several_threads(orders: str) -> None:
    arguments = {"connection": orders, "table": "orders", "key": "id", "rows_per_range": 37, "version": "count"}
    with qn.open_connector("database", arguments) as database:
        places = database.discover()
        assert len(places) == 28  # 1,000 / 37, and the rest
        assert sum(place.num_rows or 0 for place in places) == 1000
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            parts = pool.map(lambda place: rows_of(database, place, columns=["id"]), places)
        assert sorted(row["id"] for part in parts for row in part) == list(range(1000))
        first = [place.location for place in places]
        with qn.connect(orders) as connection:
            connection.execute("insert into orders (id) values (1000), (null)")
        again = database.discover(first)
        assert {place.location for place in again} - set(first) == {
            "orders[id > 999 and id <= 1000]",
            "orders[id is null]",
        }


def test_database_memory_is_bounded(db_uri: str) -> None:
    """A million rows come in batches: nothing is held back for the end."""
    query = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000) select i as i from n"
    arguments = {"connection": db_uri, "query": query}
    qn.connect(db_uri).close()  # makes the file
    if db_uri.startswith("sqlite"):
        arguments["types.i"] = "Int64"  # nothing is declared there
    with qn.open_connector("database", arguments) as database:
        stream = database.data("query")
        assert stream is not None
        sizes = [len(pa.record_batch(batch)) for batch in stream]
        assert sum(sizes) == 1_000_000
        assert max(sizes) <= 65_536


def test_passwords_are_told_to_nobody(postgres_server: Any) -> None:
    uri = "postgresql://ada:geh%20eim@127.0.0.1:1/nowhere?connect_timeout=2"
    with qn.open_connector("database", {"connection": uri, "table": "t"}, retries=0) as database:
        assert "geh" not in str(database.describe())
        with pytest.raises(qn.ConnectorError) as caught:
            database.discover()
        assert "geh" not in f"{caught.value} {caught.value.hint} {caught.value.detail}"


def test_builtins_need_no_permission(tmp_path: Path) -> None:
    with qn.open_connector("files", {"path": tmp_path}, allow_external_code=False) as files:
        assert files.discover() == []


def test_no_connector_imports_pyarrow() -> None:
    """Opening one is light: a format comes with the first file that has it."""
    code = "import sys, qanat as qn; qn.open_connector('files', {'path': '/'}); print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---- in bundles ----


def test_a_bundle_follows_a_table(orders: str, tmp_path: Path) -> None:
    """Ranges that are kept, rows that come between, behind and without a key, rows that go: each row once."""
    bundle = qn.create(str(tmp_path / "bundle"))
    arguments = {"connection": orders, "table": "orders", "key": "id", "rows_per_range": "300", "version": "count"}
    bundle.create_source("database", arguments, fetch=False)
    assert len(bundle.fetch("base", "add")[0].added) == 4
    bundle.commit("first load")
    with qn.connect(orders) as connection:
        connection.execute("insert into orders (id) values (5000), (null), (-1)")
        connection.execute("delete from orders where id between 10 and 19")
    (result,) = bundle.fetch("base", "update")
    assert result.replaced == ["orders[id >= 0 and id < 300]"]
    assert sorted(result.added) == [
        "orders[id > 999 and id <= 5000]",
        "orders[id >= -1 and id < 0]",
        "orders[id is null]",
    ]
    bundle.commit("what has changed")
    with qn.connect(orders) as connection:
        expected = connection.execute("select id from orders")["id"].to_list()
    kept = bundle.to_pyarrow().column("id").to_pylist()
    assert sorted(kept, key=str) == sorted(expected, key=str)


def test_a_bundle_refers_to_a_url(web: str, tmp_path: Path) -> None:
    write_all_formats(tmp_path)
    bundle = qn.create(str(tmp_path / "bundle"))
    bundle.create_source("http", {"url": f"{web}/ok/a.parquet", "copy": "false"}, fetch=False)
    bundle.fetch("base", "add")
    bundle.commit("a reference")
    assert bundle.to_pyarrow().to_pylist() == ROWS
    pq.write_table(TABLE.slice(1), tmp_path / "a.parquet")
    with pytest.raises(qn.QanatError):  # it is not what was attached
        bundle.to_pyarrow()
