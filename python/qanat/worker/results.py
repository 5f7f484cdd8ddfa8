"""What a bulk statement may return besides a list of dicts: a frame of pandas, polars or pyarrow.

Told by what it offers, never by importing anything. polars and pyarrow hand Arrow over; pandas goes column by column:
numpy columns as the buffers that they are, all others as objects, held to the rules of rows. What pandas calls
missing (NaN, NaT, None, NA) is null. Values go out exactly or the run fails, naming column, row, expected and found.
The index of a pandas frame is not part of it. Thread rule: the main thread.
"""

from __future__ import annotations

import sys
from typing import Any

# numpy's kind and size of an item: the Arrow format.
FORMATS = {
    "b1": "b", "i1": "c", "i2": "s", "i4": "i", "i8": "l", "u1": "C", "u2": "S", "u4": "I", "u8": "L",
    "f2": "e", "f4": "f", "f8": "g",
}  # fmt: skip
UNITS = {"s": "s", "ms": "m", "us": "u", "ns": "n"}

Column = tuple[str, str | None, Any, Any]  # name, format or None for objects, values, nulls


def put_frame(child: Any, returned: Any) -> bool:
    """Put a frame out; False where it is none."""
    if isinstance(returned, list | tuple | dict) or returned is None:
        return False
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(returned, pandas.DataFrame):
        put_pandas(child, returned)
        return True
    if type(returned).__name__ == "LazyFrame":
        raise TypeError("the statement returned a LazyFrame, which is not computed yet: return frame.collect()")
    if type(returned).__name__ == "Series":
        raise TypeError("the statement returned a Series, which is one column: return series.to_frame()")
    refuse_objects(returned)
    stream = getattr(type(returned), "__arrow_c_stream__", None)
    if stream is None:
        return False
    child.put_stream(stream(returned))
    return True


def refuse_objects(frame: Any) -> None:
    """polars hands columns of Python objects over as their addresses."""
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(frame, polars.DataFrame):
        for name, dtype in frame.schema.items():
            if dtype == polars.Object:
                raise TypeError(f'field "{name}": the column has Python objects (its type is Object)')


# ---- pandas ----------------------------------------------------------------------------------------------------------


def put_pandas(child: Any, frame: Any) -> None:
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"the names of columns must be texts, and one is {name!r} ({type(name).__name__})")
    # Without rows pandas does not know the types.
    make = column_of if len(frame) else objects_column
    columns = [make(name, frame.iloc[:, at]) for at, name in enumerate(names)]
    child.put_columns(len(frame), columns, hint_of(frame.index))


def hint_of(index: Any) -> str:
    """What to say where the frame lacks a column: it may be in the index."""
    names = [name for name in index.names if isinstance(name, str)]
    if not names:
        return ""
    return f" (the index has {', '.join(map(repr, names))}: return frame.reset_index())"


def column_of(name: str, series: Any) -> Column:
    dtype = series.dtype
    kind = getattr(dtype, "kind", "O")
    if type(dtype).__module__.partition(".")[0] == "numpy":
        return numpy_column(name, series, series.to_numpy())
    if kind == "M" and getattr(dtype, "tz", None) is not None and hasattr(dtype, "unit"):
        _, form, values, nulls = numpy_column(name, series, series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy())
        return name, f"{form}UTC", values, nulls
    if kind in "biuf" and hasattr(dtype, "numpy_dtype"):
        # An array with a mask. Not a number is as missing as not there.
        nulls = series.isna().to_numpy()
        filled = series.to_numpy(dtype=dtype.numpy_dtype, na_value=dtype.numpy_dtype.type(0))
        name, form, values, more = numpy_column(name, series, filled)
        return name, form, values, contiguous(nulls if more is None else nulls | (more != 0))
    return objects_column(name, series)


def contiguous(array: Any) -> Any:
    """In the byte order of the machine and without gaps."""
    import numpy

    return numpy.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def numpy_column(name: str, series: Any, array: Any) -> Column:
    dtype = array.dtype
    if dtype.kind in "mM":
        import numpy

        unit = UNITS.get(numpy.datetime_data(dtype)[0])
        if unit is not None:
            nulls = numpy.isnat(array)
            values = contiguous(array).view("i8")
            return name, f"ts{unit}:" if dtype.kind == "M" else f"tD{unit}", values, nulls if nulls.any() else None
    form = FORMATS.get(f"{dtype.kind}{dtype.itemsize}")
    if form is None:
        return objects_column(name, series)
    values = contiguous(array)
    nulls = values != values if dtype.kind == "f" else None
    if nulls is not None and nulls.all():
        return name, None, [None] * len(values), None  # nothing is there: it may have been of any type
    return name, form, values, nulls if nulls is not None and nulls.any() else None


def objects_column(name: str, series: Any) -> Column:
    values = series.astype(object).tolist()
    nulls = series.isna()
    if nulls.any():
        values = [None if null else value for value, null in zip(values, nulls.tolist(), strict=True)]
    return name, None, values, None
