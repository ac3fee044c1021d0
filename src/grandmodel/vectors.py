"""Vectors as values inside kernels: sixteen float32 or eight float64 at a time, added and multiplied lane by lane.

LLVM turns a plain loop into vector instructions where it can see that nothing changes, and sums nothing in another order; so a
product of matrices written as loops keeps its sums in memory. Here a kernel holds them in registers and says itself what is added
to what, in which order:

    sums = load(bias, j)                                     # lanes j ... j + 15
    for i in range(inputs):
        sums = fma(splat(x, i), load(weight, i * outputs + j), sums)
    store(out, j, positive(sums))

``fma`` rounds once, as IEEE 754 defines it, on every machine: in hardware or, where a processor has no such instruction or shorter
vectors, in several. So a kernel gives the same digits everywhere. It is not fast-math: nothing is reordered, NaN stays NaN.

A vector that lies across two cache lines costs twice: scratch and weights are ``aligned`` arrays, and begin at whole vectors in them.

``at`` counts numbers from the first of an array that lies in one piece (C order), whatever its shape. **Nothing is checked**: a
vector reads and writes all its lanes, so arrays are as long as a whole number of vectors. Only kernels can call these functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model
from numpy.typing import NDArray

LANES = 16
"""float32 (or uint32) in a vector."""
DOUBLES = 8
"""float64 in a vector."""

_LINE = 64
_I32 = ir.IntType(32)
_LLVM: dict[Any, Any] = {types.float32: ir.FloatType(), types.float64: ir.DoubleType(), types.uint32: _I32}


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An array of zeros that begins at a cache line, as vectors do best."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    made = np.zeros(size + _LINE, np.uint8)
    begin = -made.ctypes.data % _LINE
    part: NDArray[Any] = made[begin : begin + size].view(dtype).reshape(shape)
    return part


class Vector(types.Type):  # type: ignore[misc]  # numba publishes no types
    """The type of a vector, for the compiler."""

    def __init__(self, element: Any, lanes: int) -> None:
        self.element, self.lanes = element, lanes
        super().__init__(name=f"Vector({element} x {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    """A vector is one value of LLVM's own vector type."""

    def __init__(self, manager: Any, kind: Any) -> None:
        vector = ir.VectorType(_LLVM[kind.element], kind.lanes)
        super().__init__(manager, kind, vector)


SINGLES = Vector(types.float32, LANES)
REALS = Vector(types.float64, DOUBLES)
WORDS = Vector(types.uint32, LANES)
_OF = {types.float32: SINGLES, types.float64: REALS, types.uint32: WORDS}


def _instruction(write: Callable[..., Any]) -> Callable[..., Any]:
    """An instruction of the compiler's, for kernels; ``write`` gives its types and what writes it."""
    return cast("Callable[..., Any]", intrinsic(write))


def _place(context: Any, builder: Any, array_type: Any, array: Any, at: Any, kind: Any | None = None) -> Any:
    """A pointer to number ``at`` of an array, as one to ``kind``."""
    data = context.make_array(array_type)(context, builder, array).data
    pointer = builder.gep(data, [at])
    return pointer if kind is None else builder.bitcast(pointer, kind.as_pointer())


def _in_every_lane(builder: Any, kind: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    lanes = ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), lanes)


def _zero(kind: Any) -> Any:
    return ir.Constant(kind, [0.0] * kind.count)


@_instruction
def load(typing: Any, array: Any, at: Any) -> Any:
    """The vector that begins at number ``at`` of ``array``."""
    vector = _OF[array.dtype]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(vector)
        pointer = _place(context, builder, signature.args[0], arguments[0], arguments[1], kind)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp), generate


@_instruction
def load_wide(typing: Any, array: Any, at: Any) -> Any:
    """Eight float32 from number ``at`` of ``array``, as float64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        narrow = ir.VectorType(ir.FloatType(), DOUBLES)
        pointer = _place(context, builder, signature.args[0], arguments[0], arguments[1], narrow)
        return builder.fpext(builder.load(pointer, align=4), context.get_value_type(REALS))

    return REALS(array, types.intp), generate


@_instruction
def splat(typing: Any, array: Any, at: Any) -> Any:
    """Number ``at`` of ``array`` in every lane."""
    vector = _OF[array.dtype]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(_place(context, builder, signature.args[0], arguments[0], arguments[1]))
        return _in_every_lane(builder, context.get_value_type(vector), value)

    return vector(array, types.intp), generate


@_instruction
def filled(typing: Any, value: Any) -> Any:
    """``value``, a float32 or a float64, in every lane."""
    vector = _OF[value]

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _in_every_lane(builder, context.get_value_type(vector), arguments[0])

    return vector(value), generate


@_instruction
def store(typing: Any, array: Any, at: Any, vector: Any) -> Any:
    """Write ``vector`` to ``array`` from number ``at`` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(vector)
        pointer = _place(context, builder, signature.args[0], arguments[0], arguments[1], kind)
        builder.store(arguments[2], pointer, align=vector.element.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@_instruction
def store_narrow(typing: Any, array: Any, at: Any, vector: Any) -> Any:
    """Write eight float64 as float32 to ``array`` from number ``at`` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        narrow = ir.VectorType(ir.FloatType(), DOUBLES)
        pointer = _place(context, builder, signature.args[0], arguments[0], arguments[1], narrow)
        builder.store(builder.fptrunc(arguments[2], narrow), pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@_instruction
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """The sum x y + z, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(x)
        name = f"llvm.fma.v{x.lanes}f{x.element.bitwidth}"
        form = ir.FunctionType(kind, [kind] * 3)
        function = cgutils.get_or_insert_function(builder.module, form, name)
        return builder.call(function, arguments)

    return x(x, x, x), generate


@_instruction
def add(typing: Any, x: Any, y: Any) -> Any:
    """The sum x + y."""
    return x(x, x), lambda _context, builder, _signature, arguments: builder.fadd(*arguments)


@_instruction
def subtract(typing: Any, x: Any, y: Any) -> Any:
    """The difference x - y."""
    return x(x, x), lambda _context, builder, _signature, arguments: builder.fsub(*arguments)


@_instruction
def multiply(typing: Any, x: Any, y: Any) -> Any:
    """The product x y."""
    return x(x, x), lambda _context, builder, _signature, arguments: builder.fmul(*arguments)


@_instruction
def held_within(typing: Any, x: Any, limit: Any) -> Any:
    """The vector x, but no more than ``limit`` and no less than what is as far below 0; NaN stays."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, most = arguments
        least = builder.fsub(_zero(context.get_value_type(x)), most)
        value = builder.select(builder.fcmp_ordered(">", value, most), most, value)
        return builder.select(builder.fcmp_ordered("<", value, least), least, value)

    return x(x, x), generate


@_instruction
def where(typing: Any, given: Any, x: Any) -> Any:
    """The lanes of x where ``given`` is not 0, and 0 in the others."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = _zero(context.get_value_type(x))
        return builder.select(builder.fcmp_unordered("!=", arguments[0], zero), arguments[1], zero)

    return x(x, x), generate


@_instruction
def positive(typing: Any, x: Any) -> Any:
    """The lanes that are above 0, and 0 for those below; NaN stays."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = _zero(context.get_value_type(x))
        return builder.select(builder.fcmp_ordered("<", arguments[0], zero), zero, arguments[0])

    return x(x), generate


@_instruction
def add_where(typing: Any, x: Any, words: Any, bits: Any, y: Any) -> Any:
    """The sum x + y in the lanes of ``words`` that have one of ``bits`` set, x in the others."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(words)
        met = builder.and_(arguments[1], arguments[2])
        is_set = builder.icmp_unsigned("!=", met, ir.Constant(kind, [0] * kind.count))
        return builder.select(is_set, builder.fadd(arguments[0], arguments[3]), arguments[0])

    return x(x, words, words, x), generate


@_instruction
def sum_of_lanes(typing: Any, x: Any) -> Any:
    """The sum of the lanes: the upper half is added to the lower one until one is left."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, count = arguments[0], x.lanes
        while count > 1:
            count //= 2
            lower, upper = (
                builder.shuffle_vector(
                    vector,
                    ir.Constant(vector.type, ir.Undefined),
                    ir.Constant(ir.VectorType(_I32, count), list(range(first, first + count))),
                )
                for first in (0, count)
            )
            vector = builder.fadd(lower, upper)
        return builder.extract_element(vector, ir.Constant(_I32, 0))

    return x.element(x), generate


@_instruction
def turn_tile(typing: Any, source: Any, at: Any, step: Any, out: Any, out_at: Any, out_step: Any) -> Any:
    """Transpose 16 x 16 float32: row r of the tile begins at ``at + r step`` of ``source`` and becomes column r of ``out``,
    whose rows begin at ``out_at``, ``out_at + out_step`` and so on.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(SINGLES)
        from_array, begin, apart, to_array, to_begin, to_apart = arguments

        def row(array_type: Any, array: Any, first: Any, between: Any, number: int) -> Any:
            place = builder.add(first, builder.mul(between, ir.Constant(between.type, number)))
            return _place(context, builder, array_type, array, place, kind)

        rows = [
            builder.load(row(signature.args[0], from_array, begin, apart, number), align=4) for number in range(LANES)
        ]
        # Rows r and r + half are interleaved; four rounds turn the whole tile.
        half = LANES // 2
        low, high = ([k // 2 + (LANES if k % 2 else 0) + first for k in range(LANES)] for first in (0, half))
        masks = [ir.Constant(ir.VectorType(_I32, LANES), one) for one in (low, high)]
        for _ in range(4):
            rows = [builder.shuffle_vector(rows[k // 2], rows[k // 2 + half], masks[k % 2]) for k in range(LANES)]
        for number, vector in enumerate(rows):
            builder.store(vector, row(signature.args[3], to_array, to_begin, to_apart, number), align=4)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, out, types.intp, types.intp), generate
