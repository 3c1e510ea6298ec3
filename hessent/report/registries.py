"""The registries of architectures and of data sources, as tables and as JSON documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hessent.report.settings import shown_value
from hessent.report.tables import Column, Table

if TYPE_CHECKING:
    from hessent.arch.architecture import Architecture
    from hessent.data.sources import DataSource

ARCHS_SCHEMA = "hessent.archs/1"
DATA_SCHEMA = "hessent.data/1"


def architectures_table(entries: Sequence[Architecture]) -> Table:
    """Return one row per architecture: name, what it is, its default loss, and where it comes from."""
    return Table(
        columns=(
            Column("name", "name", "name"),
            Column("family", "family"),
            Column("summary", "is", "prose"),
            Column("default_loss", "loss"),
            Column("source", "from"),
        ),
        rows=tuple(
            (entry.name, entry.family, entry.problem or entry.summary, entry.default_loss, entry.source)
            for entry in entries
        ),
        notes=(
            "hessent archs NAME shows the options of one. --arch also takes auto, timm:NAME, hf:DIR,",
            "package.module:factory and path/to/file.py:factory.",
        ),
    )


def architecture_table(entry: Architecture) -> Table:
    """Return one row per option of an architecture: its default and what decides it."""
    return Table(
        columns=(
            Column("option", "option", "name"),
            Column("type", "type", "prose"),
            Column("default", "default"),
            Column("decided_by", "decided by"),
            Column("help", "meaning", "prose"),
        ),
        rows=tuple(
            (
                name,
                " | ".join(option.choices) or option.type,
                shown_value(entry.fixed.get(name, option.default)),
                "the name" if name in entry.fixed else "the tensors" if option.follows else "you",
                option.help,
            )
            for name, option in entry.options.items()
        ),
        facts=(
            ("architecture", f"{entry.name} · {entry.summary}"),
            ("family", f"{entry.family} · {entry.source}"),
            ("defaults", f"loss {entry.default_loss} · data {entry.default_data or 'none: give --data'}"),
            *((("problem", entry.problem),) if entry.problem else ()),
        ),
        notes=("Give one with --arch-option NAME=VALUE; what the tensors decide matters only for hessent train.",),
    )


def architectures_document(entries: Sequence[Architecture]) -> dict[str, Any]:
    """Return the JSON document `hessent.archs/1`."""
    return {"schema": ARCHS_SCHEMA, "architectures": [_architecture_object(entry) for entry in entries]}


def sources_table(sources: Sequence[DataSource]) -> Table:
    """Return one row per source of data: how it is written, what it reads, what it needs."""
    return Table(
        columns=(
            Column("name", "name", "name"),
            Column("form", "is written", "name"),
            Column("summary", "reads", "prose"),
            Column("needs", "needs", audience="programs"),
        ),
        rows=tuple((source.name, source.form, source.summary, source.needs) for source in sources),
        notes=(
            "hessent data NAME shows the parameters of one. --data also takes a file or folder by its path,",
            "package.module:factory and path/to/file.py:factory.",
        ),
    )


def source_table(source: DataSource) -> Table:
    """Return one row per parameter of a source of data."""
    return Table(
        columns=(
            Column("parameter", "parameter", "name"),
            Column("form", "form", "prose"),
            Column("default", "default"),
            Column("help", "meaning", "prose"),
        ),
        rows=tuple(
            (name, " | ".join(parameter.choices) or parameter.form, shown_value(parameter.default), parameter.help)
            for name, parameter in source.parameters.items()
        ),
        facts=(
            ("source", f"{source.form} · {source.summary}"),
            ("needs", source.needs),
            ("splits", ", ".join(source.splits)),
        ),
        notes=(
            f"Write parameters after a question mark: {source.form.partition('?')[0]}?split={source.splits[-1]}",
        ),
    )


def sources_document(sources: Sequence[DataSource]) -> dict[str, Any]:
    """Return the JSON document `hessent.data/1`."""
    return {"schema": DATA_SCHEMA, "sources": [_source_object(source) for source in sources]}


def _architecture_object(entry: Architecture) -> dict[str, Any]:
    return {
        "name": entry.name,
        "family": entry.family,
        "summary": entry.summary,
        "default_loss": entry.default_loss,
        "default_data": entry.default_data,
        "source": entry.source,
        "problem": entry.problem,
        "options": [
            {
                "name": name,
                "type": option.type,
                "default": entry.fixed.get(name, option.default),
                "help": option.help,
                "choices": list(option.choices),
                "fixed": name in entry.fixed,
                "from_tensors": option.follows,
            }
            for name, option in entry.options.items()
        ],
    }


def _source_object(source: DataSource) -> dict[str, Any]:
    return {
        "name": source.name,
        "form": source.form,
        "summary": source.summary,
        "needs": source.needs,
        "splits": list(source.splits),
        "parameters": [
            {
                "name": name,
                "form": parameter.form,
                "default": parameter.default,
                "help": parameter.help,
                "choices": list(parameter.choices),
            }
            for name, parameter in source.parameters.items()
        ],
    }
