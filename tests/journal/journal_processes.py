"""Processes that work on one journal, are killed, and tell a pipe what they did: run by test_journal_processes.py.

    python journal_processes.py kills TARGET COUNT SEED
    python journal_processes.py share|settle|churn TARGET

A fresh interpreter without threads forks them, so that each begins at once.  The output is JSON.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import sample_spectra
from small_states import Rows, joined, number_of, opened, small

from hessent.journal.journal import JournalGoneError
from hessent.storage.whole_file import write_whole

BLOCK = sample_spectra.exact_block(size=16)
UNITS = [f"{index:03d}" for index in range(20)]
SAVES = 6  # states of a unit before it is finished


def start(work, *words):
    """Fork a process that does `work(tell, ...)`; return its number and the file that it tells lines to."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, os.fdopen(reading, encoding="ascii")
    os.close(reading)
    code = 1
    try:
        work(lambda *line: os.write(writing, (json.dumps(line) + "\n").encode()), *words)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def lines_of(file):
    """Return what a process told; a line that it was killed in the middle of is none."""
    with file:
        return [json.loads(line) for line in file.read().split("\n")[:-1]]


def together(work, count, *words):
    """Let `count` processes do the same; return what each told, and whether all ended well."""
    started = [start(work, *words) for _ in range(count)]
    told = [lines_of(file) for _, file in started]
    return told, all(os.waitpid(child, 0)[1] == 0 for child, _ in started)


def go_on(tell, target):
    """Save states and finish units, each beginning where the one before was killed."""
    with opened(target) as journal:
        for unit in UNITS:
            tell("finished", unit, journal.finished(unit) is not None)
            if not journal.claim(unit):
                continue
            state = journal.load_state(unit)
            number = number_of(state) or 0
            if state is not None:
                assert np.array_equal(joined(state), np.concatenate(list(Rows(2 * number).rows_from(0))))
            tell("loaded", unit, number)
            for following in range(number + 1, SAVES + 1):
                tell("saving", unit, following)
                journal.save_state(unit, small(following), {"vectors": Rows(2 * following)})
                tell("saved", unit, following)
            journal.finish(unit, BLOCK)
            tell("kept", unit)
            journal.release(unit)
            tell("damaged", journal.damaged)


def kills(target, count, seed):
    """Kill the process that goes on, again and again; return what is wrong."""
    chance, wrong = random.Random(seed), []
    saved, begun, kept = dict.fromkeys(UNITS, 0), dict.fromkeys(UNITS, 0), set()
    for _ in range(count):
        child, file = start(go_on, target)
        # A slow machine is waited for: it is killed some time after it has said so many lines.
        lines = [file.readline() for _ in range(chance.randint(0, 12))]
        time.sleep(chance.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for what, *told in [json.loads(line) for line in lines if line] + lines_of(file):
            if what == "finished" and told[0] in kept and not told[1]:
                wrong.append(f"unit {told[0]} was finished and is not any more")
            if what == "loaded":
                unit, number = told
                if not saved[unit] <= number <= begun[unit]:
                    wrong.append(f"{unit}: state {number} where {saved[unit]} was saved and {begun[unit]} begun")
            if what in ("saving", "saved"):
                (begun if what == "saving" else saved)[told[0]] = told[1]
            if what == "kept":
                kept.add(told[0])
            if what == "damaged":
                wrong += told[0]
    with opened(target) as journal:
        left = [name for name in os.listdir(f"{target}.partial/states") if name.endswith(".tmp")]
        wrong += journal.damaged + left
    return {"wrong": wrong, "saved": sum(saved.values()), "kept": len(kept)}


def share_work(tell, target):
    """Claim and finish units until none is left; who is last writes the file, and who is late finds it."""
    with contextlib.suppress(JournalGoneError), opened(target) as journal:
        left = [] if target.exists() else list(UNITS)
        while left:
            for unit in list(left):
                if journal.finished(unit) is not None:
                    left.remove(unit)
                elif journal.claim(unit):
                    tell("claimed", unit)
                    time.sleep(0.002)
                    journal.finish(unit, BLOCK)
                    journal.release(unit)
        write_whole(target, b"whole")
        journal.discard()


def settle_one(tell, target):
    with opened(target) as journal:
        tell(journal.settle({"by": os.getpid()})["by"])


def churn_through(tell, target):
    """Begin, work and discard as if nobody else were there."""
    for _ in range(15):
        with contextlib.suppress(JournalGoneError), opened(target) as journal:
            if journal.claim("000"):
                tell("claimed")
                journal.save_state("000", small(1), {"vectors": Rows(3)})
                journal.finish("000", BLOCK)
            journal.discard()


def main(what, target, *numbers):
    target = Path(target)
    if what == "kills":
        return kills(target, *map(int, numbers))
    if what == "share":
        told, well = together(share_work, 3, target)
        return {"claimed": [unit for lines in told for _, unit in lines], "well": well}
    if what == "settle":
        rounds = []
        for _ in range(5):
            rounds.append(together(settle_one, 6, target)[0])
            opened(target).discard()
        return {"rounds": rounds}
    told, well = together(churn_through, 4, target)
    return {"claimed": sum(map(len, told)), "well": well}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
