"""Walking through a pickle without running it.

A pickle is a program for a stack machine.  `torch.load(weights_only=True)` runs it with a short list of callables,
which keeps foreign code out but not excess: 1,577 bytes can claim a tensor of 10¹² elements, and a few more can
copy a container until memory is gone.  So the program is first walked symbolically.  Calls become descriptions,
storages become claims that the file must honour, and everything that no plain checkpoint does is refused
before torch sees it.  The globals beyond the allowed ones are collected and named all together.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
from collections.abc import Callable
from typing import Any

from hessent.checkpoint.listing import capped, printable, shown, shown_list
from hessent.checkpoint.pickle_claims import (
    REBUILDERS,
    Claims,
    Container,
    Global,
    ImplausibleError,
    TensorClaim,
    conversion_cost,
    is_allowed,
    storage_claim,
    tensor_claim,
)
from hessent.errors import CheckpointError

MAX_OPERATIONS = 1_500_000
MAX_PICKLE = 16 * 2**20

# The operations that torch's restricted unpickler knows; all others belong to other pickle protocols.
_KNOWN_PATTERN = re.compile(
    r"APPENDS?|BINFLOAT|BININT[12]?|BINPERSID|BINUNICODE|BUILD|EMPTY_(DICT|LIST|SET|TUPLE)|GLOBAL|LONG1|"
    r"(LONG_)?BIN(GET|PUT)|MARK|NEW(FALSE|OBJ|TRUE)|NONE|PROTO|REDUCE|SETITEMS?|SHORT_BINSTRING|STOP|TUPLE[123]?"
)
_KNOWN_TO_TORCH = frozenset(code.name for code in pickletools.opcodes if _KNOWN_PATTERN.fullmatch(code.name))


def walk_pickle(stream: io.BytesIO, where: str) -> tuple[Any, Claims]:
    """Walk one pickle from the stream's position to its STOP.

    Parameters
    ----------
    stream : io.BytesIO
        Holds the whole pickle; left behind its STOP.
    where : str
        The file, for messages.

    Returns
    -------
    tuple of (object, Claims)
        What the program would leave on the stack, symbolically, and the storages it claims.

    Raises
    ------
    CheckpointError
        The program names globals that are not allowed (all are listed), claims what cannot be, or is damaged.
    """
    walk = _Walk()
    damage: Exception | None = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a string of an old protocol
            result = walk.run(stream)
    except (ImplausibleError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        damage, result = error, None
    if walk.forbidden:
        raise CheckpointError(
            "reading it would take more than tensors and plain containers: " + shown_list(sorted(walk.forbidden)),
            where=where,
            expected="tensors in plain containers, as torch.save(model.state_dict(), …) writes them",
            fix="where the file was made: safetensors.torch.save_file(model.state_dict(), 'model.safetensors')",
        )
    if isinstance(damage, ImplausibleError):
        raise CheckpointError(str(damage), where=where, fix=_FIX) from damage
    if damage is not None:
        reason = printable(str(damage)) or type(damage).__name__
        raise CheckpointError(f"the pickle in it is damaged ({reason})", where=where, fix=_FIX) from damage
    if walk.foreign:
        raise CheckpointError(
            "the pickle in it uses operations that torch's safe reader does not know",
            where=where,
            problems=capped(sorted(walk.foreign)),
            fix="save it with torch.save and its default pickle protocol, or as safetensors",
        )
    return result, walk.claims


_FIX = "fetch or save the file again, best as safetensors"


class _Walk:
    """The symbolic stack machine; one handler per operation that matters."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.claims = Claims()
        self.forbidden: set[str] = set()
        self.foreign: set[str] = set()
        self.handlers: dict[str, Callable[[Any], None]] = {
            "MARK": self._mark,
            "GLOBAL": lambda names: self._global(*names.split(" ", 1)),
            "INST": self._inst,
            "STACK_GLOBAL": self._stack_global,
            "EMPTY_DICT": lambda _: self.stack.append(Container()),
            "EMPTY_LIST": lambda _: self.stack.append(Container()),
            "EMPTY_TUPLE": lambda _: self.stack.append(()),
            "TUPLE": lambda _: self._push_tuple(self._pop_mark()),
            "TUPLE1": lambda _: self._push_tuple(self._pop(1)),
            "TUPLE2": lambda _: self._push_tuple(self._pop(2)),
            "TUPLE3": lambda _: self._push_tuple(self._pop(3)),
            "APPEND": lambda _: self._append(self._pop(1)),
            "APPENDS": lambda _: self._append(self._pop_mark()),
            "SETITEM": lambda _: self._set_items(self._pop(2)),
            "SETITEMS": lambda _: self._set_items(self._pop_mark()),
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
            "MEMOIZE": lambda _: self._remember(len(self.memo)),
            "BINGET": lambda index: self.stack.append(self.memo[index]),
            "LONG_BINGET": lambda index: self.stack.append(self.memo[index]),
            "BINPERSID": lambda _: self.stack.append(storage_claim(self._pop(1)[0], self.claims)),
            "NEWOBJ": lambda _: self._new_object(*self._pop(2)),
            "REDUCE": lambda _: self._call(*self._pop(2)),
            "BUILD": lambda _: self._build(self._pop(1)[0]),
            "NONE": lambda _: self.stack.append(None),
            "NEWTRUE": lambda _: self.stack.append(True),
            "NEWFALSE": lambda _: self.stack.append(False),
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
        }

    def run(self, stream: io.BytesIO) -> Any:
        """Walk to STOP and return the symbolic result."""
        for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            if count > MAX_OPERATIONS:
                raise ImplausibleError(f"the pickle in it has more than {MAX_OPERATIONS:,} operations")
            if operation.name == "STOP":
                break
            if operation.name not in _KNOWN_TO_TORCH:
                self.foreign.add(operation.name)
            handler = self.handlers.get(operation.name)
            if handler is not None:
                handler(argument)
            else:
                self._by_documented_effect(operation, argument)
        return self._pop(1)[0]

    def _by_documented_effect(self, operation: pickletools.OpcodeInfo, argument: Any) -> None:
        if pickletools.markobject in operation.stack_before:
            self._pop_mark()
        elif operation.stack_before:
            self._pop(len(operation.stack_before))
        # A literal stands for itself; what else an operation leaves is of no interest.
        literal = isinstance(argument, (int, float, str, bytes)) and not operation.stack_before
        self.stack.extend([argument if literal else Container()] * len(operation.stack_after))

    def _pop(self, number: int) -> list[Any]:
        if len(self.stack) < number:
            raise IndexError("its stack runs empty")
        items = self.stack[-number:]
        del self.stack[-number:]
        return items

    def _mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _push_tuple(self, items: list[Any]) -> None:
        self.stack.append(tuple(items))

    def _remember(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def _append(self, items: list[Any]) -> None:
        self._grow(len(items))

    def _set_items(self, items: list[Any]) -> None:
        # Chosen integers beyond 64 bits, or tuples of them, all hash alike: a dictionary of them takes hours.
        if not all(type(key) is str or (type(key) is int and abs(key) < 2**60) for key in items[::2]):
            raise ImplausibleError("the pickle in it has a dictionary whose keys are neither names nor numbers")
        self._grow(len(items) // 2)

    def _grow(self, number: int) -> None:
        target = self.stack[-1]
        if isinstance(target, Container):
            target.length += number

    def _global(self, module: str, name: str) -> None:
        found = Global.canonical(module, name)
        if not is_allowed(found):
            self.forbidden.add(found.path)
        self.stack.append(found)

    def _inst(self, names: str) -> None:
        self._pop_mark()
        self._global(*names.split(" ", 1))

    def _stack_global(self, _: Any) -> None:
        module, name = self._pop(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise ImplausibleError("the pickle in it computes the names of the code that it wants")
        self._global(module, name)

    def _new_object(self, cls: Any, arguments: Any) -> None:
        if isinstance(cls, Global) and is_allowed(cls) and (cls.path != "argparse.Namespace" or arguments != ()):
            raise ImplausibleError(f"the pickle in it creates {shown(cls.path)} in a way no checkpoint does")
        self.stack.append(Container())

    def _call(self, function: Any, arguments: Any) -> None:
        path = function.path if isinstance(function, Global) else ""
        if path in REBUILDERS:
            self.stack.append(tensor_claim(path, arguments, self.claims))
        elif path.startswith("torch._utils._rebuild_parameter") and isinstance(arguments[0], TensorClaim):
            self.stack.append(arguments[0])
        elif path in self.forbidden or (path == "collections.OrderedDict" and arguments == ()):
            self.stack.append(Container())
        elif (cost := conversion_cost(path, arguments)) is not None:
            self.claims.copy(cost)
            self.stack.append(Container())
        else:
            raise ImplausibleError(f"the pickle in it calls {shown(path)} in a way no checkpoint does")

    def _build(self, state: Any) -> None:
        target = self.stack[-1]
        if isinstance(target, Container) and isinstance(state, Container):
            self.claims.copy(state.length)
        elif not self.forbidden:
            raise ImplausibleError("the pickle in it sets the state of something that is not a container")
