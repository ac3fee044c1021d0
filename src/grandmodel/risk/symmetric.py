"""The product of a symmetric matrix and a vector, and the quadratic form, without BLAS.

Half of a symmetric matrix is read: a number below the diagonal serves both its row and its column while it is in a register, eight
rows at a time. From a hundred instruments on the matrix is what the time goes into, not the sums, so half the numbers are half the
time. Every sum has its own fixed order of ``fma``, so the digits are the same on every machine, and no second thread is needed:
where cores are shared, those of BLAS wait for each other and take milliseconds.
Used by value at risk and by the power iteration of the shock detector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from grandmodel.kernels import kernel
from grandmodel.vectors import DOUBLES, filled, fma, load, splat, store, sum_of_lanes

FloatArray = NDArray[np.float64]


@kernel
def symmetric_product(matrix: FloatArray, x: FloatArray, product: FloatArray) -> float:
    """Fill ``product`` (n,) with matrix x and return x' matrix x, for a symmetric ``matrix`` (n, n) and ``x`` (n,), all in C order.

    What stands above the diagonal, but for blocks of eight on it, is not looked at.
    """
    n = len(x)
    whole = n - n % DOUBLES
    for j in range(n):
        product[j] = 0.0
    for i in range(0, whole, DOUBLES):
        row0, row1, row2, row3 = i * n, (i + 1) * n, (i + 2) * n, (i + 3) * n
        row4, row5, row6, row7 = (i + 4) * n, (i + 5) * n, (i + 6) * n, (i + 7) * n
        x0, x1, x2, x3 = splat(x, i), splat(x, i + 1), splat(x, i + 2), splat(x, i + 3)
        x4, x5, x6, x7 = splat(x, i + 4), splat(x, i + 5), splat(x, i + 6), splat(x, i + 7)
        sum0, sum1, sum2, sum3 = filled(0.0), filled(0.0), filled(0.0), filled(0.0)
        sum4, sum5, sum6, sum7 = filled(0.0), filled(0.0), filled(0.0), filled(0.0)
        for j in range(0, i, DOUBLES):
            here = load(x, j)
            m0, m1, m2, m3 = (
                load(matrix, row0 + j),
                load(matrix, row1 + j),
                load(matrix, row2 + j),
                load(matrix, row3 + j),
            )
            low = fma(m3, x3, fma(m2, x2, fma(m1, x1, fma(m0, x0, load(product, j)))))
            sum0, sum1, sum2, sum3 = fma(m0, here, sum0), fma(m1, here, sum1), fma(m2, here, sum2), fma(m3, here, sum3)
            m4, m5, m6, m7 = (
                load(matrix, row4 + j),
                load(matrix, row5 + j),
                load(matrix, row6 + j),
                load(matrix, row7 + j),
            )
            store(product, j, fma(m7, x7, fma(m6, x6, fma(m5, x5, fma(m4, x4, low)))))
            sum4, sum5, sum6, sum7 = fma(m4, here, sum4), fma(m5, here, sum5), fma(m6, here, sum6), fma(m7, here, sum7)
        # The block on the diagonal is read whole.
        here = load(x, i)
        product[i] = sum_of_lanes(fma(load(matrix, row0 + i), here, sum0))
        product[i + 1] = sum_of_lanes(fma(load(matrix, row1 + i), here, sum1))
        product[i + 2] = sum_of_lanes(fma(load(matrix, row2 + i), here, sum2))
        product[i + 3] = sum_of_lanes(fma(load(matrix, row3 + i), here, sum3))
        product[i + 4] = sum_of_lanes(fma(load(matrix, row4 + i), here, sum4))
        product[i + 5] = sum_of_lanes(fma(load(matrix, row5 + i), here, sum5))
        product[i + 6] = sum_of_lanes(fma(load(matrix, row6 + i), here, sum6))
        product[i + 7] = sum_of_lanes(fma(load(matrix, row7 + i), here, sum7))
    for i in range(whole, n):
        here, total = x[i], 0.0
        for j in range(i):
            product[j] += matrix[i, j] * here
            total += matrix[i, j] * x[j]
        product[i] = total + matrix[i, i] * here
    value = 0.0
    for j in range(n):
        value += x[j] * product[j]
    return value
