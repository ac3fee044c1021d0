"""The one way this package compiles a function.

``@kernel`` compiles with numba: nopython, without fast-math, without the GIL, cached on disk. It is ``numba.njit`` with some
differences, about the time that a program takes to start and the time that a call takes:

- A kernel that another kernel calls is compiled for that call only: no entry from Python, no machine code and no file of its
  own. Its code is optimised inside the kernel that Python calls, once. Numba would make all of it for every kernel on the way.
  The optimiser knows that nobody else calls it, so one with a single caller becomes part of that caller.
- Below a kernel that ``borrows`` no references are counted, and many arrays can be handed on as one table (``table_reader``).
- Whole numbers in a call are a type, not a value: ``update(state, 0)`` and ``update(state, 7)`` are one compiled function.
- The cache is looked for when a kernel is first called, not when it is defined, and without loading the compiler. Of several
  processes that want the same kernel one compiles it, and the others wait and read it.

Numba's own cache looks only at the file a function stands in, so editing a kernel that *another* file's kernel calls would leave a
stale machine-code copy behind. Here the cache folder of a module carries a hash of the module and of every ``grandmodel`` module it
imports, directly or not: changed source never meets old machine code. Numba adds its version, the processor and its features.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast, overload

import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import caching, cgutils, compiler, types
from numba.core.codegen import CPUCodeLibrary, JITCodeLibrary
from numba.core.compiler_lock import require_global_compiler_lock
from numba.core.dispatcher import _FunctionCompiler
from numba.core.environment import Environment
from numba.core.imputils import lower_getattr_generic
from numba.core.registry import CPUDispatcher
from numba.core.runtime import rtsys
from numba.core.targetconfig import ConfigStack
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, models, register_model
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")

config: Any = numba.config

_PACKAGE_ROOT = Path(__file__).resolve().parent
_IMPORT = re.compile(
    r"^\s*(?:from\s+(grandmodel[\w.]*)\s+import\s+(?:\(([^)]*)\)|([^#\n(]*))|import\s+(grandmodel[\w.]*))", re.MULTILINE
)
_COMMENT = re.compile(r"#[^\n]*")


@overload
def kernel(function: Callable[P, R]) -> Callable[P, R]: ...
@overload
def kernel(*, inline: bool = False, borrows: bool = False) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def kernel(function: Callable[P, R] | None = None, *, inline: bool = False, borrows: bool = False) -> Any:
    """Compile ``function`` with numba (nopython, no fast-math, GIL released), cached on disk by source content.

    ``inline=True`` asks numba to paste the function into its callers, for leaves that run once per tick. Compilation
    happens at the first call with a given set of types; ``grandmodel compile`` and the start of a session do it up front.

    ``borrows=True`` is for a kernel that Python calls and that makes no array, nor does anything that it calls. Its arrays live as long as
    the call does, so nothing below it counts references; where arrays are handed from function to function the counting takes more
    time than the work. An array that is made all the same is refused when the kernel is compiled.
    """

    def compile_function(python_function: Callable[P, R]) -> Callable[P, R]:
        options: dict[str, Any] = {"nopython": True, "nogil": True, "boundscheck": None}
        options["inline"] = "always" if inline else "never"
        if borrows:
            options["_nrt"] = False
        return cast("Callable[P, R]", _Kernel(python_function, targetoptions=options))

    return compile_function if function is None else compile_function(function)


class _Kernel(CPUDispatcher):  # type: ignore[misc]  # numba publishes no types
    """A compiled function as Python calls it; the kernels that call it get ``_Callee``'s."""

    def __init__(
        self,
        py_func: Callable[..., Any],
        locals: dict[str, Any] | None = None,  # noqa: A002  (numba's name)
        targetoptions: dict[str, Any] | None = None,
        pipeline_class: type = compiler.Compiler,
    ) -> None:
        super().__init__(py_func, locals, targetoptions, pipeline_class)
        self._callees: dict[bool, _Callee] = {}
        """By whether references are counted: as the caller does."""
        self._disk: _Cache | None = None
        self._compiler = _EntryCompiler(py_func, self.targetdescr, targetoptions, locals, pipeline_class)

    def compile(self, sig: Any) -> Any:
        """Numba's: the compiled form for these types, from the cache or compiled now."""
        if self._disk is None:
            self._cache = self._disk = _cache_of(self.py_func)
        misses = self._cache_misses.total()
        try:
            entry = super().compile(sig)
        finally:
            self._disk.release()
        if self._cache_misses.total() > misses:
            # Callees have no machine code of their own, so nobody told theirs where its environment is.
            for found in self.overloads.values():
                if found.entry_point is entry:
                    for environment in found._find_referenced_environments():  # noqa: SLF001  (numba's, pinned)
                        found.library.codegen.set_env(environment.env_name, environment)
        return entry

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Numba's: how another kernel's call is typed."""
        return self._as_callee().get_call_template(args, kws)

    def get_overload(self, sig: Any) -> Any:
        """Numba's: what another kernel's call is bound to."""
        return self._as_callee().get_overload(sig)

    @property
    def is_compiling(self) -> bool:
        """Numba's: how it sees that a function calls itself."""
        return bool(self._compiling_counter) or any(one._compiling_counter for one in self._callees.values())  # noqa: SLF001

    def _as_callee(self) -> _Callee:
        caller = ConfigStack().top_or_none()
        counts = caller is None or bool(caller.nrt)
        if counts not in self._callees:
            self._callees[counts] = _Callee(self.py_func, self.locals, {**self.targetoptions, "_nrt": counts})
        return self._callees[counts]


class _Callee(CPUDispatcher):  # type: ignore[misc]  # numba publishes no types
    """A compiled function as other compiled functions call it."""

    def __init__(
        self,
        py_func: Callable[..., Any],
        locals: dict[str, Any] | None = None,  # noqa: A002  (numba's name)
        targetoptions: dict[str, Any] | None = None,
        pipeline_class: type = compiler.Compiler,
    ) -> None:
        super().__init__(py_func, locals, targetoptions, pipeline_class)
        self._compiler = _CalleeCompiler(py_func, self.targetdescr, targetoptions, locals, pipeline_class)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Numba's, with whole numbers as a type and not as a value."""
        args = tuple(types.unliteral(one) if _is_number(one) else one for one in args)
        return super().get_call_template(args, kws)

    def add_overload(self, cres: Any) -> None:
        """Numba's, for a form that Python cannot call: a mark takes the place of the entry."""
        made = cres._replace(entry_point=_Mark())
        self.targetctx.insert_user_function(made.entry_point, made.fndesc, [made.library])
        self.overloads[tuple(made.signature.args)] = made


class _Mark:
    """Stands for one compiled form of a callee where numba wants something to look it up by."""


def _is_number(given: Any) -> bool:
    return isinstance(given, types.Literal) and isinstance(given.literal_value, int)


class _OwnCompiler(_FunctionCompiler):  # type: ignore[misc]  # numba publishes no types
    """Numba's compiler of one function, into a library of ours."""

    def _compile_core(self, args: Any, return_type: Any) -> Any:
        flags = compiler.Flags()
        self.targetdescr.options.parse_as_flags(flags, self.targetoptions)
        context = self.targetdescr.target_context
        context.refresh()
        library = self._library(context.codegen(), flags)
        library.enable_object_caching()
        return compiler.compile_extra(
            self.targetdescr.typing_context,
            context,
            self.py_func,
            args=args,
            return_type=return_type,
            flags=flags,
            locals=self.locals or {},
            library=library,
            pipeline_class=self.pipeline_class,
        )

    def _library(self, codegen: Any, flags: Any) -> CPUCodeLibrary:
        raise NotImplementedError


class _CalleeCompiler(_OwnCompiler):
    """Stops before machine code."""

    def _library(self, codegen: Any, flags: Any) -> CPUCodeLibrary:
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        return _CalleeLibrary(codegen, self.py_func.__qualname__)


class _EntryCompiler(_OwnCompiler):
    """Makes machine code of a kernel with all that it calls."""

    def _library(self, codegen: Any, flags: Any) -> CPUCodeLibrary:  # noqa: ARG002
        return _EntryLibrary(codegen, self.py_func.__qualname__)


class _CalleeLibrary(CPUCodeLibrary):  # type: ignore[misc]  # numba publishes no types
    """The code of a callee and of what it calls, to be linked into a caller, who optimises it."""

    def finalize(self) -> None:
        """Numba's, without optimising and without machine code."""
        require_global_compiler_lock()
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)  # noqa: SLF001  (numba's, pinned)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)  # noqa: SLF001  (numba's, pinned)
        self._finalize_dynamic_globals()
        self._finalized = True


class _EntryLibrary(JITCodeLibrary):  # type: ignore[misc]  # numba publishes no types
    """The code of a kernel that Python calls, and of all that it calls."""

    def finalize(self) -> None:
        """Numba's; what is linked in is called from here alone."""
        self._entries = {one.name for one in self._final_module.functions if not one.is_declaration}
        super().finalize()

    def _optimize_final_module(self) -> None:
        """Numba's, after the optimiser was told which functions nobody else calls.

        It then pastes those that are called once, and drops arguments that are constants or never read.
        """
        for one in self._final_module.functions:
            if one.linkage == llvm.Linkage.linkonce_odr and one.name not in self._entries:
                one.linkage = llvm.Linkage.internal
        super()._optimize_final_module()


class _Stored(caching.CompileResultCacheImpl):  # type: ignore[misc]  # numba publishes no types
    """What the cache keeps of a compiled function: what a call from Python needs, and no more."""

    def reduce(self, cres: Any) -> Any:
        """Numba's, without the code for linking (nobody links it), and of environments that hold nothing only the name."""
        (name, kind, (machine_code, _)), *middle, environments = super().reduce(cres)
        kept = tuple(one for one in environments if one.consts)
        empty = tuple(one.env_name for one in environments if not one.consts)
        entries = (
            cres.fndesc.llvm_cpython_wrapper_name,
            cres.fndesc.llvm_func_name,
        )  # Python's, and that of who calls by address.
        symbols = [*entries, *(one.env_name for one in (cres.environment, *environments))]
        names = "\n".join(f'@"{symbol}" = global i8 0' for symbol in dict.fromkeys(symbols))
        code = (machine_code, llvm.parse_assembly(names).as_bitcode())
        return empty, ((name, kind, code), *middle, kept)

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        """Numba's; an environment that holds nothing is made anew, where numba would import its module for it."""
        empty, rest = payload
        made = super().rebuild(target_context, rest)
        for name in empty:
            target_context.codegen().set_env(name, _EMPTY.setdefault(name, Environment({})))
        return made


_EMPTY: dict[str, Any] = {}
"""Environments that hold nothing, by name: machine code points to them."""


class _Cache(caching.FunctionCache):  # type: ignore[misc]  # numba publishes no types
    """Numba's cache of one function; who finds nothing holds the function's lock until it has saved, or ``release`` is called."""

    _impl_class = _Stored

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._held: list[int] = []  # the lock's descriptor, while it is held

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Numba's, without loading the whole compiler: what is cached needs none of it."""
        rtsys.initialize(target_context)
        found = self._load_overload(sig, target_context)
        if found is None and self._acquire():
            found = self._load_overload(sig, target_context)
        return found

    def release(self) -> None:
        """Let others compile."""
        with suppress(IndexError):  # Another thread may have let it go.
            os.close(self._held.pop())

    def _acquire(self) -> bool:
        """Wait until nobody else compiles the function; False where this disk has no locks."""
        try:
            lock = os.open(Path(self.cache_path, f"{self._impl.filename_base}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
            self._held.append(lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            self.release()
            return False
        return True


def _cache_of(function: Callable[..., Any]) -> _Cache:
    previous = config.CACHE_DIR
    config.CACHE_DIR = str(_cache_folder(Path(function.__code__.co_filename)))
    try:
        return _Cache(function)
    finally:
        config.CACHE_DIR = previous


def _cache_folder(source: Path) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "grandmodel" / "kernels"
    folder = base / f"{source.stem}-{_source_hash(source)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        # A read-only home (a hardened container): compile into a folder of our own below the temporary one.
        folder = _own_temporary_folder() / folder.name
        folder.mkdir(exist_ok=True)
    return folder


def _own_temporary_folder() -> Path:
    """A folder that nobody else can write: machine code is loaded from it, so another user's would run with our rights."""
    folder = Path(tempfile.gettempdir()) / f"grandmodel-kernels-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        return Path(tempfile.mkdtemp(prefix="grandmodel-kernels-"))  # Somebody else's: compile anew for this process.
    return folder


@cache
def _source_hash(source: Path) -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(_imported_sources(source)):
        digest.update(_read(path)[0])
    return digest.hexdigest()[:16]


def _imported_sources(source: Path) -> set[Path]:
    """``source`` and every package module it imports, directly or through another."""
    found: set[Path] = set()
    waiting = [source.resolve()]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_read(path)[1])
    return found


@cache
def _read(path: Path) -> tuple[bytes, tuple[Path, ...]]:
    """Hash of a module's source, and the package's files that it imports itself; each file is read once a process."""
    source = path.read_bytes()
    imported: list[Path] = []
    for match in _IMPORT.finditer(source.decode()):
        module = match.group(1) or match.group(4)
        imported.extend(_module_files(module))
        for name in _COMMENT.sub("", match.group(2) or match.group(3) or "").split(","):
            imported.extend(_module_files(f"{module}.{name.strip().split(' ')[0]}"))
    return hashlib.sha256(source).digest(), tuple(imported)


def _module_files(module: str) -> list[Path]:
    relative = Path(*module.split(".")[1:])
    candidates = [(_PACKAGE_ROOT / relative).with_suffix(".py"), _PACKAGE_ROOT / relative / "__init__.py"]
    return [path for path in candidates if path.is_file()]


class _ArrayTable(types.Type):  # type: ignore[misc]  # numba publishes no types
    """A table of arrays as compiled code sees it: one address, whatever stands behind it."""

    def __init__(self, name: str, columns: tuple[tuple[str, Any, int], ...]) -> None:
        super().__init__(name=f"table of {name}")
        self._columns = columns

    @cached_property
    def fields(self) -> dict[str, tuple[Any, int, int]]:
        """By name: the array's type, its dimensions, and the place of its first word in the table."""
        firsts = accumulate((2 + ndim for _, _, ndim in self._columns), initial=0)
        return {
            name: (types.Array(numba.from_dtype(np.dtype(dtype)), ndim, "C" if ndim == 1 else "A"), ndim, first)
            for (name, dtype, ndim), first in zip(self._columns, firsts, strict=False)
        }


class _ArrayTableAttribute(AttributeTemplate):  # type: ignore[misc]  # numba publishes no types
    key = _ArrayTable

    def generic_resolve(self, table: _ArrayTable, name: str) -> Any:
        found = table.fields.get(name)
        return None if found is None else found[0]


infer_getattr(_ArrayTableAttribute)
register_model(_ArrayTable)(models.OpaqueModel)


def _array_of(context: Any, builder: Any, table: _ArrayTable, address: Any, name: str) -> Any:
    """The array ``name`` of a table, put together where it is read; nothing of it is counted or kept."""
    kind, ndim, first = table.fields[name]
    words = builder.bitcast(address, cgutils.intp_t.as_pointer())
    # Nobody writes a table while compiled code runs, so a word need be read only once.
    steady = builder.module.add_metadata([])

    def word(place: int) -> Any:
        found = builder.load(cgutils.gep_inbounds(builder, words, first + place))
        found.set_metadata("invariant.load", steady)
        return found

    made = context.make_array(kind)(context, builder)
    data = builder.inttoptr(word(0), made.data.type)
    shape = [word(2 + k) for k in range(ndim)]
    size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    strides = [cgutils.intp_t(size)]
    for length in shape[:1:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    if ndim > 1:
        strides.insert(0, word(1))
    # With the compiler, which a start that finds all compiled does not load.
    from numba.np.arrayobj import populate_array  # noqa: PLC0415

    populate_array(made, data=data, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return made._getvalue()  # noqa: SLF001  (numba's way to the value)


lower_getattr_generic(_ArrayTable)(_array_of)


def table_of(arrays: Iterable[NDArray[Any]]) -> NDArray[np.int64]:
    """Addresses, steps and lengths of ``arrays``, to be read by what ``table_reader`` makes: one array to hand over in the place of many.

    The arrays must stay where they are and be kept alive by whoever holds the table. They are C-contiguous, or one row of such an array
    stands for all of them (``np.broadcast_to``).
    """
    words: list[int] = []
    for array in arrays:
        is_shared = array.ndim > 1 and array.strides[0] == 0
        if not (array[0] if is_shared else array).flags.c_contiguous:
            raise ValueError(f"table: found an array of shape {array.shape} with gaps, expected one without")
        step = 0 if is_shared else array.itemsize * math.prod(array.shape[1:])
        words += (array.ctypes.data, step, *array.shape)
    return np.array(words, np.int64)


def table_reader(name: str, fields: Iterable[tuple[str, Any, int]]) -> Any:
    """What opens a ``table_of`` in compiled code: ``reader(table).field`` is the array, for ``fields`` of (name, dtype, dimensions).

    Kernels that hand arrays from one to another pass some ten numbers an array; a table is one number.
    """
    table = _ArrayTable(name, tuple(fields))

    def open_table(_typing: Any, words: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            return builder.bitcast(array.data, cgutils.voidptr_t)

        return table(words), generate

    return intrinsic(open_table)
