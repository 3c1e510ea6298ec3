"""Runs the command line on one attack after the other in a fresh process, and prints what each one did and took.

Standard input: one JSON list per line, `[name, [word, …]]`.  Standard output: one JSON list per attack: name, exit
code, seconds of computing, peak MiB of this process, standard output and error.
"""

import contextlib
import io
import json
import re
import sys
import time
from pathlib import Path

from hessent.__main__ import main


def peak():
    # not ru_maxrss: it begins with what the process that started this one took
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def run(words):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    begin = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
        seconds = time.process_time() - begin
        for stream in (out, err):
            stream.flush()
    return [code, seconds, peak(), *(stream.buffer.getvalue().decode("utf-8") for stream in (out, err))]


if __name__ == "__main__":
    for line in sys.stdin:
        name, words = json.loads(line)
        sys.__stdout__.write(json.dumps([name, *run(words)]) + "\n")
        sys.__stdout__.flush()
