"""Runs for TensorBoard: one event file per run, at OUT/RUN/events.out.tfevents.0000000000.hessent.

The name is fixed, so a second export of a run replaces the first and no point stands there twice; event files of
the training that lie in the same folder are left alone, and are read after ours, which TensorBoard sorts by name.
Times are those of the spectra files: the same files give the same bytes.

The file holds every series as scalars (32-bit, as TensorBoard keeps them), a text on what was measured and how, and
a layout for its tab "Custom Scalars", in which each measure is drawn as a line within the band of its interval.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hessent.report.exports.optional_package import load_package
from hessent.report.exports.tracked_runs import HIGH, LOW, VALUE, TrackedRun, base_name, make_folder
from hessent.report.names import printable
from hessent.storage.whole_file import write_whole

FILE_NAME = "events.out.tfevents.0000000000.hessent"
_FORMAT = "brain.Event:2"
_TEXT_TAG = f"{VALUE}/about/text_summary"
_LAYOUT_TAG = "custom_scalars__config__"


def require_tensorboard() -> None:
    """Load the part of TensorBoard that knows its event files; TensorFlow is not needed.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    _load("compat.proto.event_pb2")


def write_tensorboard(runs: Sequence[TrackedRun], folder: str) -> list[str]:
    """Write the event file of every run.

    Parameters
    ----------
    runs : sequence of TrackedRun
        Of different names.
    folder : str
        TensorBoard's `--logdir`; made where it is missing.

    Returns
    -------
    list of str
        What was written, and how to look at it.

    Raises
    ------
    StorageError
        If one cannot be written.
    """
    make_folder(folder)
    sentences = []
    for run in runs:
        path = os.path.join(folder, *run.name.split("/"), FILE_NAME)
        write_whole(path, event_bytes(run), make_folders=True)
        sentences.append(f"{path}: written")
    return [*sentences, f"to look at it: tensorboard --logdir {folder}"]


def event_bytes(run: TrackedRun) -> bytes:
    """Return the event file of a run.

    Parameters
    ----------
    run : TrackedRun
        With one point at least.
    """
    Event = _load("compat.proto.event_pb2").Event
    first = run.points[0]
    events = [
        Event(wall_time=first.seconds, file_version=_FORMAT),
        Event(wall_time=first.seconds, summary=_summary([_text(run), _layout(run)])),
        *(
            Event(wall_time=point.seconds, step=point.step, summary=_summary(_scalars(point.values)))
            for point in run.points
        ),
    ]
    content = io.BytesIO()
    writer = _load("summary.writer.record_writer").RecordWriter(content)
    for event in events:
        writer.write(event.SerializeToString(deterministic=True))
    return content.getvalue()


def _scalars(values: Mapping[str, float]) -> list[Any]:
    Value = _load("compat.proto.summary_pb2").Summary.Value
    return [Value(tag=name, simple_value=value) for name, value in values.items()]


def _text(run: TrackedRun) -> Any:
    """What was measured and how, as Markdown."""
    lines = [f"Curvature of run {_code(run.name)}; the ends of 95 % intervals are in {LOW} and {HIGH}.", ""]
    lines += [f"- {name}: {_code(value)}" for name, value in run.facts.items()]
    lines += ["", "| step | spectrum | checkpoint |", "|--:|:--|:--|"]
    lines += [f"| {p.step} | {_code(printable(p.file))} | {_code(p.sha256)} |" for p in run.points]
    data = _load("plugins.text.plugin_data_pb2").TextPluginData(version=0)
    return _strings(_TEXT_TAG, "text", "\n".join(lines), content=data.SerializeToString())


def _layout(run: TrackedRun) -> Any:
    """One category per block, the whole model first, with a chart per measure."""
    layout = _load("plugins.custom_scalar.layout_pb2")
    series = set(run.series)
    charts: dict[str, list[Any]] = {}
    for name in run.series:
        base = base_name(name)
        if base is None:
            continue
        block, _, measure = base.rpartition("/")
        low, high = f"{LOW}/{base}", f"{HIGH}/{base}"
        if {low, high} <= series:
            band = layout.MarginChartContent.Series(value=name, lower=low, upper=high)
            chart = layout.Chart(title=measure, margin=layout.MarginChartContent(series=[band]))
        else:
            lines = [f"^{re.escape(one)}$" for one in (name, low, high) if one in series]
            chart = layout.Chart(title=measure, multiline=layout.MultilineChartContent(tag=lines))
        charts.setdefault(block, []).append(chart)
    order = sorted(charts, key=lambda block: block != "full")
    categories = [
        layout.Category(title=f"Curvature of {block}", chart=charts[block], closed=number > 0)
        for number, block in enumerate(order)
    ]
    content = layout.Layout(category=categories).SerializeToString(deterministic=True)
    return _strings(_LAYOUT_TAG, "custom_scalars", content)


def _strings(tag: str, plugin: str, text: str | bytes, *, content: bytes = b"") -> Any:
    summary = _load("compat.proto.summary_pb2")
    tensor = _load("compat.proto.tensor_pb2").TensorProto(
        dtype="DT_STRING", string_val=[text.encode() if isinstance(text, str) else text]
    )
    data = summary.SummaryMetadata.PluginData(plugin_name=plugin, content=content)
    metadata = summary.SummaryMetadata(plugin_data=data, data_class=summary.DATA_CLASS_TENSOR)
    return summary.Summary.Value(tag=tag, metadata=metadata, tensor=tensor)


def _summary(values: Sequence[Any]) -> Any:
    return _load("compat.proto.summary_pb2").Summary(value=values)


def _code(text: str) -> str:
    """A name as a code span, in which Markdown reads nothing; within a table a bar would end the cell."""
    return "`" + text.replace("`", "'").replace("|", "¦") + "`"


def _load(module: str) -> Any:
    return load_package(f"tensorboard.{module}", "tensorboard", "event files are")
