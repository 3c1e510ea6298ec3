"""One display over all checkpoints that are measured: how many, which one, how long it still takes."""

import io

import pytest
import sample_spectra
from rich.console import Console

from hessent.cli import run_progress
from hessent.cli.run_progress import Pace, RunDisplay, duration


class Clock:
    """Seconds that grow when told to."""

    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def terminal(monkeypatch):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(run_progress, "messages", lambda: console)
    return stream


def test_the_remaining_time_is_that_of_all_checkpoints():
    clock = Clock()
    pace = Pace(4, clock)
    pace.begin()
    pace.expect(None)
    pace.advance(10)
    clock.seconds = 20.0
    assert pace.remaining() is None  # a first look tells nothing of what refining takes
    pace.expect(90)
    clock.seconds = 50.0
    pace.advance(40)
    assert pace.share == 0.5
    assert pace.remaining() == pytest.approx(50 + 3 * 100)
    clock.seconds = 80.0
    pace.finish()
    pace.begin()
    assert pace.remaining() == pytest.approx(80 * 3)
    clock.seconds = 110.0
    assert pace.remaining() == pytest.approx(80 * 3 - 30)
    pace.expect(100)
    pace.advance(25)
    assert pace.remaining() == pytest.approx(90 + 80 * 2)
    for _ in range(3):
        pace.finish()
    assert pace.remaining() == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99.4, "99 s"), (100.0, "2 min"), (7100, "118 min"), (7260, "2 h 1 min")]
)
def test_times_are_short(seconds, text):
    assert duration(seconds) == text


def test_a_terminal_shows_how_many_which_one_and_the_block_under_refinement(terminal):
    clock = Clock()
    with RunDisplay(3, clock) as display:
        display.begin("sgd/step-000000.safetensors", "there is no spectrum yet")
        display.started("refining", 10)
        clock.seconds = 30.0
        display.advanced("layer1", 10)
        display.finish()
        display.begin("sgd/[bold]step.safetensors", "there is no spectrum yet")
        display.started("refining", 100)
        display.refined(sample_spectra.lanczos_block(name="conv1"))
        clock.seconds = 45.0
        display.advanced("conv1", 50)
        overall, stage = display._bars.tasks
        assert overall.description == "checkpoint 2 of 3"
        assert overall.completed == pytest.approx(1.5)
        assert overall.fields["text"] == "sgd/[bold]step.safetensors"
        assert (stage.description, stage.completed, stage.total) == ("refining", 50, 100)
        assert stage.fields["text"].startswith("conv1: gap ")
        terminal.truncate(0)
        display._bars.refresh()
        shown = terminal.getvalue()
        assert "checkpoint 2 of 3" in shown
        assert "45 s left" in shown


def test_off_a_terminal_there_is_a_line_for_each_checkpoint_and_each_sentence_once(capfd):
    clock = Clock()
    with RunDisplay(2, clock) as display:
        for name in ("a", "b"):
            display.begin(name, "there is no spectrum yet")
            display.noted("settings from hessent.toml")
            display.started("first look", 10)
            display.first_look(())
            display.started("refining", 10)
            display.advanced("full", 10)
            clock.seconds += 200.0
            display.finish()
    assert capfd.readouterr().err.splitlines() == [
        "measuring 1 of 2: a: there is no spectrum yet",
        "settings from hessent.toml",
        "measuring 2 of 2: b: there is no spectrum yet; 3 min left",
    ]
