"""Connectors of the runtime python:: in this process: what python_runtime.c calls, with the GIL held, on any thread.

    python::module:Class     the class, or a function that makes a connector, or a connector that is there already

Each call has an instance of the class for itself, as each process of an ipc:: connector has its own: a class that
knows nothing of threads needs no change, and what waits does not hold up the others. Past the number of processes, and
where there is but one instance, calls take turns; streams are taken a batch at a time. The conversions are those of
qanat-sdk.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import itertools
import json
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from qanat import _sdk, errors
from qanat.errors import ConfigurationError, NotSupportedError, QanatError

if TYPE_CHECKING:
    from qanat_sdk.direct import Data, Direct

_log = logging.getLogger("qanat.connector")

Place = tuple[str, bool, str, str, int]  # the five values of a location; -1 rows: unknown

_APPLIED = {"projection": 1, "filter": 2, "limit": 4, "skip_rows": 8}
_CAN_RESUME = 1 << 1  # by enum qn_capability
_CAN_DISCOVER_MUCH = 1 << 2

# ---- what a call is made of -----------------------------------------------------------------------------------------


class _Host:
    """What the connector says goes to the caller while one waits; what its own threads say, to logging."""

    def __init__(self, name: str, log: Callable[[str, str], None], progress: Callable[[int, int, str], None]) -> None:
        self._name = name
        self._log = log
        self._progress = progress
        self._calling = threading.local()
        self.closed = False

    @contextmanager
    def calling(self) -> Iterator[None]:
        """A call of the library's on this thread."""
        depth = getattr(self._calling, "depth", 0)
        self._calling.depth = depth + 1
        try:
            yield
        finally:
            self._calling.depth = depth

    def _waits(self) -> bool:
        return not self.closed and getattr(self._calling, "depth", 0) > 0

    def log(self, level: str, message: str) -> None:
        if self._waits():
            self._log(level, _fit(message))
        else:
            _log.log(logging.getLevelNamesMapping()[level.upper()], "%s: %s", self._name, message)

    def progress(self, rows: int, total: int | None, text: str) -> None:
        if self._waits():
            self._progress(rows, -1 if total is None else total, _fit(text))

    def cancelled(self) -> bool:
        return self.closed


class _Instance:
    """A connector of its own, and what keeps two calls from being in it at once."""

    def __init__(self, direct: Direct) -> None:
        self.direct = direct
        self.lock = threading.RLock()
        self.users = 0


class _Pool:
    """Instances by use: a call gets one that nobody uses, a new one, or shares the least used."""

    def __init__(self, make: Callable[[], Direct], most: int) -> None:
        self._make = make
        self._most = most
        self._lock = threading.Lock()
        self._instances: list[_Instance] = []
        self._making = 0

    def take(self) -> _Instance:
        with self._lock:
            least = min(self._instances, key=lambda instance: instance.users, default=None)
            if least is not None and (least.users == 0 or len(self._instances) + self._making >= self._most):
                least.users += 1
                return least
            self._making += 1
        try:
            made = _Instance(self._make())
            made.users = 1
            with self._lock:
                self._instances.append(made)
            return made
        finally:
            with self._lock:
                self._making -= 1

    def give_back(self, instance: _Instance) -> None:
        with self._lock:
            instance.users -= 1


class _Batches:
    """The batches of a location: what the library takes one after another, and closes."""

    def __init__(self, data: Data, instance: _Instance, pool: _Pool, host: _Host) -> None:
        self._data = data
        self._batches = iter(data)
        self._instance = instance
        self._pool = pool
        self._host = host
        self._open = True

    def __iter__(self) -> _Batches:
        return self

    def __next__(self) -> Any:
        with self._instance.lock, self._host.calling():
            return next(self._batches)

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            with self._instance.lock, self._host.calling():
                self._data.close()
        except Exception:  # noqa: BLE001 - whatever the connector raises
            # The rows that were wanted have been delivered: what fails now is told, and fails nobody.
            _log.exception("a connector's iterator failed while it was closed")
        finally:
            self._pool.give_back(self._instance)


class Adapter:
    """A connector as the library sees it."""

    def __init__(self, make: Callable[[], Direct], most: int, host: _Host) -> None:
        self._host = host
        self._pool = _Pool(make, most)
        with self._use() as instance:  # a class that cannot be called says so when it is opened
            self._capabilities = instance.direct.capabilities

    @contextmanager
    def _use(self) -> Iterator[_Instance]:
        with self._host.calling():
            instance = self._pool.take()
            try:
                with instance.lock:
                    yield instance
            finally:
                self._pool.give_back(instance)

    def discover(self, attached: list[str]) -> Iterator[Place]:
        with self._use() as instance:
            for found in instance.direct.discover(attached):
                rows = found["num_rows"]
                yield (
                    found["location"],
                    found["must_copy"],
                    found["format"],
                    found["version"],
                    -1 if rows is None else rows,
                )

    def data(
        self,
        place: Place,
        columns: list[str] | None,
        filter_json: str | None,
        limit: int,
        skip_rows: int,
    ) -> tuple[Any, _Batches, int] | None:
        with self._host.calling():
            instance = self._pool.take()
            batches = None
            try:
                with instance.lock:
                    data = instance.direct.data(
                        _location(place),
                        columns,
                        None if filter_json is None else json.loads(filter_json),
                        None if limit < 0 else limit,
                        skip_rows,
                    )
                if data is None:
                    return None
                batches = _Batches(data, instance, self._pool, self._host)
                return data.schema, batches, sum(_APPLIED[name] for name in data.applied)
            finally:
                if batches is None:
                    self._pool.give_back(instance)

    def stable_url(self, place: Place) -> str | None:
        with self._use() as instance:
            return instance.direct.stable_url(_location(place))

    def describe(self) -> str:
        with self._use() as instance:
            return json.dumps(instance.direct.describe() | {"protocol": "python"})

    def capability_bits(self) -> int:
        resume = _CAN_RESUME if "stable_order" in self._capabilities else 0
        return resume | _CAN_DISCOVER_MUCH  # an iterator of locations is never held whole

    def close(self) -> None:
        """Nothing of the library's is called after this; what waits in a connector can ask cancelled()."""
        self._host.closed = True


def _location(place: Place) -> Any:
    from qanat_sdk import Location

    name, must_copy, form, version, rows = place
    return Location(name, must_copy, form, version, None if rows < 0 else rows)


def _fit(text: object) -> str:
    return str(text).replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


# ---- finding the class ----------------------------------------------------------------------------------------------

_objects: dict[str, Any] = {}
_object_numbers = itertools.count(1)
_OBJECT = "object "  # no module has a name with a space
_importing = threading.RLock()


def keep_object(connector: Any) -> str:
    """A class or connector that the caller has in hand, under an entry point of its own, until forget_object()."""
    entry = f"{_OBJECT}{next(_object_numbers)}"
    _objects[entry] = connector
    return entry


def forget_object(entry: str) -> None:
    _objects.pop(entry, None)


def open_adapter(
    entry: str,
    arguments: str,
    folder: str | None,
    processes: int,
    log: Callable[[str, str], None],
    progress: Callable[[int, int, str], None],
) -> Adapter:
    """The connector of an entry point: `module:Class`."""
    try:
        from qanat_sdk.direct import Direct
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("qanat_sdk", "pyarrow"):
            raise
        package, install = _sdk.missing(error)
        raise NotSupportedError(
            f"python:: connectors need the package qanat-sdk: {package} is not installed", hint=install
        ) from None
    target = _objects[entry] if entry in _objects else _find(entry, folder)
    given = json.loads(arguments)
    host = _Host(entry, log, progress)
    if isinstance(target, (type, FunctionType)):
        return Adapter(lambda: Direct(target(), given, host), max(1, processes), host)
    return Adapter(lambda: Direct(target, given, host), 1, host)


def _find(entry: str, folder: str | None) -> Any:
    module_name, colon, path = entry.partition(":")
    if not colon or not module_name or not path or not all(part.isidentifier() for part in path.split(".")):
        raise ConfigurationError(
            f'"python::{entry}" does not name a connector', hint='write "python::module:Class", as in an import'
        )
    here = str(Path.cwd())
    module = _import(module_name, [here] if folder in (None, here) else [str(folder), here])
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise ConfigurationError(f'module "{module_name}" has no "{path}"', hint=_classes_of(module))
        found = getattr(found, part)
    return found


def _classes_of(module: ModuleType) -> str:
    from qanat_sdk import Connector

    names = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Connector) and value.__module__ == module.__name__
    ]
    return f"it has {', '.join(names)}" if names else "it has no class of qanat_sdk.Connector"


def _import(name: str, folders: list[str]) -> ModuleType:
    """The module, found in the folders first. They stay at the end of sys.path, for what is imported later."""
    with _importing:
        _check_loaded(name, folders[0])
        importlib.invalidate_caches()
        sys.path[:0] = folders
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if name == missing or name.startswith(f"{missing}."):
                raise ConfigurationError(
                    f'module "{missing}" not found in {folders[0]} or on the path of this Python',
                    hint="the folder of the connector is the current one where no other is given",
                ) from None
            if missing.partition(".")[0] == "bundlebase_sdk":
                raise ConfigurationError(
                    f'module "{name}" imports {missing}, which is not installed',
                    hint='call qanat.compat.install_as("bundlebase_sdk") before it is opened',
                ) from None
            raise
        finally:
            for folder in folders:
                sys.path.remove(folder)
                if folder not in sys.path:
                    sys.path.append(folder)


def _check_loaded(name: str, folder: str) -> None:
    """One process has one module of a name: another file of the same name must not be taken for it silently."""
    top = name.partition(".")[0]
    loaded = sys.modules.get(top)
    here = importlib.machinery.PathFinder.find_spec(top, [folder])
    if loaded is None or here is None or here.origin is None:
        return
    origin = getattr(getattr(loaded, "__spec__", None), "origin", None) or getattr(loaded, "__file__", None)
    if origin is not None and not _same_file(origin, here.origin):
        raise ConfigurationError(
            f'module "{top}" of {folder} cannot be loaded: this process has another one, from {origin}',
            hint="rename one of them, or run the connector in a process of its own: ipc::script.py",
        )


def _same_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return one == other


# ---- what fails -----------------------------------------------------------------------------------------------------

# By enum qn_status.
_STATUSES: dict[type[BaseException], int] = {
    errors.ArgumentError: 2,
    errors.ForbiddenError: 18,  # a ConfigurationError too
    errors.ConfigurationError: 3,
    errors.DataError: 11,
    errors.NotSupportedError: 13,
}
_NO_MEMORY, _CANCELLED, _CONNECTOR = 1, 10, 17
_DETAIL = 500  # bytes


def failure(error: BaseException) -> tuple[int, str, str, str, bool, int] | None:
    """Status, message, detail, hint, whether it may be retried, and after how many milliseconds. None: it stops the
    program, and its caller has to have it."""
    if _stops_the_program(error):
        return None
    if isinstance(error, QanatError):
        status = next((number for kind, number in _STATUSES.items() if isinstance(error, kind)), _CONNECTOR)
        wait = round((error.retry_after or 0) * 1000)
        return status, _fit(error), error.detail or "", error.hint or "", error.retryable, wait
    if isinstance(error, MemoryError):
        return _NO_MEMORY, f"MemoryError: {_fit(error) or 'out of memory'}", _tail(error), "", False, 0
    from qanat_sdk.direct import ParameterError
    from qanat_sdk.errors import CancelledError, ConnectorError, details_of, message_of

    text = _fit(message_of(error))
    if isinstance(error, ParameterError):
        return _CONNECTOR, text, "", "", False, 0
    if isinstance(error, SystemExit):
        return _CONNECTOR, f"the connector called sys.exit({error.code!r})", _tail(error), "", False, 0
    details = details_of(error)
    wait = round(details.get("retry_after_ms", 0))
    if isinstance(error, ConnectorError):
        status = _CANCELLED if isinstance(error, CancelledError) else _CONNECTOR
        return status, text, "", "", bool(details["retryable"]), wait
    kind = type(error).__name__
    message = text if text == kind or text.startswith(f"{kind}: ") else f"{kind}: {text}"
    return _CONNECTOR, message, _tail(error), "", bool(details["retryable"]), wait


def _stops_the_program(error: BaseException) -> bool:
    """Ctrl-C, or what a handler of a signal raised: not the connector's own doing."""
    if isinstance(error, Exception) or threading.current_thread() is not threading.main_thread():
        return False
    if isinstance(error, KeyboardInterrupt):
        return True
    handlers = {
        handler.__code__
        for handler in map(signal.getsignal, signal.valid_signals())
        if isinstance(handler, FunctionType)
    }
    return any(frame.f_code in handlers for frame, _ in traceback.walk_tb(error.__traceback__))


def _tail(error: BaseException) -> str:
    """The end of the traceback, as what a process writes to standard error would be its detail."""
    whole = _fit("".join(traceback.format_exception(error))).strip().encode()
    if len(whole) <= _DETAIL:
        return whole.decode()
    cut = whole[-_DETAIL:].decode("utf-8", "ignore")
    return cut.partition("\n")[2] or cut
