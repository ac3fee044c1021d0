"""Products of a symmetric matrix from its lower triangle alone: half the memory, read once.

Each element serves its row (a sum, in eight partial sums so that it vectorises without reordering a float sum) and its
column (an update). Used by value at risk and by the power iteration of the shock detector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel

FloatArray = NDArray[np.float64]


@kernel
def symmetric_product(matrix: FloatArray, x: FloatArray, product: FloatArray) -> float:
    """Fill ``product`` (n,) with matrix x and return x' matrix x, for a symmetric ``matrix`` (n, n) and ``x`` (n,)."""
    n = len(x)
    for i in range(n):
        product[i] = 0.0
    for i in range(n):
        here = x[i]
        a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = 0.0
        blocks = i - i % 8
        for j in range(0, blocks, 8):
            m0, m1, m2, m3 = matrix[i, j], matrix[i, j + 1], matrix[i, j + 2], matrix[i, j + 3]
            m4, m5, m6, m7 = matrix[i, j + 4], matrix[i, j + 5], matrix[i, j + 6], matrix[i, j + 7]
            a0 += m0 * x[j]
            a1 += m1 * x[j + 1]
            a2 += m2 * x[j + 2]
            a3 += m3 * x[j + 3]
            a4 += m4 * x[j + 4]
            a5 += m5 * x[j + 5]
            a6 += m6 * x[j + 6]
            a7 += m7 * x[j + 7]
            product[j] += m0 * here
            product[j + 1] += m1 * here
            product[j + 2] += m2 * here
            product[j + 3] += m3 * here
            product[j + 4] += m4 * here
            product[j + 5] += m5 * here
            product[j + 6] += m6 * here
            product[j + 7] += m7 * here
        total = ((a0 + a1) + (a2 + a3)) + ((a4 + a5) + (a6 + a7))
        for j in range(blocks, i):
            total += matrix[i, j] * x[j]
            product[j] += matrix[i, j] * here
        product[i] += total + matrix[i, i] * here
    value = 0.0
    for i in range(n):
        value += x[i] * product[i]
    return value


def symmetric_product_reference(matrix: FloatArray, x: FloatArray) -> tuple[FloatArray, float]:
    """The same with numpy, beside the kernel."""
    product = matrix @ x
    return product, float(x @ product)
