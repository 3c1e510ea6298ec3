"""The application: its table of commands, and the options that stand before a command.

To add a command, write `hessent/cli/NAME.py` with a function `command` and add a line to `COMMANDS`.  Command files
import what is heavy inside the function, so that `hessent --help` stays quick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from hessent import __version__
from hessent.cli import (
    archs,
    bound,
    check,
    compare,
    data,
    export,
    inspect,
    lion,
    merge,
    plot,
    report,
    spectrum,
    step,
    summary,
    train,
)
from hessent.cli.options import Debug, Quiet

MEASURE = "Measure"
READ = "Read"
LOOK = "Look up"

NOTHING_ASKED = 2  # the exit code of `hessent` alone, which prints the help page

# (name, function, panel of the help page); the order is the order of the help page.
COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("spectrum", spectrum.command, MEASURE),
    ("bound", bound.command, MEASURE),
    ("lion", lion.command, MEASURE),
    ("step", step.command, MEASURE),
    ("merge", merge.command, MEASURE),
    ("train", train.command, MEASURE),
    ("summary", summary.command, READ),
    ("compare", compare.command, READ),
    ("check", check.command, READ),
    ("plot", plot.command, READ),
    ("report", report.command, READ),
    ("export", export.command, READ),
    ("inspect", inspect.command, LOOK),
    ("archs", archs.command, LOOK),
    ("data", data.command, LOOK),
)


def build_app() -> typer.Typer:
    """Return the application with every command of `COMMANDS` registered."""
    app = typer.Typer(
        name="hessent",
        callback=_root,
        invoke_without_command=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, command, panel in COMMANDS:
        app.command(name, rich_help_panel=panel)(command)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hessent {__version__}")
        raise typer.Exit()


def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Hessian spectra of saved checkpoints: trace, positive-eigenvalue ratio, entropy gap and condition bounds.

    Every estimated number comes with its 95 % interval; an exact number says so.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(NOTHING_ASKED)
