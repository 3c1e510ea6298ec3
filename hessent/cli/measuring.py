"""Running a measurement from the command line and printing what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hessent.cli.console import note, warn_of_synthetic_data
from hessent.cli.options import OutputFormat
from hessent.cli.output import emit
from hessent.cli.progress import SpectrumDisplay
from hessent.errors import InterruptedRunError

if TYPE_CHECKING:
    from hessent.pipeline.request import SpectrumRequest
    from hessent.report.selection import Selection


def run_and_print(
    request: SpectrumRequest,
    selection: Selection,
    output_format: OutputFormat,
    *,
    force: bool,
    json_out: str | None,
) -> None:
    """Measure, write the file and print the summary.

    Raises
    ------
    InterruptedRunError
        If a signal asked for the end; the file then holds what was known, marked as not complete.
    HessentError
        Whatever the measurement raises.
    """
    from hessent.pipeline.spectrum_run import run_spectrum
    from hessent.report.document import to_json
    from hessent.report.selection import SpectrumEntry
    from hessent.report.summary import summary_tables
    from hessent.report.summary_document import summary_document
    from hessent.spectra.hdf5_reader import load_with_measures
    from hessent.storage.whole_file import write_whole

    with SpectrumDisplay() as display:
        outcome = run_spectrum(request, display, force=force)
    name = str(outcome.path)
    if not outcome.computed:
        note(f"{name}: complete already, nothing was computed (--force measures again)")
    if outcome.spectrum.data.synthetic:
        warn_of_synthetic_data()
    # What is printed is read back from the file: it is what `hessent summary` will print.
    entry = SpectrumEntry(name, *load_with_measures(name))
    document = summary_document([entry], selection)
    if json_out is not None:
        write_whole(json_out, to_json(document).encode())
    emit(summary_tables(entry, selection), document, output_format)
    if display.stop.received is not None:
        raise InterruptedRunError(name, by_user=display.stop.by_user)
    if not outcome.spectrum.complete:
        note(f"{name}: stopped by --max-time; the intervals are as wide as the time allowed")


def print_preflight(request: SpectrumRequest, output_format: OutputFormat) -> None:
    """Print what a run would do: blocks, products, memory and time expected, what will not work."""
    from hessent.pipeline.preflight import preflight
    from hessent.report.preflight import preflight_document, preflight_table

    with SpectrumDisplay() as display:
        found = preflight(request, display)
    emit([preflight_table(found)], preflight_document(found), output_format)
