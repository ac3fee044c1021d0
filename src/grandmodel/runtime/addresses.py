"""Arrays and compiled functions by their address, for compiled code that would else be handed thirty arrays at every call.

Python pays about a tenth of a microsecond for each array that it hands to compiled code; one table of addresses costs as much as one
array. Whoever fills the table keeps the arrays alive and fills it again where one is replaced. A function's address lets one compiled
loop call any agent's wake condition without being compiled anew for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from grandmodel.data.market.bar_building import BUILDER
from grandmodel.domain.errors import InvariantError

if_unlikely: Any = cgutils.if_unlikely

_WORD = types.int64
_BARS = types.Array(numba.from_dtype(BUILDER), 1, "C", readonly=True)
_LOTS = types.Array(types.int64, 1, "C", readonly=True)
_MEMORIES = {
    np.dtype(np.int64): types.Array(types.int64, 1, "C"),
    np.dtype(np.float64): types.Array(types.float64, 1, "C"),
}


def _call_condition(_context: Any, address: Any, bars: Any, count: Any, lots: Any, memory: Any) -> Any:
    """What the wake condition at ``address`` (``condition_address``) says; ``memory`` is of the type that it was compiled for."""
    called = types.boolean(_BARS, _WORD, _LOTS, types.Array(memory.dtype, 1, "C"))

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        convention = context.call_conv
        made = convention.get_function_type(called.return_type, called.args)
        function = builder.inttoptr(arguments[0], made.as_pointer())
        status, result = convention.call_function(builder, function, called.return_type, called.args, arguments[1:])
        with if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return result

    return types.boolean(address, bars, count, lots, memory), generate


call_condition: Any = intrinsic(_call_condition)
"""Compiled code calls it with (address, bars, count, lots, memory)."""


def condition_address(condition: Callable[..., Any], memory: NDArray[Any]) -> int:
    """The address of a wake condition, compiled for ``memory``. Raises ``TypeError`` where it is no kernel that returns a bool."""
    arguments = (_BARS, _WORD, _LOTS, _MEMORIES[memory.dtype])
    dispatcher: Any = condition
    if not hasattr(dispatcher, "overloads"):
        raise TypeError("found a function that is not compiled, expected one under @kernel (grandmodel.kernels)")
    dispatcher.compile(types.boolean(*arguments))
    compiled = dispatcher.overloads[arguments]
    if compiled.signature.return_type != types.boolean:
        raise TypeError(f"found that it returns {compiled.signature.return_type}, expected a bool")
    address = int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))
    if not address:
        raise InvariantError(f"found no machine code of {compiled.fndesc.qualname}, expected its address")
    return address
