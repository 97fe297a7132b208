"""Converts the CSV of Postgres' COPY to Parquet, as a stream."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.csv as arrow_csv
from pyarrow import parquet

BLOCK_BYTES = 1024 * 1024  # Arrow reads up to 32 blocks ahead
GROUP_BYTES = 4 * 1024 * 1024
"""Of a row group, before compression. While it is written, a value of a stage array takes a dozen times its byte."""

_TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "boolean": pa.bool_(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "numeric": pa.float64(),
    "double precision": pa.float64(),
    "date": pa.date32(),
    "time without time zone": pa.time64("us"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "timestamp without time zone": pa.timestamp("us"),
    "smallint[]": pa.list_(pa.int8()),
    "text[]": pa.list_(pa.string()),
    "timestamp with time zone[]": pa.list_(pa.timestamp("us", "UTC")),
}


def schema_of(types: Mapping[str, str]) -> pa.Schema:
    """The columns of a Parquet file, by name and Postgres' name of the type; a list is JSON in the CSV file."""
    return pa.schema([(name, _TYPES.get(kind, pa.string())) for name, kind in types.items()])


def write_parquet(csv: Path, target: Path, schema: pa.Schema) -> int:
    """Convert a CSV file that COPY wrote.

    Args:
        csv: with a header line; NULL is an empty field without quotes, a list is JSON.
        target: zstd-compressed Parquet; replaced when it exists.
        schema: of the file, see `schema_of`.

    Returns:
        Number of rows.
    """
    rows, waiting = 0, list[pa.RecordBatch]()
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in _batches(csv, schema):
            waiting.append(_with_lists(batch, schema))
            rows += batch.num_rows
            if sum(each.nbytes for each in waiting) >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(waiting))
                waiting.clear()
        writer.write_table(pa.Table.from_batches(waiting, schema))
    return rows


def _batches(csv: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if csv.stat().st_size <= len(",".join(schema.names)) + 1:
        return
    reader = arrow_csv.open_csv(
        csv,
        read_options=arrow_csv.ReadOptions(block_size=BLOCK_BYTES),
        parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            column_types={each.name: pa.string() if pa.types.is_list(each.type) else each.type for each in schema},
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )
    with reader:
        yield from reader


def _with_lists(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        _list_of(values, each.type) if pa.types.is_list(each.type) else values
        for each, values in zip(schema, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _list_of(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """A JSON array in each value, as a list."""
    parsed = [None if value is None else orjson.loads(value) for value in values.to_pylist()]
    if pa.types.is_timestamp(kind.value_type):
        return pa.array(parsed, pa.list_(pa.string())).cast(kind)
    return pa.array(parsed, kind)
