"""An array of a packed batch -> the bytes of its Parquet cell."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray


def npy_bytes(array: NDArray[np.generic]) -> bytes:
    """The bytes that NdarrayCodec stores: numpy's own .npy format, without pickles."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
