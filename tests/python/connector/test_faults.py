"""ipc:: connectors that crash, hang and talk nonsense, through Python: typed errors, and nothing is left."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from child_processes import children

import qanat as qn

FOLDER = Path(__file__).resolve().parent
Opener = Callable[..., qn.ConnectorHandle]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """No process is left after the test, and no descriptor."""
    before, files = children(), open_files()
    yield
    assert children() <= before
    assert open_files() <= files


def script(folder: Path, source: str) -> str:
    """The URI of a program of this Python without the SDK, which is quick to start."""
    file = folder / "script.py"
    file.write_text(PRELUDE + textwrap.dedent(source), encoding="utf-8")
    return "ipc::" + shlex.join([sys.executable, "-I", "-S", str(file)])


PRELUDE = """
import json, os, signal, struct, sys, time

def ask():
    line = sys.stdin.buffer.readline()
    return json.loads(line) if line else sys.exit(0)

def put(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

def reply(request, result):
    put(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode() + b"\\n")

def until(method, results={}):
    while True:
        request = ask()
        if request["method"] == method:
            return request
        if "id" in request:
            known = {"handshake": {"protocol_version": "1"}, "discover": {"locations": [{"location": "x"}]}}
            reply(request, known.get(request["method"], {"ok": True}))
"""


@pytest.mark.trace("C26")
@pytest.mark.usefixtures("nothing_left")
def test_a_crash_is_an_error_of_its_location_alone() -> None:
    with qn.open_connector(
        "ipc::sample_connectors.py Crash", name="acme.crash", allow_external_code=True, folder=FOLDER, retries=0
    ) as handle:
        with pytest.raises(qn.ConnectorError, match=r'^connector "acme\.crash": location "at once": ') as caught:
            handle.data("at once")
        assert "these are my last words" in (caught.value.detail or "")
        stream = handle.data("good")
        assert stream is not None
        assert sum(batch.num_rows for batch in stream) == 200_000
        stream = handle.data("in the middle")
        assert stream is not None
        rows = 0
        with pytest.raises(qn.ConnectorError, match='location "in the middle": '):
            for batch in stream:
                rows += batch.num_rows
        assert rows <= 100_000
        with pytest.raises(qn.ConnectorError, match='location "killed": '):
            handle.data("killed")
        assert len(handle.discover()) == 4


NONSENSE = {
    "garbage in place of a reply": "until('data'); put(b'Traceback, or something\\n'); time.sleep(60)",
    "the end in place of a reply": "until('data'); sys.exit('I had enough')",
    "the end in the middle of a frame": "reply(until('data'), {'ok': True}); put(struct.pack('>I', 1000) + b'x' * 10)",
    "a frame that is no stream": "reply(until('data'), {'ok': True}); put(struct.pack('>I', 8) + b'nonsense'); ask()",
    "a reply to another request": "r = until('data'); r['id'] = 99; reply(r, {'ok': True}); ask()",
    "a reply that is none": "r = until('data'); reply(r, [1, 2]); ask()",
    "an error without a code": """
        r = until('data')
        put(json.dumps({'jsonrpc': '2.0', 'id': r['id'], 'error': 'no'}).encode() + b'\\n')
        ask()
    """,
    "a line without an end": "until('data'); put(b'[' * 1000000); sys.exit(0)",
}


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("what", sorted(NONSENSE))
def test_nonsense_is_a_connector_error(what: str, tmp_path: Path) -> None:
    uri = script(tmp_path, f"print('before it broke', file=sys.stderr, flush=True)\n{textwrap.dedent(NONSENSE[what])}")
    with qn.open_connector(uri, name="acme.bad", allow_external_code=True, retries=0, timeout=20) as handle:
        with pytest.raises(qn.ConnectorError) as caught:
            stream = handle.data("x")
            assert stream is not None
            list(stream)
    assert str(caught.value).startswith('connector "acme.bad": location "x": ')
    assert "before it broke" in (caught.value.detail or "")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("program", ["exit 3", "echo hello", "cat", "true"])
def test_programs_that_are_no_connectors(program: str) -> None:
    with qn.open_connector(
        f"ipc::sh -c '{program}'", name="acme.none", allow_external_code=True, retries=0, timeout=10
    ) as handle:
        with pytest.raises(qn.ConnectorError, match=r'^connector "acme\.none": '):
            handle.discover()


def test_commands_that_cannot_be_started(tmp_path: Path) -> None:
    for uri in ("ipc::no-such-program-anywhere", "ipc::no_such_script.py", "ipc::'open", "ipc::", "java::no.jar"):
        with pytest.raises(qn.ConfigurationError):
            qn.open_connector(uri, allow_external_code=True, folder=tmp_path)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("hang", ["handshake", "discover", "data", "stable_url", "frame"])
def test_a_connector_that_hangs_is_given_up(hang: str, tmp_path: Path) -> None:
    source = f"until({hang!r}); time.sleep(600)"
    if hang == "frame":
        source = "reply(until('data'), {'ok': True}); put(struct.pack('>I', 100)); time.sleep(600)"
    uri = script(tmp_path, f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{source}")
    handle = qn.open_connector(uri, name="acme.slow", allow_external_code=True, timeout=0.3, retries=0)
    calls: dict[str, Callable[[], Any]] = {
        "handshake": handle.discover,
        "discover": handle.discover,
        "data": lambda: handle.data("x"),
        "stable_url": lambda: handle.stable_url("x"),
        "frame": lambda: list(handle.data("x") or ()),
    }
    with pytest.raises(qn.QueryTimeoutError, match=r'connector "acme\.slow"'):
        calls[hang]()
    handle.close()


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("place", ["discover", "data", "batch", "stable_url"])
def test_ctrl_c_comes_through_promptly(place: str) -> None:
    begun = threading.Event()
    handle = qn.open_connector(
        "ipc::sample_connectors.py Slow", {"wait": place}, allow_external_code=True, folder=FOLDER
    )
    if place != "discover":
        handle.discover()  # its process has been started

    def batches() -> None:
        stream = handle.data("batch")
        assert stream is not None
        for _ in stream:
            begun.set()

    calls: dict[str, Callable[[], Any]] = {
        "discover": handle.discover,
        "data": lambda: handle.data("data"),
        "batch": batches,
        "stable_url": lambda: handle.stable_url("x"),
    }
    sent: list[float] = []

    def interrupt() -> None:
        if place == "batch":
            begun.wait()
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Timer(0.3, interrupt)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        calls[place]()
    elapsed = time.monotonic() - sent[0]
    thread.join()
    handle.close()
    assert elapsed < 30  # and not 600


@pytest.mark.usefixtures("nothing_left")
def test_several_threads_fetch_at_once() -> None:
    before = children()
    with qn.open_connector(
        "ipc::sample_connectors.py Waiting", allow_external_code=True, folder=FOLDER, processes=2
    ) as handle:
        names = [found.location for found in handle.discover()]
        results: list[Any] = [None] * len(names)

        def work(number: int) -> None:
            stream = handle.data(names[number])
            assert stream is not None
            results[number] = stream.to_pyarrow().to_pydict()

        threads = [threading.Thread(target=work, args=(number,)) for number in range(len(names))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == [{"n": [number]} for number in range(16)]
        assert 1 <= len(children() - before) <= 2


# ---- permission -----------------------------------------------------------------------------------------------------


EXTERNAL = ["python::sample_connectors:Documented", "ipc::sample_connectors.py Documented", "ffi::x.so", "java::x.jar"]


@pytest.mark.trace("C2")
@pytest.mark.parametrize("uri", [*EXTERNAL, "docker::image"])
def test_external_code_is_refused_unless_it_is_allowed(
    uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("QANAT_SYSTEM_ALLOW_EXTERNAL_CODE", raising=False)
    for options in ({}, {"allow_external_code": False}):
        with pytest.raises(qn.ForbiddenError, match="External code execution is disabled") as caught:
            qn.open_connector(uri, folder=FOLDER, **options)  # type: ignore[arg-type]
        assert "QANAT_SYSTEM_ALLOW_EXTERNAL_CODE" in (caught.value.hint or "")
    monkeypatch.setenv("QANAT_SYSTEM_ALLOW_EXTERNAL_CODE", "TRUE")
    with pytest.raises(qn.ForbiddenError, match="External code execution is disabled"):
        qn.open_connector(uri, folder=FOLDER, allow_external_code=False)


@pytest.mark.trace("C2")
def test_the_environment_may_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QANAT_SYSTEM_ALLOW_EXTERNAL_CODE", "true")
    with qn.open_connector("python::sample_connectors:Documented", folder=FOLDER) as handle:
        assert len(handle.discover()) == 3
    monkeypatch.setenv("QANAT_SYSTEM_ALLOW_EXTERNAL_CODE", "perhaps")
    with pytest.raises(qn.ConfigurationError, match='is "perhaps"; it must be "true" or "false"'):
        qn.open_connector("python::sample_connectors:Documented", folder=FOLDER)


def test_options_that_are_wrong() -> None:
    for options in ({"timeout": 0}, {"timeout": -1.0}, {"processes": 0}, {"retries": -1}, {"retries": 10**6}):
        with pytest.raises(qn.ArgumentError):
            qn.open_connector("files", {"path": "."}, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the argument x is a text or a number, not list"):
        qn.open_connector("files", {"x": [1]})
    with pytest.raises(TypeError, match="the name of an argument is a str"):
        qn.open_connector("files", {1: "x"})  # type: ignore[dict-item]
    with pytest.raises(qn.ArgumentError, match="lone surrogate"):
        qn.open_connector("files", {"x": "\ud800"})
    with pytest.raises(qn.QanatError, match="no_such_runtime"):
        qn.open_connector("no_such_runtime::x", allow_external_code=True)


def test_built_in_connectors_need_no_permission(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n\n1\n2\n")
    with qn.open_connector("files", {"path": tmp_path, "pattern": "*.csv"}) as handle:
        (found,) = handle.discover()
        assert found.location.endswith("a.csv")


# ---- the names of the systems before this one -----------------------------------------------------------------------

THEIRS = """
from bundlebase_sdk import Connector, Location, serve

class Theirs(Connector):
    def discover(self, attached_locations, **kwargs):
        return [Location("theirs")]

    def data(self, location, **kwargs):
        return None

if __name__ == "__main__":
    serve(Theirs())
"""


@pytest.mark.trace("C3")
def test_a_script_with_their_names_runs_only_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(THEIRS)
    options: dict[str, Any] = {"folder": tmp_path, "allow_external_code": True, "retries": 0}
    with qn.open_connector("ipc::theirs.py", **options) as handle:
        with pytest.raises(qn.ConnectorError) as caught:
            handle.discover()
        assert "No module named 'bundlebase_sdk'" in (caught.value.detail or "")
    interpreter = shlex.join([sys.executable, "-m", "qanat.compat"])
    with qn.open_connector("ipc::theirs.py", interpreter=interpreter, **options) as handle:
        assert handle.discover() == [qn.Location("theirs")]


@pytest.mark.trace("C3")
def test_a_program_that_has_asked_for_their_names_gives_them_to_its_scripts(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(THEIRS)
    program = """
        import qanat.compat
        qanat.compat.install_as("bundlebase_sdk")
        import qanat as qn
        for uri in ("ipc::theirs.py", "python::theirs:Theirs"):
            with qn.open_connector(uri, allow_external_code=True) as handle:
                print(handle.discover())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("location='theirs'") == 2


# ---- nothing is left ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_left")
def test_a_handle_that_is_dropped_ends_its_process() -> None:
    before = children()
    handle = qn.open_connector("ipc::sample_connectors.py Endless", allow_external_code=True, folder=FOLDER)
    stream = handle.data("endless")
    assert stream is not None
    next(stream)
    (process,) = children() - before
    del handle, stream
    assert process not in children()


@pytest.mark.usefixtures("nothing_left")
def test_the_process_ends_with_the_program() -> None:
    program = f"""
        import os, qanat as qn
        uri = "ipc::sample_connectors.py Endless"
        handle = qn.open_connector(uri, allow_external_code=True, folder={str(FOLDER)!r})
        stream = handle.data("endless")
        next(stream)
        found = [name for name in os.listdir("/proc") if name.isdigit()]
        parents = {{}}
        for name in found:
            try:
                parents[name] = open(f"/proc/{{name}}/stat").read().rpartition(")")[2].split()[1]
            except OSError:
                pass
        print([name for name, parent in parents.items() if parent == str(os.getpid())][0], flush=True)
        os._exit(0)  # without a word to anybody
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=60
    )
    deadline = time.monotonic() + 20
    while Path(f"/proc/{done.stdout.strip()}").exists():
        assert time.monotonic() < deadline, "the connector outlived its host by 20 seconds"
        time.sleep(0.01)


def resident_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


@pytest.mark.parametrize("mode", ["python", "ipc"])
def test_nothing_grows_with_the_calls(mode: str, opener: Opener) -> None:
    def round_of_calls(handle: qn.ConnectorHandle) -> None:
        handle.discover(["a"])
        stream = handle.data("good")
        assert stream is not None
        stream.to_polars()
        half = handle.data("after a batch")
        assert half is not None
        next(half)
        half.close()
        with pytest.raises(qn.ConnectorError):
            handle.data("value error")
        handle.describe()
        handle.stable_url("x")

    before, handle = children(), opener(mode, "Failing", retries=0)
    for _ in range(20):
        round_of_calls(handle)
    files, memory, processes = open_files(), resident_kib(), len(children() - before)
    for _ in range(200):
        round_of_calls(handle)
    assert open_files() <= files
    assert len(children() - before) <= max(1, processes)
    assert resident_kib() - memory < 8 << 10


def test_nothing_is_left_of_handles_in_this_process() -> None:
    def once() -> None:
        with qn.open_connector("python::sample_connectors:Returns", folder=FOLDER, allow_external_code=True) as handle:
            stream = handle.data("rows")
            assert stream is not None
            next(stream)
            handle.discover()

    for _ in range(50):
        once()
    memory, files = resident_kib(), open_files()
    for _ in range(500):
        once()
    assert resident_kib() - memory < 4 << 10
    assert open_files() <= files
