"""Where the headers and the library of this installation are, for C programs and plug-ins."""

from __future__ import annotations

from qanat import _native
from qanat.errors import QanatError


def get_include() -> str:
    """The folder to give to the C compiler with -I: it holds qanat/qanat.h."""
    from pathlib import Path

    here = Path(__file__).resolve().parent
    for folder in (here / "include", here.parents[1] / "include"):  # installed; or an editable build, in the tree
        if (folder / "qanat" / "qanat.h").is_file():
            return str(folder)
    raise QanatError("this installation has no headers")


def get_library() -> str:
    """The shared library to link with: the one that this Python module itself uses."""
    from pathlib import Path

    here = Path(__file__).resolve().parent
    extension = _native.__file__
    for file in (here / "lib" / "libqanat.so", Path(extension).resolve().parent / "libqanat.so"):
        if file.is_file():
            return str(file)
    raise QanatError("this installation has no shared library of its own")
