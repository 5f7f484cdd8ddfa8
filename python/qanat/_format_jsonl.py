"""JSON Lines: an object a line, each a row. As json (see _format_json.py), with the option `types` alone.

A line is a whole object, so that the row of what is wrong is its line; lines of white space are no rows.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from qanat._format_json import MOST_VALUE, decoder_of, table_of
from qanat._formats import Reading, check_options, native_file, types_option
from qanat.errors import DataError


def _lines(file: BinaryIO, decoder: json.JSONDecoder) -> Iterator[tuple[Any, int]]:
    row = 0
    line = file.readline(MOST_VALUE + 1)
    line = line.removeprefix(b"\xef\xbb\xbf")
    while line:
        if len(line) > MOST_VALUE:
            raise DataError(f"row {row}: a line has more than {MOST_VALUE >> 20} MiB", row=row)
        text = line.strip()
        if text:
            try:
                value = decoder.decode(text.decode("utf-8"))
            except json.JSONDecodeError as error:
                raise DataError(f"row {row}: it is no JSON: {error.msg}", row=row) from None
            except UnicodeDecodeError as error:
                raise DataError(f"row {row}: it is no UTF-8: {error.reason}", row=row) from None
            except DataError as error:
                raise DataError(f"row {row}: {error}", row=row, hint=error.hint) from None
            yield value, len(line)
            row += 1
        line = file.readline(MOST_VALUE + 1)


def read(fd: int, _columns: list[str] | None, options: dict[str, Any], _name: str) -> Reading:
    check_options(options, "jsonl")
    types = types_option(options)
    file = io.BufferedReader(native_file(fd))
    schema, batches = table_of(_lines(file, decoder_of(types)), types, file.close)
    return schema, batches, True
