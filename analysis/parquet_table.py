"""Read a table's Parquet file, after its footer has shown that it is not too large.

A few kilobytes of equal rows unpack to gigabytes. So a file that is read whole may hold at most as many rows, values
and bytes as a large study has and memory bears, and a trial as many test images as any data set.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from analysis.schema import SchemaError

MOST_ROWS = 10_000_000  # rows of a file: 10,000 trials of 1,000 epochs
MOST_VALUES = 2**26  # values of a file, 512 MiB as numbers: 10,000 trials of 200 epochs with 30 columns
MOST_BYTES = 2**30  # bytes of a file unpacked, and of one column of text
MOST_IMAGES = 1_000_000  # images that a trial was tested on


def read_table(file: Path) -> pd.DataFrame:
    """Read a table whole.

    Raises SchemaError if the table is too large, and pyarrow's errors if the file is damaged.
    """
    # Opened once: a run that is still going replaces the file, and opening it again could give another one.
    with file.open("rb") as opened:
        parquet = pq.ParquetFile(opened)
        _check_footer(parquet.metadata)
        texts = [field.name for field in parquet.schema_arrow if _is_text(field.type)]
        opened.seek(0)
        # A text that every row repeats is stored once in the file, and in memory too until its length is known.
        table = pq.read_table(opened, read_dictionary=texts)
    for name in texts:
        place = table.schema.get_field_index(name)
        column = table.column(place)
        longest = max([pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in column.chunks], default=0)
        if longest * len(column) > MOST_BYTES:
            raise SchemaError(f"holds up to {longest:,} bytes of text in each of {len(column):,} rows of {name}")
        table = table.set_column(place, name, column.cast(column.type.value_type))
    return table.to_pandas()


def read_rows(file: Path, column: str, value: int) -> pd.DataFrame:
    """Read the rows of a table in which `column` is `value`: the predictions of one trial. Raises like `read_table`."""
    with file.open("rb") as opened:
        fragment = ds.ParquetFileFormat().make_fragment(opened)
        rows = fragment.head(MOST_IMAGES + 1, filter=ds.field(column) == value)
    if len(rows) > MOST_IMAGES:
        raise SchemaError(f"holds more than {MOST_IMAGES:,} rows with {column} {value}")
    return rows.to_pandas()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_footer(footer: pq.FileMetaData) -> None:
    """Raise SchemaError if a file is too large.

    Only the file's and its row groups' entries are read: pyarrow 25 ends the process if a column's entry is damaged.
    """
    unpacked = sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
    rows = footer.num_rows
    for what, held, most in (
        ("rows", rows, MOST_ROWS),
        ("values", rows * footer.num_columns, MOST_VALUES),
        ("bytes", unpacked, MOST_BYTES),
    ):
        if held > most:
            raise SchemaError(f"must hold at most {most:,} {what}, got {held:,}")
