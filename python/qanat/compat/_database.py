"""`industrydb`: the names of the database document."""

from __future__ import annotations

from types import ModuleType

import qanat

# Theirs to ours, where they differ; everything else has the same name.
_RENAMED = {"IndustryDbError": qanat.QanatError}
_SAME = (
    "ConfigurationError",
    "Connection",
    "ConnectionClosedError",
    "ConstraintViolationError",
    "DatabaseConfig",
    "DatabaseConnectionError",
    "QueryExecutionError",
)


def modules() -> dict[str, ModuleType]:
    """The package and the extension module inside it, which had the same contents."""
    package = ModuleType("industrydb", "qanat under the names of industrydb.")
    inner = ModuleType("industrydb.industrydb", package.__doc__)
    for module in (package, inner):
        contents = {**{name: getattr(qanat, name) for name in _SAME}, **_RENAMED}
        module.__dict__.update(contents)
        module.__dict__["__all__"] = sorted(contents)
        module.__dict__["__qanat_compat__"] = True
        module.__dict__["__version__"] = qanat.__version__
    package.__path__ = []
    package.__dict__["industrydb"] = inner
    return {"industrydb": package, "industrydb.industrydb": inner}
