from __future__ import annotations

import numpy as np

from pipelines.packing.grouping import time_order


def test_earlier_comes_first_and_content_decides_between_equal_times() -> None:
    assert time_order(np.array([30, 10, 10, 20]), np.array([-5, 7, -7, 0])).tolist() == [2, 1, 3, 0]
