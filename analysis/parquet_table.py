"""Read a table's Parquet file, after its footer has said how much that is.

A few kilobytes of equal rows unpack to gigabytes. So a file that is read whole may hold as many rows, values and bytes
as a large study has and memory bears, and a trial as many test images as any data set.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from analysis.schema import SchemaError

MOST_ROWS = 10_000_000  # 10,000 trials of 1,000 epochs
MOST_VALUES = 2**26  # 512 MiB as numbers: 10,000 trials of 200 epochs with 30 columns
MOST_BYTES = 2**30  # of a file unpacked, and of one column of text
MOST_IMAGES = 1_000_000  # that a trial was tested on


def read_table(file: Path) -> pd.DataFrame:
    """Read a table whole.

    Raises SchemaError for too much in it, and what pyarrow raises for a file that is damaged.
    """
    # Opened once: a run that goes on replaces the file, and a second look would see another one.
    with file.open("rb") as opened:
        parquet = pq.ParquetFile(opened)
        _check_footer(parquet.metadata)
        texts = [field.name for field in parquet.schema_arrow if _is_text(field.type)]
        opened.seek(0)
        # One text in every row is kept once by the file, and here until it is known how long it is.
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
    """Read the rows of a table in which `column` is `value`: the predictions of one trial. Raises as `read_table`."""
    with file.open("rb") as opened:
        fragment = ds.ParquetFileFormat().make_fragment(opened)
        rows = fragment.head(MOST_IMAGES + 1, filter=ds.field(column) == value)
    if len(rows) > MOST_IMAGES:
        raise SchemaError(f"holds more than {MOST_IMAGES:,} rows with {column} {value}")
    return rows.to_pandas()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_footer(footer: pq.FileMetaData) -> None:
    """Raises SchemaError for a file with too much in it.

    Asks of the file and its row groups alone: pyarrow 25 ends the process where a column's entry is damaged.
    """
    unpacked = sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
    rows = footer.num_rows
    for what, held, most in (
        ("rows", rows, MOST_ROWS),
        ("values", rows * footer.num_columns, MOST_VALUES),
        ("bytes", unpacked, MOST_BYTES),
    ):
        if held > most:
            raise SchemaError(f"holds {held:,} {what}, more than the {most:,} that are read")
