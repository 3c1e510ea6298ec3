"""The process that opens fuzzed files: one case per line of standard input, one answer per line of standard output.

A process of its own, because a file may crash the interpreter, hang it or eat its memory; the parent
(`reading_law.py`) then knows which file it was.  Every answer says how the case ended, what it took, and what was
opened where nothing should be.
"""

from __future__ import annotations

import faulthandler
import gc
import io
import json
import os
import re
import resource
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

SECONDS_TO_HANG = 40.0  # on the wall; the limit of the law is in seconds of the processor
MOST_ADDRESSES = 4 * 2**30
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.truncate"}
_RUNS = {"os.system", "os.exec", "os.spawn", "os.fork", "os.forkpty", "os.startfile"}


class Watch:
    """Notes what a case opens for writing, what it reads beside its own folder, and which programs it starts."""

    def __init__(self, root: str, writable: list[str]) -> None:
        self.root, self.case, self.writable = root, os.path.join(root, "case"), writable
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes):
                self._opened(os.path.realpath(os.fsdecode(path)), int(flags))  # type: ignore[call-overload]
        elif event in _CHANGES:
            path = arguments[0]
            if isinstance(path, str | bytes) and not self._may_write(os.path.realpath(os.fsdecode(path))):
                self.seen.append(f"{event} {path!r}")
        elif event in _RUNS or (event == "subprocess.Popen" and arguments[0] != sys.executable):
            self.seen.append(f"{event} {arguments[:2]}")

    def _opened(self, path: str, flags: int) -> None:
        if flags & _WRITING and not self._may_write(path):
            self.seen.append(f"opened for writing: {path}")
        elif _is_below(path, self.root) and not _is_below(path, self.case):
            self.seen.append(f"opened outside its folder: {path}")

    def _may_write(self, path: str) -> bool:
        return path == os.devnull or any(_is_below(path, folder) for folder in self.writable)


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + os.sep)


def read_checkpoint(path: str) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from hessent.checkpoint.reader import open_checkpoint

    loaded = open_checkpoint(path).load(torch.float64)
    if path.endswith(".safetensors"):
        try:
            expected = load_file(path)
        except SafetensorError as error:
            raise AssertionError(f"it was taken, but the format's own library refuses it: {error}") from error
        assert expected.keys() == loaded.tensors.keys(), "the format's own library finds other names"
        for name, tensor in expected.items():
            same = tensor.double() if tensor.is_floating_point() else tensor
            assert torch.equal(loaded.tensors[name], same), "the format's own library finds other numbers"


def read_optimizer(path: str) -> None:
    from hessent.checkpoint.optimizer_state import read_optimizer_state
    from hessent.checkpoint.reader import open_checkpoint

    read_optimizer_state(open_checkpoint(path))


def read_dataset(name: str) -> None:
    import torch

    from hessent.data.registry import open_dataset

    dataset = open_dataset(name)
    dataset.fetch(torch.arange(min(3, len(dataset))))
    if len(dataset) < 100_000:
        dataset.digest()


READERS = {
    "checkpoint": read_checkpoint,
    "optimizer": read_optimizer,
    "dataset": read_dataset,
}


def run(task: str, arguments: list[str]) -> tuple[int, str]:
    """Return the exit code that the case has or would have, and what was said."""
    from hessent.__main__ import main
    from hessent.errors import HessentError

    if task == "command":
        said, printed = io.StringIO(), io.StringIO()
        with redirect_stderr(said), redirect_stdout(printed):
            code = main(arguments)
        return code, said.getvalue() if code else printed.getvalue()
    try:
        READERS[task](*arguments)
    except HessentError as error:
        return error.exit_code, str(error)
    except Exception as error:
        return 70, f"{type(error).__name__}: {error}"
    return 0, ""


def measured(task: str, arguments: list[str], watch: Watch) -> dict[str, object]:
    os.chdir(watch.case)
    gc.collect()
    gc.freeze()  # modules stay for good: the next collection need not look at them
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to what is taken now
    watch.seen.clear()
    children, start = os.times(), time.process_time()
    faulthandler.dump_traceback_later(SECONDS_TO_HANG, exit=True)
    code, text = run(task, arguments)
    faulthandler.cancel_dump_traceback_later()
    seconds, after = time.process_time() - start, os.times()
    seconds += after.children_user + after.children_system - children.children_user - children.children_system
    seen = list(watch.seen)
    own = _memory("VmHWM") - before
    others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 - before
    return {"code": code, "text": text, "seconds": seconds, "bytes": max(own, others), "seen": seen}


def _memory(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def serve(root: str) -> None:
    """Warm up, then answer until the input ends."""
    import h5py  # noqa: F401
    import torch

    import hessent.checkpoint.optimizer_state
    import hessent.data.registry
    import hessent.pipeline.preflight  # noqa: F401

    torch.set_num_threads(1)
    warnings.simplefilter("error")
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Only the soft limit, and one for accidents: a child may set its own, and the law's limit is far below.
    taken = _memory("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_ADDRESSES, resource.RLIM_INFINITY))
    watch = Watch(os.path.realpath(root), [os.path.realpath(os.environ["HESSENT_CACHE"])])
    sys.addaudithook(watch)
    for line in sys.stdin:
        case = json.loads(line)
        answers.write(json.dumps(measured(case["task"], case["arguments"], watch)) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
