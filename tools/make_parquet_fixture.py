"""Writes a Parquet file with columns of the types that pyarrow and the parquet crate do not read alike.

    make_parquet_fixture.py tests/golden/parquet/types.parquet

Needs pyarrow.
"""

import datetime
import decimal
import sys

import pyarrow
import pyarrow.parquet

DAYS = [datetime.date(2024, 2, 29), None, datetime.date(1969, 12, 31)]
MOMENTS = [datetime.datetime(2024, 2, 29, 12, 30, 15), None, datetime.datetime(1969, 12, 31)]
PRICES = [decimal.Decimal("1.10"), None, decimal.Decimal("-0.05")]


def encoded(values: list, data_type: pyarrow.DataType, index: pyarrow.DataType) -> pyarrow.DictionaryArray:
    array = pyarrow.array(values, data_type).dictionary_encode()
    return pyarrow.DictionaryArray.from_arrays(array.indices.cast(index), array.dictionary)


zoned = pyarrow.timestamp("s", "Europe/Paris")
columns = {
    "zoned seconds": pyarrow.array(MOMENTS, zoned),
    "nested zones": pyarrow.array([{"a": [moment]} for moment in MOMENTS], pyarrow.struct({"a": pyarrow.list_(zoned)})),
    "milliseconds of days": pyarrow.array(DAYS, pyarrow.date64()),
    "seconds of a day": pyarrow.array([datetime.time(1, 2, 3), None, datetime.time(0)], pyarrow.time32("s")),
    "dictionary of prices": encoded(PRICES, pyarrow.decimal128(10, 2), pyarrow.int32()),
    "dictionary of numbers": encoded([7, None, 7], pyarrow.int64(), pyarrow.int8()),
    "dictionary of texts": encoded(["a", None, "b"], pyarrow.string(), pyarrow.int16()),
    "large prices": pyarrow.array(PRICES, pyarrow.decimal256(50, 2)),
    "map of numbers": pyarrow.array([[(1, "a"), (2, None)], None, []], pyarrow.map_(pyarrow.int32(), pyarrow.string())),
    "pairs": pyarrow.array([[1, 2], None, [3, None]], pyarrow.list_(pyarrow.int64(), 2)),
    "views": pyarrow.array(["a text that is longer than twelve bytes", None, ""], pyarrow.string_view()),
    "never null": pyarrow.array([1, 2, 3], pyarrow.int8()),
}
fields = [pyarrow.field(name, array.type, nullable=name != "never null") for name, array in columns.items()]
table = pyarrow.Table.from_arrays(list(columns.values()), schema=pyarrow.schema(fields))
pyarrow.parquet.write_table(table, sys.argv[1], compression="none")
