"""PACKED_BATCH -> Unischema: the one place where contracts meet petastorm.

NdarrayCodec only: one ScalarCodec field would put a pyspark class into the pickled schema and readers would need Spark.
"""

from __future__ import annotations

import numpy as np
from petastorm.codecs import NdarrayCodec
from petastorm.unischema import Unischema, UnischemaField

from schemas.packed_batch import PACKED_BATCH, Array


def _field(array: Array) -> UnischemaField:
    shape = tuple(1 if letter == "1" else None for letter in array.axes)
    return UnischemaField(array.name, np.dtype(array.dtype).type, shape, NdarrayCodec(), False)


def packed_batch_unischema() -> Unischema:
    """The schema that petastorm stores next to the batch files."""
    return Unischema("PACKED_BATCH", [_field(array) for array in PACKED_BATCH])
