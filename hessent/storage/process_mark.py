"""Which process wrote a file, so that another can say who it was and whether it still runs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessMark:
    """A process, told from all others of its machine, earlier ones of the same number included.

    Attributes
    ----------
    host : str
        Name of the machine.
    system : str
        The boot of the machine and the process's view of process numbers; empty where the system does not say.
    pid : int
        Process number.
    start : str
        When the process began, in ticks since the boot; empty where the system does not say.
    since : str
        When the mark was made, by the clock on the wall: for messages alone.
    """

    host: str
    system: str
    pid: int
    start: str
    since: str

    @classmethod
    def own(cls) -> ProcessMark:
        """Return the mark of this process."""
        pid = os.getpid()
        since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return cls(host=socket.gethostname(), system=_system(), pid=pid, start=_start_of(pid), since=since)

    @classmethod
    def from_bytes(cls, content: bytes) -> ProcessMark:
        """Return the mark that `to_bytes` wrote.

        Raises
        ------
        ValueError
            If it is not one.
        """
        try:
            document = json.loads(content)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        types = {field.name: int if field.name == "pid" else str for field in dataclasses.fields(cls)}
        if not isinstance(document, dict) or {key: type(value) for key, value in document.items()} != types:
            raise ValueError("not the mark of a process")
        return cls(**document)

    def to_bytes(self) -> bytes:
        """Return the mark as a line of JSON."""
        return json.dumps(dataclasses.asdict(self)).encode("ascii") + b"\n"

    def describe(self) -> str:
        """Return "process 17 on HOST (since …)"."""
        return f"process {self.pid} on {self.host} (since {self.since})"

    def runs(self) -> bool | None:
        """Whether the process still runs; None where that cannot be known from here."""
        own = ProcessMark.own()
        if self.host != own.host:
            return None
        if self.system != own.system:
            # Another boot of this machine ended all its processes; another view of their numbers tells nothing.
            return False if self.system.partition(" ")[0] != own.system.partition(" ")[0] else None
        if self.start:
            return _start_of(self.pid) == self.start
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return True
        return True


def _system() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except (OSError, ValueError):
        return ""


def _start_of(pid: int) -> str:
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    # The second field is the program's name in brackets and may hold anything; the 22nd is the start.
    fields = status.rpartition(b")")[2].split()
    return fields[19].decode("ascii") if len(fields) > 19 else ""
