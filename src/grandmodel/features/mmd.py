"""Maximum mean discrepancy (MMD): are the latest returns drawn from the same distribution as the ones before them?

The unbiased squared MMD between X, the last m = 48 values, and Y, the n = 480 before them (Gretton and others, 2012,
"A Kernel Two-Sample Test", equation 3):

    sum over i != j of k(x_i, x_j) / (m (m - 1))  +  the same of Y  -  2 * mean over i, j of k(x_i, y_j)

with k(a, b) = exp(-(a - b)^2 / (2 s^2)) and s the **median** of |a - b| over all pairs of different members of X and Y
together, 139,128 pairs, numpy's median. Standardising all values by one mean and one deviation changes nothing: s
scales along. The score is near 0 while nothing changes (it may fall below), and NaN where s is 0 (more than two thirds
of the returns are the same number).

Taken literally that is 139,128 exponentials and a selection among as many numbers at each bar, some milliseconds.
Two facts make it microseconds:

- **The sums are products.** The Gaussian is its own Fourier transform, so k(a, b) is a short sum of
  weight * cos(f h (a - b)) over f = 0, 1, 2 ..., and the double sums become squares: |sum over i of exp(i f h x_i)|^2. The sum over
  frequencies is the trapezoid rule, which for a Gaussian hardly errs: with the step h = 2 pi / (range + 7.8 s) and frequencies up
  to 7.8 / s, k is right to 1e-13. The step and the sums of phasors are kept; per bar one value leaves, one moves and
  one enters, and the bandwidth enters through the weights alone. The grid of frequencies has room for change and is made anew
  when range or bandwidth outgrow it, or after 480 bars. A window with values so far out that it would need more than 256
  frequencies is summed afresh, with gaps wider than 7.8 s shortened to that, which changes no k by more than 1e-13.
- **The median is almost known.** The values are kept sorted, so the pairs closer than any bound are counted in one pass. The
  new median lies in a narrow bracket around the last, whose few hundred pairs are selected from. The result is exact.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from grandmodel.features.arrays import Floats, as_series, check_period, unknown
from grandmodel.features.order_statistics import insert_sorted, replace_sorted, select_smallest
from grandmodel.kernels import kernel

MMD_RECENT = 48
MMD_EARLIER = 480
# Beyond this many bandwidths the kernel is below 1e-13: nothing, beside the 1 of equal values.
FAR = 7.8
# The frequencies end where their weight has fallen as far.
LAST_FREQUENCY = 7.8
# Between two stretches of scratch room: at a distance of about 4,096 bytes a processor mistakes one for the other.
STAGGER = 72
# At most this many pairs of the bracket are selected from.
BRACKET_PAIRS = 4096
# Values compared side by side; behind a sorted stretch stand as many infinities, so that none needs a bound of its own.
LANES = 4
# ... and so many are aimed at: a wider bracket is hit more often, a narrower one is sooner sorted out.
AIMED_PAIRS = 400
# After so many cuts by proportion a bracket is halved instead; the pairs must be lumped.
PROPORTIONAL_CUTS = 8
# A grid of frequencies is made this much finer, and reaches this much farther, than the window needs at the time.
ROOM_TO_CHANGE = 1.25
# It is made anew after so many changes, which bounds the rounding that adding and taking away leaves behind.
REBUILD_AFTER = 480
# Windows that need more frequencies than this are summed afresh at each bar.
GRID_FREQUENCIES = 256
# Slots: recent values, earlier values, values seen (at most both), place in the ring, the last bandwidth, then the ring
# (kept twice, so that every window is one stretch), the sorted window with its infinities, and the grid.
MMD_HEADER = 5
# Slots of the grid: frequencies in use (0: none), step, origin, changes since it was made, then per frequency the sums of the
# cosines and sines of the recent values and of the earlier ones.
GRID_HEADER = 4
GRID_SLOTS = GRID_HEADER + 4 * GRID_FREQUENCIES


def mmd(values: npt.ArrayLike, recent: int = MMD_RECENT, earlier: int = MMD_EARLIER) -> Floats:
    """Unbiased squared MMD of the last ``recent`` values against the ``earlier`` before them, shape (T,), no unit.

    Warm-up: ``recent + earlier - 1`` values; a NaN is a hole, after which as many are needed anew.
    """
    series = as_series(values)
    state = mmd_state(check_period(recent, "recent", least=2), check_period(earlier, "earlier", least=2))
    out = unknown(len(series))
    _mmd_batch(series, state, mmd_work(recent, earlier), out)
    return out


def mmd_state(recent: int = MMD_RECENT, earlier: int = MMD_EARLIER) -> Floats:
    """A fresh MMD: three slots per value of the window, and the grid."""
    state = np.zeros(MMD_HEADER + 3 * (recent + earlier) + LANES + GRID_SLOTS)
    state[-GRID_SLOTS - LANES : -GRID_SLOTS] = np.inf
    state[0] = recent
    state[1] = earlier
    return state


def mmd_work(recent: int = MMD_RECENT, earlier: int = MMD_EARLIER) -> Floats:
    """Scratch room for ``mmd_update``. Nothing in it outlives a call, so it is no part of the state."""
    return np.zeros(max(2 * (BRACKET_PAIRS + LANES), 5 * (recent + earlier + STAGGER)))


@kernel
def mmd_update(state: Floats, at: int, work: Floats, value: float) -> float:
    """Take in the next value; the score, NaN while the window fills."""
    recent = int(state[at])
    earlier = int(state[at + 1])
    size = recent + earlier
    ring = at + MMD_HEADER
    ordered = ring + 2 * size
    grid = ordered + size + LANES
    if math.isnan(value):
        state[at + 2] = 0.0
        state[at + 3] = 0.0
        state[grid] = 0.0
        return math.nan
    seen = int(state[at + 2])
    place = int(state[at + 3])
    if seen == size:
        leaves: float = state[ring + place]
        moves: float = state[ring + place + earlier]  # the oldest recent value becomes the newest earlier one
        replace_sorted(state, ordered, size, leaves, value)
        if state[grid] > 0.0:
            _exchange(state, grid, leaves, moves, value)
    else:
        insert_sorted(state, ordered, seen, value)
        seen += 1
        state[at + 2] = seen
    state[ring + place] = value
    state[ring + size + place] = value
    place += 1
    state[at + 3] = 0 if place == size else place
    if seen < size:
        return math.nan
    bandwidth = median_distance(state, ordered, size, state[at + 4], work)
    state[at + 4] = bandwidth
    if not bandwidth > 0.0:
        return math.nan
    reach: float = state[ordered + size - 1] - state[ordered]
    if not _grid_serves(state, grid, reach, bandwidth):
        # Some room, so that the next changes of range and bandwidth find it still good.
        step = 2.0 * math.pi / (ROOM_TO_CHANGE * (reach + FAR * bandwidth))
        frequencies = int(ROOM_TO_CHANGE * LAST_FREQUENCY / (step * bandwidth)) + 1
        if frequencies > GRID_FREQUENCIES:
            state[grid] = 0.0
            return _score_afresh(state, ring + place, ordered, earlier, recent, bandwidth, work)
        middle = 0.5 * (state[ordered + size - 1] + state[ordered])
        _build_grid(state, grid, ring + place, earlier, recent, step, frequencies, middle, work)
    return _score_from_grid(state, grid, earlier, recent, bandwidth)


@kernel
def _grid_serves(state: Floats, grid: int, reach: float, bandwidth: float) -> bool:
    """Whether the sums at hand are fine and far enough for this range and bandwidth, and not too old."""
    frequencies: float = state[grid]
    step: float = state[grid + 1]
    if frequencies == 0.0 or state[grid + 3] >= REBUILD_AFTER:
        return False
    return (reach + FAR * bandwidth) * step <= 2.0 * math.pi and frequencies * step * bandwidth >= LAST_FREQUENCY


@kernel
def _exchange(state: Floats, grid: int, leaves: float, moves: float, enters: float) -> None:
    """One value leaves the earlier ones, one moves from the recent to the earlier ones, one enters the recent ones."""
    frequencies = int(state[grid])
    step: float = state[grid + 1]
    origin: float = state[grid + 2]
    state[grid + 3] += 1.0
    out_c, out_s = math.cos(step * (leaves - origin)), math.sin(step * (leaves - origin))
    mid_c, mid_s = math.cos(step * (moves - origin)), math.sin(step * (moves - origin))
    new_c, new_s = math.cos(step * (enters - origin)), math.sin(step * (enters - origin))
    oc, os, mc, ms, nc, ns = out_c, out_s, mid_c, mid_s, new_c, new_s
    sums = grid + GRID_HEADER
    for f in range(frequencies):
        state[sums + 4 * f] += nc - mc
        state[sums + 4 * f + 1] += ns - ms
        state[sums + 4 * f + 2] += mc - oc
        state[sums + 4 * f + 3] += ms - os
        oc, os = oc * out_c - os * out_s, oc * out_s + os * out_c
        mc, ms = mc * mid_c - ms * mid_s, mc * mid_s + ms * mid_c
        nc, ns = nc * new_c - ns * new_s, nc * new_s + ns * new_c


@kernel
def _build_grid(
    state: Floats,
    grid: int,
    window: int,
    earlier: int,
    recent: int,
    step: float,
    frequencies: int,
    origin: float,
    work: Floats,
) -> None:
    """The phasor sums of the whole window, oldest value first, from nothing."""
    size = earlier + recent
    room = size + STAGGER
    turn_real, turn_imag = work[:size], work[room : room + size]
    real, imag = work[2 * room : 2 * room + size], work[3 * room : 3 * room + size]
    fold = work[4 * room : 5 * room]
    for j in range(size):
        turn_real[j] = state[window + j] - origin
    _phasors(turn_real, turn_imag, step)
    for j in range(size):
        real[j] = turn_real[j]
        imag[j] = turn_imag[j]
    state[grid] = frequencies
    state[grid + 1] = step
    state[grid + 2] = origin
    state[grid + 3] = 0.0
    sums = grid + GRID_HEADER
    for f in range(frequencies):
        state[sums + 4 * f] = _sum_in_eighths(real[earlier:], fold)
        state[sums + 4 * f + 1] = _sum_in_eighths(imag[earlier:], fold)
        state[sums + 4 * f + 2] = _sum_in_eighths(real[:earlier], fold)
        state[sums + 4 * f + 3] = _sum_in_eighths(imag[:earlier], fold)
        _turn(real, imag, turn_real, turn_imag)


@kernel
def _score_from_grid(state: Floats, grid: int, earlier: int, recent: int, bandwidth: float) -> float:
    """The unbiased squared MMD from the phasor sums."""
    step = state[grid + 1] * bandwidth
    base = step / math.sqrt(2.0 * math.pi)
    # At frequency 0 every phasor is 1.
    sum_xx = base * recent * recent
    sum_yy = base * earlier * earlier
    sum_xy = base * recent * earlier
    sums = grid + GRID_HEADER
    for f in range(min(int(state[grid]), int(LAST_FREQUENCY / step) + 1)):
        omega = (f + 1) * step
        weight = 2.0 * base * math.exp(-0.5 * omega * omega)
        x_real: float = state[sums + 4 * f]
        x_imag: float = state[sums + 4 * f + 1]
        y_real: float = state[sums + 4 * f + 2]
        y_imag: float = state[sums + 4 * f + 3]
        sum_xx += weight * (x_real * x_real + x_imag * x_imag)
        sum_yy += weight * (y_real * y_real + y_imag * y_imag)
        sum_xy += weight * (x_real * y_real + x_imag * y_imag)
    return _unbiased(sum_xx, sum_yy, sum_xy, float(recent), float(earlier))


@kernel
def _unbiased(sum_xx: float, sum_yy: float, sum_xy: float, m: float, n: float) -> float:
    """The estimator from the sums over all pairs; each value paired with itself counts 1 in the first two."""
    return (sum_xx - m) / (m * (m - 1.0)) + (sum_yy - n) / (n * (n - 1.0)) - 2.0 * sum_xy / (m * n)


@kernel
def median_distance(ordered: Floats, at: int, size: int, guess: float, work: Floats) -> float:
    """The median of the distances between any two of ``size`` sorted values that begin at ``at``.

    Behind them stand ``LANES`` infinities. ``guess`` only says where to look first; ``work`` is that of ``mmd_work``.
    """
    pairs = size * (size - 1) // 2
    # Ranks count from 0. For an even number of pairs the median is the mean of two neighbours.
    upper_rank = pairs // 2
    lower_rank = upper_rank - 1 + pairs % 2
    # No more than lower_rank distances are <= low, more than upper_rank are <= high: both ranks lie between.
    low = -1.0
    low_count = 0
    high: float = ordered[at + size - 1] - ordered[at]
    high_count = pairs
    # Near the median of most distributions 0.4 of all pairs lie in a bracket as wide as the median itself.
    half_width = guess * AIMED_PAIRS / (0.8 * pairs)
    left = guess - half_width
    right = guess + half_width
    cuts = 0
    while high_count - low_count > BRACKET_PAIRS:
        floor = max(low, 0.0)
        if not (low < left < high and low < right < high and left < right):
            middle = 0.5 * (floor + high)
            if not floor < middle < high:
                return high  # nothing fits between: all that are left are equal
            left = middle
            right = middle
        left_count, right_count = _count_pairs(ordered, at, size, left, right, work)
        for bound, count in ((left, left_count), (right, right_count)):
            if count <= lower_rank:
                if bound > low:
                    low = bound
                    low_count = count
            elif count > upper_rank:
                if bound < high:
                    high = bound
                    high_count = count
            else:
                return _mean_of_neighbours(ordered, at, size, bound)
        if low == left and high == right and high_count - low_count <= BRACKET_PAIRS:
            return _select_median(
                work, high_count - low_count, lower_rank - low_count, upper_rank - low_count, max(low, 0.0), high
            )
        cuts += 1
        floor = max(low, 0.0)
        if cuts <= PROPORTIONAL_CUTS:
            # As if the pairs lay evenly in the bracket.
            per_pair = (high - floor) / (high_count - low_count)
            middle = floor + per_pair * (upper_rank - low_count)
            left = middle - 0.5 * AIMED_PAIRS * per_pair
            right = middle + 0.5 * AIMED_PAIRS * per_pair
            if left <= low and right < high:
                left = 0.5 * (floor + right)
            elif right >= high and left > low:
                right = 0.5 * (left + high)
        else:
            left = -1.0
    _count_pairs(ordered, at, size, low, high, work)
    return _select_median(
        work, high_count - low_count, lower_rank - low_count, upper_rank - low_count, max(low, 0.0), high
    )


@kernel
def _count_pairs(ordered: Floats, at: int, size: int, left: float, right: float, work: Floats) -> tuple[int, int]:
    """How many distances are <= left and how many <= right; those between go to ``work``, as far as there is room.

    Four values are compared at a time and their answers added: which of them is the first beyond a bound cannot be
    guessed, and a branch on it would be guessed wrong half of the time.
    """
    left_count = 0
    gathered = 0
    a = at
    for i in range(at, at + size):
        value: float = ordered[i]
        a = max(a, i + 1)
        step = LANES
        while step == LANES:
            step = (
                int(ordered[a] - value <= left)
                + int(ordered[a + 1] - value <= left)
                + int(ordered[a + 2] - value <= left)
                + int(ordered[a + 3] - value <= left)
            )
            a += step
        left_count += a - i - 1
        b = a
        step = LANES
        while step == LANES:
            d0, d1, d2, d3 = ordered[b] - value, ordered[b + 1] - value, ordered[b + 2] - value, ordered[b + 3] - value
            # All four are written; what is too far is written over by the next. Beyond the room only the count matters.
            place = min(gathered, BRACKET_PAIRS)
            work[place] = d0
            work[place + 1] = d1
            work[place + 2] = d2
            work[place + 3] = d3
            step = int(d0 <= right) + int(d1 <= right) + int(d2 <= right) + int(d3 <= right)
            b += step
            gathered += step
    return left_count, left_count + gathered


@kernel
def _select_median(work: Floats, size: int, lower_rank: int, upper_rank: int, left: float, right: float) -> float:
    """The mean of the values of two ranks that are equal or neighbours, among the first ``size`` values of ``work``.

    The values lie between ``left`` and ``right``, and nearly evenly. So those around the place where the ranks should be are
    taken out first; where the ranks are not among them after all, selection is from all.
    """
    values = work
    per_value = (right - left) / size
    middle = left + per_value * (upper_rank + 0.5)
    around = per_value * (1.5 * math.sqrt(size) + 4.0)
    near = work[BRACKET_PAIRS + LANES :]
    below = 0
    kept = 0
    for j in range(size):
        value = work[j]
        near[kept] = value
        kept += int(abs(value - middle) <= around)
        below += int(value < middle - around)
    if below <= lower_rank and below + kept > upper_rank:
        values = near
        size = kept
        lower_rank -= below
        upper_rank -= below
    upper: float = select_smallest(values, 0, size, upper_rank)
    if lower_rank == upper_rank:
        return upper
    # Nothing before the rank is greater, so its neighbour is the greatest of those.
    lower: float = values[0]
    for j in range(1, upper_rank):
        lower = max(lower, values[j])
    return 0.5 * (lower + upper)


@kernel
def _mean_of_neighbours(ordered: Floats, at: int, size: int, bound: float) -> float:
    """The mean of the greatest distance <= bound and the smallest above it."""
    below = 0.0
    above = math.inf
    end = at + size
    j = at
    for i in range(at, end):
        j = max(j, i + 1)
        while j < end and ordered[j] - ordered[i] <= bound:
            j += 1
        if j > i + 1:
            below = max(below, ordered[j - 1] - ordered[i])
        if j < end:
            above = min(above, ordered[j] - ordered[i])
    return 0.5 * (below + above)


@kernel
def _score_afresh(
    state: Floats, window: int, ordered: int, earlier: int, recent: int, bandwidth: float, work: Floats
) -> float:
    """The same without sums at hand, for windows with values so far out that a grid would need too many frequencies."""
    size = earlier + recent
    room = size + STAGGER
    turn_real, turn_imag = work[:size], work[room : room + size]
    real, imag = work[2 * room : 2 * room + size], work[3 * room : 3 * room + size]
    fold = work[4 * room : 5 * room]
    reach = _place_values(state, window, ordered, size, bandwidth, turn_real)
    step = 2.0 * math.pi / (reach + FAR)
    _phasors(turn_real, turn_imag, step)
    for j in range(size):
        real[j] = turn_real[j]
        imag[j] = turn_imag[j]
    # At frequency 0 every phasor is 1.
    base = step / math.sqrt(2.0 * math.pi)
    sum_xx = base * recent * recent
    sum_yy = base * earlier * earlier
    sum_xy = base * recent * earlier
    for f in range(1, int(LAST_FREQUENCY / step) + 2):
        y_real = _sum_in_eighths(real[:earlier], fold)
        x_real = _sum_in_eighths(real[earlier:], fold)
        y_imag = _sum_in_eighths(imag[:earlier], fold)
        x_imag = _sum_in_eighths(imag[earlier:], fold)
        omega = f * step
        weight = 2.0 * base * math.exp(-0.5 * omega * omega)
        sum_xx += weight * (x_real * x_real + x_imag * x_imag)
        sum_yy += weight * (y_real * y_real + y_imag * y_imag)
        sum_xy += weight * (x_real * y_real + x_imag * y_imag)
        _turn(real, imag, turn_real, turn_imag)
    return _unbiased(sum_xx, sum_yy, sum_xy, float(recent), float(earlier))


@kernel
def _place_values(state: Floats, window: int, ordered: int, size: int, bandwidth: float, placed: Floats) -> float:
    """Write the window in bandwidths, from the middle of its range, to ``placed``, far gaps shortened; returns the range."""
    origin: float = state[ordered + size // 2]
    scale = 1.0 / bandwidth
    for j in range(size):
        placed[j] = (state[window + j] - origin) * scale
    lowest: float = (state[ordered] - origin) * scale
    highest: float = (state[ordered + size - 1] - origin) * scale
    if highest - lowest > 2.0 * FAR:
        for j in range(ordered, ordered + size - 1):
            excess: float = (state[j + 1] - state[j]) * scale - FAR
            if excess > 0.0:
                # All that lies beyond the gap, seen from the origin, moves in.
                if state[j + 1] > origin:
                    highest -= excess
                    for i in range(size):
                        if state[window + i] > state[j]:
                            placed[i] -= excess
                else:
                    lowest += excess
                    for i in range(size):
                        if state[window + i] <= state[j]:
                            placed[i] += excess
    middle = 0.5 * (lowest + highest)
    for j in range(size):
        placed[j] -= middle
    return highest - lowest


@kernel
def _phasors(values: Floats, imag: Floats, step: float) -> None:
    """exp(i * step * value): the real part takes the values' place, the imaginary part goes to ``imag``.

    The angles are within [-pi, pi]. An eighth of one is within 0.4, where few terms of the series suffice; three
    doublings lead back. Unlike calls of sin and cos, this is done for eight values at once.
    """
    for j in range(len(values)):
        x = values[j] * step * 0.125
        q = x * x
        sine = x * (
            1.0
            + q * (-1 / 6 + q * (1 / 120 + q * (-1 / 5040 + q * (1 / 362880 + q * (-1 / 39916800 + q / 6227020800)))))
        )
        cosine = 1.0 + q * (
            -1 / 2
            + q
            * (1 / 24 + q * (-1 / 720 + q * (1 / 40320 + q * (-1 / 3628800 + q * (1 / 479001600 - q / 87178291200)))))
        )
        sine, cosine = 2.0 * sine * cosine, cosine * cosine - sine * sine
        sine, cosine = 2.0 * sine * cosine, cosine * cosine - sine * sine
        imag[j] = 2.0 * sine * cosine
        values[j] = cosine * cosine - sine * sine


@kernel
def _turn(real: Floats, imag: Floats, turn_real: Floats, turn_imag: Floats) -> None:
    """Multiply each phasor by its own turn."""
    for j in range(len(real)):
        a = real[j]
        b = imag[j]
        real[j] = a * turn_real[j] - b * turn_imag[j]
        imag[j] = a * turn_imag[j] + b * turn_real[j]


@kernel
def _sum_in_eighths(values: Floats, fold: Floats) -> float:
    """The sum of the values: eighths are added to one another, then eighths of that; such additions run side by side."""
    total = 0.0
    source = values
    while True:
        part = len(source) // 8
        for j in range(8 * part, len(source)):
            total += source[j]
        if part < 4:
            break
        b, c, d, e = source[part:], source[2 * part :], source[3 * part :], source[4 * part :]
        f, g, h = source[5 * part :], source[6 * part :], source[7 * part :]
        for j in range(part):
            fold[j] = ((source[j] + b[j]) + (c[j] + d[j])) + ((e[j] + f[j]) + (g[j] + h[j]))
        source = fold[:part]
    s0, s1, s2, s3 = total, 0.0, 0.0, 0.0
    for j in range(0, 8 * part, 4):
        s0 += source[j]
        s1 += source[j + 1]
        s2 += source[j + 2]
        s3 += source[j + 3]
    return (s0 + s1) + (s2 + s3)


@kernel
def _mmd_batch(values: Floats, state: Floats, work: Floats, out: Floats) -> None:
    for t in range(len(values)):
        out[t] = mmd_update(state, 0, work, values[t])
