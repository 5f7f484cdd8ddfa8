"""python::: a class in this process."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import qanat as qn
from qanat import _native_connector
from qanat_sdk import Connector, Location

FOLDER = Path(__file__).resolve().parent
Opener = Callable[..., qn.ConnectorHandle]


class One(Connector):
    """One location whose data a test gives."""

    def __init__(self, make: Callable[[], Any] = lambda: pa.table({"n": [1]})) -> None:
        self.make = make

    def discover(self, attached_locations: list[str], **kwargs: Any) -> list[Location]:
        return [Location("x")]

    def data(self, location: Location, **kwargs: Any) -> Any:
        return self.make()


def stream_of(handle: qn.ConnectorHandle, *args: Any, **kwargs: Any) -> qn.Stream:
    stream = handle.data(*args, **kwargs)
    assert stream is not None
    return stream


def written(folder: Path, name: str, source: str) -> Path:
    file = folder / f"{name}.py"
    file.write_text(textwrap.dedent(source), encoding="utf-8")
    return file


@pytest.fixture
def forgetting() -> Iterator[None]:
    """Modules and folders that a test has brought are gone after it."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]
    sys.path[:] = path


# ---- zero copy and laziness -----------------------------------------------------------------------------------------


def addresses(batch: Any) -> list[int]:
    return [buffer.address for column in batch.columns for buffer in column.buffers() if buffer is not None]


@pytest.mark.trace("C23")
@pytest.mark.parametrize("kind", ["table", "batch", "batches", "stream", "frame"])
def test_batches_are_passed_on_where_they_lie(kind: str) -> None:
    batch = pa.RecordBatch.from_pydict(
        {"n": pa.array(range(5000), pa.int64()), "t": ["text"] * 5000, "l": [[1, None]] * 5000}
    )
    made = {
        "table": pa.Table.from_batches([batch]),
        "batch": batch,
        "batches": iter([batch]),
        "stream": pa.RecordBatchReader.from_batches(batch.schema, [batch]),
    }
    source: Any = made.get(kind)
    expected = addresses(batch)
    if kind == "frame":
        source = pl.DataFrame({"n": range(5000), "f": [0.5] * 5000})
        expected = addresses(source.to_arrow().to_batches()[0])
    with qn.open_connector(One(lambda: source)) as handle:
        (arrived,) = pa.RecordBatchReader.from_stream(stream_of(handle, "x")).read_all().to_batches()
    assert arrived.num_rows == 5000
    assert addresses(arrived) == expected


@pytest.mark.trace("C16", "C23")
def test_iterators_stay_lazy() -> None:
    given = 0
    alive: list[weakref.ref[Any]] = []

    def batches() -> Iterator[Any]:
        nonlocal given
        while True:
            given += 1
            batch = pa.RecordBatch.from_pydict({"n": pa.array([given] * 1000, pa.int64())})
            alive.append(weakref.ref(batch.column(0)))
            yield batch

    with qn.open_connector(One(batches)) as handle:
        stream = stream_of(handle, "x")
        for count in range(1, 51):
            next(stream)
            assert given <= count + 2  # the first is looked at to know the schema
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 3
        stream.close()


def test_memory_is_bounded_by_the_batch() -> None:
    program = """
        import pyarrow as pa, qanat as qn
        from pathlib import Path
        from qanat_sdk import Connector, Location

        class Many(Connector):
            def discover(self, attached_locations):
                return []
            def data(self, location):
                for number in range(400):
                    values = pa.Array.from_buffers(pa.int64(), 250_000, [None, pa.py_buffer(bytes(2_000_000))])
                    yield pa.RecordBatch.from_arrays([values], ["n"])

        def peak():
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

        handle = qn.open_connector(Many())
        next(handle.data("x"))
        before = peak()
        assert sum(batch.num_rows for batch in handle.data("x")) == 100_000_000
        print(peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) < 32 << 10  # of 800 MB that went through


# ---- instances and threads ------------------------------------------------------------------------------------------


class Alone(Connector):
    """Fails where two calls are in one instance at once."""

    made = 0

    def __init__(self) -> None:
        self.inside = 0
        type(self).made += 1

    def discover(self, attached_locations: list[str]) -> list[Location]:
        return []

    def data(self, location: Location) -> Iterator[Any]:
        for number in range(3):
            self.inside += 1
            assert self.inside == 1, "two calls in one instance"
            time.sleep(0.01)
            self.inside -= 1
            yield pa.RecordBatch.from_pydict({"n": [number]})


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    results: list[Any] = [None] * count

    def run(number: int) -> None:
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("given", ["class", "object"])
def test_each_call_has_an_instance_for_itself(given: str) -> None:
    Alone.made = 0
    with qn.open_connector(Alone if given == "class" else Alone(), processes=3) as handle:
        results = in_threads(8, lambda _: stream_of(handle, "x").to_polars()["n"].to_list())
    assert results == [[0, 1, 2]] * 8
    assert Alone.made <= (3 if given == "class" else 1)


def test_streams_of_one_object_can_be_read_in_turn() -> None:
    with qn.open_connector(Alone()) as handle:
        streams = [stream_of(handle, "x") for _ in range(3)]
        taken = [next(stream).to_polars()["n"][0] for _ in range(3) for stream in streams]
    assert taken == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_waiting_overlaps(opener: Opener) -> None:
    handle = opener("python", "Waiting")
    names = [found.location for found in handle.discover()]
    begin = time.monotonic()
    results = in_threads(16, lambda number: stream_of(handle, names[number]).to_polars()["n"][0])
    elapsed = time.monotonic() - begin
    assert results == list(range(16))
    assert elapsed < 16 * 0.05, "the calls waited one after the other"


def test_log_of_a_thread_of_the_connectors_own_goes_to_logging(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []

    class Threaded(One):
        def data(self, location: Location, **kwargs: Any) -> Any:
            thread = threading.Thread(target=self.log, args=("from my thread", "warning"))
            thread.start()
            thread.join()
            self.log("from the call")
            return None

    with qn.open_connector(Threaded(), on_log=lambda *said: heard.append(said)) as handle:
        assert handle.data("x") is None
    assert heard == [("info", "from the call")]
    assert [record[2] for record in caplog.record_tuples if "from my thread" in record[2]]


# ---- finding the class ----------------------------------------------------------------------------------------------


@pytest.mark.trace("C23")
@pytest.mark.usefixtures("forgetting")
def test_modules_are_found_in_the_folder_and_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "from sample_connectors import Documented\nfrom {0}_helper import NAME\nclass C(Documented):\n    pass\n"
    for name in ("try_given", "try_current"):
        folder = tmp_path / name
        folder.mkdir()
        written(folder, name, source.format(name))
        written(folder, f"{name}_helper", "NAME = 1")
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.chdir(tmp_path / "try_current")
    with qn.open_connector("python::try_given:C", folder=tmp_path / "try_given", allow_external_code=True) as handle:
        assert len(handle.discover()) == 3
    with qn.open_connector("python::try_current:C", folder=tmp_path / "try_given", allow_external_code=True) as handle:
        assert len(handle.discover()) == 3
    with qn.open_connector("python::try_current:C", allow_external_code=True) as handle:
        assert len(handle.discover()) == 3


@pytest.mark.trace("D17")
@pytest.mark.usefixtures("forgetting")
def test_functions_and_objects_of_a_module_are_connectors_too(tmp_path: Path) -> None:
    written(
        tmp_path,
        "try_made",
        """
        from qanat_sdk import Connector, Location

        class Named(Connector):
            def __init__(self, name):
                self.name = name
            def discover(self, attached_locations):
                return [Location(self.name)]
            def data(self, location):
                return None

        def make():
            return Named("made")

        there = Named("there")
        """,
    )
    for entry in ("make", "there"):
        with qn.open_connector(f"python::try_made:{entry}", folder=tmp_path, allow_external_code=True) as handle:
            assert handle.discover() == [qn.Location("made" if entry == "make" else "there")]
    with pytest.raises(qn.ConnectorError, match="Named.__init__.*name"):
        qn.open_connector("python::try_made:Named", folder=tmp_path, allow_external_code=True)


@pytest.mark.usefixtures("forgetting")
@pytest.mark.parametrize(
    ("entry", "error", "message", "hint"),
    [
        (
            "try_missing:C",
            qn.ConfigurationError,
            'module "try_missing" not found in ',
            "the folder of the connector",
        ),
        ("try_bad.sub:C", qn.ConfigurationError, 'module "try_bad.sub" not found', ""),
        ("try_bad:Nothing", qn.ConfigurationError, 'module "try_bad" has no "Nothing"', "it has There"),
        ("try_bad:plain", qn.ConnectorError, "TypeError: .* is no connector: it has no method discover", None),
        ("try_bad", qn.ConfigurationError, "does not name a connector", "python::module:Class"),
        ("try_bad:", qn.ConfigurationError, "does not name a connector", "python::module:Class"),
        ("try_bad:a b", qn.ConfigurationError, "does not name a connector", "python::module:Class"),
        ("try_raises:C", qn.ConnectorError, "ZeroDivisionError: division by zero", None),
        ("try_imports:C", qn.ConnectorError, "ModuleNotFoundError: No module named 'try_nowhere'", None),
        ("try_theirs:C", qn.ConfigurationError, "imports bundlebase_sdk, which is not installed", "qanat.compat"),
        ("try_bad:Unknown", qn.ConnectorError, "capability 'flying' is not known", None),
    ],
)
def test_entry_points_that_lead_nowhere(
    tmp_path: Path, entry: str, error: type[qn.QanatError], message: str, hint: str | None
) -> None:
    written(
        tmp_path,
        "try_bad",
        """
        from qanat_sdk import Connector
        plain = 5
        class There(Connector):
            pass
        class Unknown(Connector):
            capabilities = ("flying",)
            def discover(self, attached_locations):
                return []
            def data(self, location):
                return None
        """,
    )
    written(tmp_path, "try_raises", "1 / 0")
    written(tmp_path, "try_imports", "import try_nowhere")
    written(tmp_path, "try_theirs", "import bundlebase_sdk")
    with pytest.raises(error, match=message) as caught:
        qn.open_connector(f"python::{entry}", folder=tmp_path, allow_external_code=True)
    if hint is not None:
        assert hint in (caught.value.hint or "")


@pytest.mark.usefixtures("forgetting")
def test_a_module_of_the_same_name_is_not_taken_for_another(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, "try_same", "from qanat_sdk import Connector\n" + CLASS.format(name))
    with qn.open_connector("python::try_same:C", folder=tmp_path / "one", allow_external_code=True) as handle:
        assert handle.discover() == [qn.Location("one")]
    with pytest.raises(qn.ConfigurationError, match='module "try_same" of .*/two cannot be loaded.*/one/try_same.py'):
        qn.open_connector("python::try_same:C", folder=tmp_path / "two", allow_external_code=True)


CLASS = """
from qanat_sdk import Location
class C(Connector):
    def discover(self, attached_locations):
        return [Location({0!r})]
    def data(self, location):
        return None
"""


@pytest.mark.parametrize(
    ("package", "hint"),
    [("qanat_sdk", "in a clone of qanat: pip install ./sdk/python"), ("pyarrow", "pip install pyarrow")],
)
def test_without_the_sdk_the_error_says_what_to_install(package: str, hint: str) -> None:
    program = f"""
        import sys
        sys.modules["{package}"] = None  # as if it were not installed
        import qanat as qn
        try:
            qn.open_connector("python::anything:C", allow_external_code=True)
        except qn.NotSupportedError as error:
            print(error, "|", error.hint)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.endswith(f"need the package qanat-sdk: {package} is not installed | {hint}\n")
    readme = (Path(__file__).resolve().parents[3] / "README.md").read_text()
    assert package == "pyarrow" or f"\n{hint.partition(': ')[2]} " in readme, "the README says the same"


def test_import_of_qanat_stays_light() -> None:
    program = "import sys, qanat; print([m for m in ('qanat_sdk', 'pyarrow', 'qanat._connector') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.trace("D17")
def test_a_class_of_another_sdk_with_the_same_methods(opener: Opener) -> None:
    class TheirLocation:
        def __init__(self) -> None:
            self.location, self.must_copy, self.format, self.version = "theirs", False, "csv", "v1"

    class TheirUrl:
        url = "https://example.com"

    class Theirs:
        def discover(self, attached_locations: list[str], **kwargs: str) -> Any:
            return [TheirLocation()]

        def data(self, location: Any, **kwargs: str) -> Any:
            return pa.table({"name": [location.location]})

        def stable_url(self, location: Any, **kwargs: str) -> Any:
            return TheirUrl()

    with qn.open_connector(Theirs) as handle:
        (found,) = handle.discover()
        assert found == qn.Location("theirs", False, "csv", "v1", None)
        assert stream_of(handle, found).to_polars()["name"].to_list() == ["theirs"]
        assert handle.stable_url(found) == "https://example.com"


# ---- exceptions and signals -----------------------------------------------------------------------------------------


def test_the_detail_is_the_end_of_the_traceback(opener: Opener) -> None:
    with pytest.raises(qn.ConnectorError, match="ValueError: the data is not there") as caught:
        opener("python", "Failing").data("value error")
    detail = caught.value.detail or ""
    assert "sample_connectors.py" in detail
    assert detail.endswith("the data is not there\nsays line two")


@pytest.mark.parametrize("place", ["data", "iterator", "discover", "stable_url"])
def test_ctrl_c_is_a_keyboard_interrupt(place: str) -> None:
    begun = threading.Event()

    class Sleeping(One):
        def discover(self, attached_locations: list[str], **kwargs: Any) -> Any:
            self.sleep()

        def data(self, location: Location, **kwargs: Any) -> Any:
            return self.batches() if place == "iterator" else self.sleep()

        def stable_url(self, location: Location, **kwargs: Any) -> Any:
            self.sleep()

        def batches(self) -> Iterator[Any]:
            yield pa.RecordBatch.from_pydict({"n": [1]})
            self.sleep()

        def sleep(self) -> None:
            begun.set()
            while True:  # one long sleep would begin after a signal that came between the two lines
                time.sleep(0.01)

    def interrupt() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with qn.open_connector(Sleeping()) as handle:
        calls: dict[str, Callable[[], Any]] = {
            "data": lambda: handle.data("x"),
            "iterator": lambda: list(stream_of(handle, "x")),
            "discover": handle.discover,
            "stable_url": lambda: handle.stable_url("x"),
        }
        thread.start()
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            calls[place]()
        assert time.monotonic() - begin < 30  # and not 600
        thread.join()
        if place == "iterator":
            assert stream_of(handle, "x").schema.names == ["n"]


def test_what_a_signal_handler_raises_reaches_the_caller() -> None:
    def ended(*_: Any) -> None:
        sys.exit(9)

    def kill_and_wait() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        while True:
            time.sleep(0.01)

    before = signal.signal(signal.SIGUSR1, ended)
    try:
        with qn.open_connector(One(kill_and_wait)) as handle, pytest.raises(SystemExit) as caught:
            handle.data("x")
        assert caught.value.code == 9
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_exceptions_in_other_threads_are_errors() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def no_memory() -> None:
        raise MemoryError

    with qn.open_connector(One(interrupted)) as handle:
        (error,) = in_threads(1, lambda _: handle.data("x"))
        assert isinstance(error, qn.ConnectorError)
        assert "KeyboardInterrupt" in str(error)
    with qn.open_connector(One(no_memory)) as handle, pytest.raises(qn.OutOfMemoryError):
        handle.data("x")


def test_errors_of_qanat_keep_their_kind() -> None:
    def refuses() -> None:
        raise qn.NotSupportedError("not this one", hint="take another")

    def may_not() -> None:
        qn.open_connector("ipc::inner.py", allow_external_code=False)

    with qn.open_connector(One(refuses)) as handle, pytest.raises(qn.NotSupportedError, match="not this one") as caught:
        handle.data("x")
    assert caught.value.hint == "take another"
    with (
        qn.open_connector(One(may_not)) as handle,
        pytest.raises(qn.ForbiddenError, match='location "x": .*ipc::inner'),
    ):
        handle.data("x")


def test_a_callback_that_raises_harms_nothing(monkeypatch: pytest.MonkeyPatch, opener: Opener) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def raises(*_: Any) -> None:
        raise ValueError("not now")

    handle = opener("python", "Talking", on_log=raises, on_progress=raises)
    assert stream_of(handle, "x").to_polars().height == 2000
    assert [type(told.exc_value) for told in unraisable] == [ValueError] * 3


def test_batches_that_are_none_are_errors() -> None:
    other = pa.RecordBatch.from_pydict({"other": [1]})
    good = pa.RecordBatch.from_pydict({"n": [1]})
    for items, message in (
        ([good, other], "batch 1 has another schema"),
        ([good, 5], "item 1 of data.. is a int"),
        ("text", "this one returned str"),
        ([object()], "this one has a list of object"),
    ):
        with (
            qn.open_connector(One(lambda given=items: given)) as handle,
            pytest.raises(qn.ConnectorError, match=message),
        ):  # type: ignore[misc]
            list(stream_of(handle, "x"))


def test_discover_returns_locations() -> None:
    for found, message in (
        ([5], "this one has a int"),
        (None, "not NoneType"),
        ("text", "not str"),
        ([Location(5)], "is a text, not 5"),  # type: ignore[arg-type]
        ([Location("a\0b")], "no host can hold"),
        ([Location("\ud800")], "no host can hold"),
        ([Location("x", num_rows=-1)], "num_rows is a number"),
    ):

        class Finds(One):
            def discover(self, attached_locations: list[str], given: Any = found, **kwargs: Any) -> Any:
                return given

        with qn.open_connector(Finds()) as handle, pytest.raises(qn.ConnectorError, match=message):
            handle.discover()


def test_many_locations_are_not_held_where_they_are_taken_one_by_one() -> None:
    class Many(One):
        def discover(self, attached_locations: list[str], **kwargs: Any) -> Any:
            return (Location(f"location {number}") for number in range(1_000_000))

    count = 0

    def each(location: qn.Location) -> None:
        nonlocal count
        count += 1
        if count == 5000:
            raise StopIteration

    with qn.open_connector(Many()) as handle:
        with pytest.raises(StopIteration):
            handle.each_location(each)
        assert count == 5000


# ---- the end --------------------------------------------------------------------------------------------------------


def test_a_stream_keeps_its_connector_open() -> None:
    kept = weakref.WeakSet[Any]()
    before = dict(_native_connector._objects)

    class Kept(One):
        def __init__(self) -> None:
            super().__init__(lambda: iter([pa.RecordBatch.from_pydict({"n": [number]}) for number in range(3)]))
            kept.add(self)

    reader = pa.RecordBatchReader.from_stream(stream_of(qn.open_connector(Kept), "x"))
    gc.collect()
    assert len(kept) == 1
    assert reader.read_all()["n"].to_pylist() == [0, 1, 2]
    del reader
    gc.collect()
    assert len(kept) == 0
    assert _native_connector._objects == before


def test_a_closed_connector_is_let_go() -> None:
    """Where the handle itself lives on, in a global of the module of its class say."""
    before = dict(_native_connector._objects)
    handle = qn.open_connector(One(lambda: iter([])))
    assert _native_connector._objects != before
    handle.close()
    assert _native_connector._objects == before
    handle.close()


def test_a_closed_connector_says_so() -> None:
    handle = qn.open_connector(One(lambda: iter([pa.RecordBatch.from_pydict({"n": [1]})] * 2)))
    stream = stream_of(handle, "x")
    next(stream)
    handle.close()
    handle.close()
    assert handle.closed
    for call in (handle.discover, lambda: handle.data("x"), handle.describe, lambda: handle.stable_url("x")):
        with pytest.raises(qn.ConnectionClosedError, match="the connector is closed"):
            call()
    with pytest.raises(qn.ConnectionClosedError):
        next(stream)
    assert "closed" in repr(handle)


def test_close_waits_for_the_calls_of_other_threads() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def wait() -> Any:
        inside.set()
        go_on.wait()
        return pa.table({"n": [1]})

    handle = qn.open_connector(One(wait))
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(handle.data("x")))
    thread.start()
    inside.wait()
    handle.close()
    go_on.set()
    thread.join()
    with pytest.raises(qn.ConnectionClosedError):
        next(results[0])


def test_the_connector_can_ask_if_it_is_closed() -> None:
    asked: list[bool] = []

    class Asking(One):
        def data(self, location: Location, **kwargs: Any) -> Iterator[Any]:
            try:
                yield pa.RecordBatch.from_pydict({"n": [1]})
            finally:
                asked.append(self.cancelled())

    with qn.open_connector(Asking()) as handle:
        stream = stream_of(handle, "x")
        next(stream)
        stream.close()
    assert asked == [False]


def test_nothing_is_called_while_the_interpreter_ends() -> None:
    program = """
        import pyarrow as pa, qanat as qn
        from qanat_sdk import Connector, Location

        class Endless(Connector):
            def discover(self, attached_locations):
                return [Location("x")]
            def data(self, location):
                while True:
                    yield pa.RecordBatch.from_pydict({"n": [1]})

        handle = qn.open_connector(Endless)
        stream = handle.data("x")
        next(stream)
        reader = pa.RecordBatchReader.from_stream(handle.data("x"))
        reader.read_next_batch()
        print("done")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_the_module_is_that_of_the_program() -> None:
    """The class that runs is the one that the rest of the program sees."""
    with qn.open_connector("python::sample_connectors:Documented", folder=FOLDER, allow_external_code=True):
        pass
    module = importlib.import_module("sample_connectors")
    assert _native_connector._find("sample_connectors:Documented", str(FOLDER)) is module.Documented
