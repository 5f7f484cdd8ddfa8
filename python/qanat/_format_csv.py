"""CSV through pyarrow's streaming reader and writer.

Options (a JSON object; every value may be given as a text):

    delimiter   one character; "," (a tab for names that end in .tsv)
    header      "true": the first line has the names; "false": they are f0, f1, ... or those of `columns`
    columns     names, where there is no header
    quote       one character; '"'. "": values are never quoted
    escape      one character; "": none
    encoding    "utf-8", or any that Python knows
    null        texts that mean null where they are not quoted; the empty text by default
    types       {"name": "Int64", ...} for columns whose type is known
    infer       "true"; "false": columns without a type in `types` are texts

What is inferred is inferred from the first MiB, and only what holds the value exactly: `true` and `false`; integers
without leading zeros that 64 bits hold; numbers that Float64 holds digit for digit; dates `2024-02-29`; timestamps
`2024-02-29 12:30:00.5`, with a Z as UTC. Everything else is Utf8: "007", "1e400", a number of twenty digits. A later
value that does not fit its column is a DataError with row and column, never a null or a rounded number; `types` is the
way out. A line without any character is no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from qanat import _native
from qanat._format_arrays import cast_texts, plain_rows, plain_schema
from qanat._formats import (
    Reading,
    check_options,
    list_option,
    native_file,
    text_option,
    types_option,
    yes_option,
)
from qanat.errors import ConfigurationError, DataError, NotSupportedError

BLOCK_BYTES = 1 << 20
_EXACT_DIGITS = 15  # that Float64 holds whatever they are

_BOOL = "^(true|false|True|False|TRUE|FALSE)$"
_INT = r"^(0|-?[1-9][0-9]{0,18})$"
_FLOAT = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_UTC = _TIME + "Z$"
_LOCAL = _TIME + "$"


# ---- in ----


def _character(options: dict[str, Any], name: str, default: str, *, may_lack: bool) -> str | bool:
    value = text_option(options, name, default)
    if value == "" and may_lack:
        return False
    if len(value) != 1 or not value.isascii():
        raise ConfigurationError(f'the option "{name}" is one ASCII character, not {value!r}')
    return value


def read(fd: int, columns: list[str] | None, options: dict[str, Any], name: str) -> Reading:
    check_options(options, "csv")
    types = types_option(options)
    header = yes_option(options, "header", True)
    names = list_option(options, "columns", [])
    if names and header:
        raise ConfigurationError('the option "columns" names the columns of a file without a header: header is "false"')
    read_options = csv.ReadOptions(
        use_threads=False,
        block_size=BLOCK_BYTES,
        column_names=names or None,
        autogenerate_column_names=not header and not names,
        encoding=text_option(options, "encoding", "utf-8"),
    )
    parse_options = csv.ParseOptions(
        delimiter=_character(options, "delimiter", "\t" if name.lower().endswith(".tsv") else ",", may_lack=False),
        quote_char=_character(options, "quote", '"', may_lack=True),
        escape_char=_character(options, "escape", "", may_lack=True),
        newlines_in_values=True,
    )

    def begin(convert_options: csv.ConvertOptions) -> Any:
        return csv.open_csv(native_file(fd), read_options, parse_options, convert_options)

    with begin(csv.ConvertOptions(null_values=[], strings_can_be_null=False)) as first:
        there = first.schema.names
    for wanted in types:
        if wanted not in there:
            raise ConfigurationError(f'the option "types" has the column "{wanted}"; there is {", ".join(there)}')
    every = columns is None or len(set(there)) != len(there) or not columns or not set(columns) <= set(there)
    kept = there if every or columns is None else [one for one in there if one in set(columns)]
    reader = begin(
        csv.ConvertOptions(
            check_utf8=True,
            column_types=dict.fromkeys(there, pa.string()),
            null_values=list_option(options, "null", [""]),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            include_columns=None if every else kept,
        )
    )
    batches = iter(reader)
    head = next(batches, None)
    infer = yes_option(options, "infer", True)
    makers = [_maker(one, types.get(one), head, i, infer) for i, one in enumerate(kept)]
    schema = pa.schema([pa.field(one, maker.type) for one, maker in zip(kept, makers, strict=True)])
    return schema, _batches(reader, head, batches, makers, schema), every


def _batches(reader: Any, head: Any, batches: Iterator[Any], makers: list[_Maker], schema: Any) -> Iterator[Any]:
    with reader:
        row = 0
        batch = head
        while batch is not None:
            columns = [maker.make(batch.column(i), row) for i, maker in enumerate(makers)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            row += batch.num_rows
            batch = next(batches, None)


class _Maker:
    """Makes a column of a type out of texts."""

    def __init__(self, name: str, kind: Any, good: Callable[[Any], Any] | None) -> None:
        self.name = name
        self.type = kind
        self._good = good  # whether each text is one that the type was inferred for; None: the type was given

    def make(self, texts: Any, row: int) -> Any:
        if self.type == pa.string():
            return texts
        try:
            return self._cast(texts)
        except (pa.ArrowInvalid, DataError):
            bad = self._first_bad(texts, 0)
            value = texts[bad].as_py()
            shown = value if len(value) <= 40 else value[:40] + "..."
            raise DataError(
                f'row {row + bad}, column "{self.name}": "{shown}" is no {self.type}',
                row=row + bad,
                column=self.name,
                hint=f'give the type of the column: types {{"{self.name}": "Utf8"}}',
            ) from None
        except pa.ArrowNotImplementedError:
            raise NotSupportedError(f'column "{self.name}": a text of a CSV is not made a {self.type}') from None

    def _cast(self, texts: Any) -> Any:
        if self._good is not None and pc.all(self._good(texts)).as_py() is False:
            raise DataError("a text of another kind")
        made = cast_texts(texts, self.type)
        if pa.types.is_floating(self.type) and pc.any(pc.is_inf(made)).as_py():
            words = pc.match_substring_regex(texts, r"^[+-]?inf(inity)?$", ignore_case=True)
            if pc.all(pc.or_(pc.invert(pc.is_inf(made)), words)).as_py() is False:
                raise DataError("more than a float holds")
        return made

    def _first_bad(self, texts: Any, begin: int) -> int:
        """The first text that does not become a value, which one of them does not."""
        while len(texts) > 1:
            half = len(texts) // 2
            try:
                self._cast(texts.slice(0, half))
            except (pa.ArrowInvalid, DataError):
                texts = texts.slice(0, half)
            else:
                texts = texts.slice(half)
                begin += half
        return begin


def _matching(pattern: str) -> Callable[[Any], Any]:
    return lambda texts: pc.match_substring_regex(texts, pattern)


def _exact_floats(texts: Any) -> Any:
    """Which texts are numbers that Float64 holds digit for digit."""
    good = pc.match_substring_regex(texts, _FLOAT)
    if pc.all(good).as_py() is False:
        return good
    doubtful = pc.or_(
        pc.greater(pc.utf8_length(texts), _EXACT_DIGITS), pc.match_substring_regex(texts, "[eE]")
    ).to_pylist()
    if not any(doubtful):
        return good
    return pa.array(
        [
            None if text is None else not look or _holds(text)
            for text, look in zip(texts.to_pylist(), doubtful, strict=True)
        ],
        pa.bool_(),
    )


def _holds(text: str) -> bool:
    value = float(text)
    return value not in (float("inf"), float("-inf")) and Decimal(repr(value)) == Decimal(text)


_INFERRED: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (pa.bool_(), _matching(_BOOL)),
    (pa.int64(), _matching(_INT)),
    (pa.float64(), _exact_floats),
    (pa.date32(), _matching(_DATE)),
    (pa.timestamp("us"), _matching(_LOCAL)),
    (pa.timestamp("us", "UTC"), _matching(_UTC)),
)


def _maker(name: str, given: Any, head: Any, index: int, infer: bool) -> _Maker:
    if given is not None:
        return _Maker(name, given, None)
    texts = head.column(index) if head is not None else pa.nulls(0, pa.string())
    if infer and texts.null_count < len(texts):
        for kind, good in _INFERRED:
            maker = _Maker(name, kind, good)
            if pc.all(good(texts)).as_py():
                try:
                    maker.make(texts, 0)
                except DataError:  # a date that is none, an integer past 64 bits
                    continue
                return maker
    return _Maker(name, pa.string(), None)


# ---- out ----


class Writer:
    """Texts are quoted, nulls are nothing, so that both come back as they were. The first line has the names."""

    def __init__(self, schema: _native.Schema, sink: _native.FormatSink) -> None:
        self._schema = plain_schema(pa.schema(schema))
        for field in self._schema:
            kind = field.type
            if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                raise NotSupportedError(f'column "{field.name}": CSV holds no {kind}', hint='keep it as "arrow"')
        options = csv.WriteOptions(include_header=True, quoting_style="needed", quoting_header="needed")
        self._writer = csv.CSVWriter(pa.PythonFile(sink, mode="w"), self._schema, write_options=options)

    def write(self, batch: _native.Batch) -> None:
        self._writer.write_batch(plain_rows(batch, self._schema))

    def finish(self) -> None:
        self._writer.close()
