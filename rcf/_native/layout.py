"""The structs of tree.h as NumPy dtypes; views.pxd makes arrays of the memory of a tree with them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CUT = np.dtype([("child", np.int32, 2), ("value", np.float32), ("dim", np.int32)])
NODE = np.dtype([("range", np.float64), ("mass", np.int32), ("parent", np.int32)])
LEAF = np.dtype([("mass", np.int32), ("parent", np.int32)])
SHORT_NODE = np.dtype(
    [("value", np.float32), ("child", np.int16, 2), *((name, np.int16) for name in ("dim", "box", "mass", "parent"))]
)
SHORT_LEAF = np.dtype([("mass", np.int16), ("parent", np.int16)])


def as_wide(narrow: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any]:
    """Convert structs of the compact layout to those of the wide layout. Fields that only the latter have are 0."""
    wide = np.zeros(len(narrow), dtype=kind)
    for name in kind.names or ():
        if name in (narrow.dtype.names or ()):
            wide[name] = narrow[name]
    return wide
