"""The page: what stands on it, in which order, and the one file that holds all of it.

It needs no network: style and script stand in it, pictures are inline, and its Content-Security-Policy forbids any
request.  It can be read without the script, which only sorts tables.  The same spectra give the same bytes.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files

from hessent import __version__
from hessent.errors import UsageError, suggest
from hessent.report.comparison import compare_runs
from hessent.report.comparison_cautions import Caution
from hessent.report.comparison_rows import ComparedRun
from hessent.report.page.comparison_section import comparison_section
from hessent.report.page.html import Child, Markup, element, joined
from hessent.report.page.provenance import provenance, state_of
from hessent.report.page.reading import reading
from hessent.report.page.run_section import Section, run_section
from hessent.report.page.svg import Pictures, colour_variables
from hessent.report.plots.picture import Look
from hessent.report.selection import Selection


@dataclass(frozen=True)
class Page:
    """A finished page.

    Attributes
    ----------
    content : bytes
        The HTML file.
    gaps : tuple of str
        What is missing on it, and what else a reader must know: sentences, most with the command to type.
    """

    content: bytes
    gaps: tuple[str, ...]


def report_page(
    runs: Sequence[ComparedRun],
    selection: Selection,
    *,
    title: str | None = None,
    cautions: Sequence[Caution] = (),
    gaps: Sequence[str] = (),
    strict: bool = False,
    drawn: bool = True,
) -> Page:
    """Make the page of runs.

    Parameters
    ----------
    runs : sequence of ComparedRun
        At least one; several are compared with the first.
    selection : Selection
        Measures and blocks.
    title : str, optional
        Heading of the page.
    cautions : sequence of Caution
        What is known of the spectra beyond what they say themselves.
    gaps : sequence of str
        What is known to be missing.
    strict : bool
        Refuse runs of other data, seeds or settings.
    drawn : bool
        Whether there are pictures; they need matplotlib.

    Raises
    ------
    UsageError
        If a glob matches no block of any run, or `strict` refuses.
    """
    _refuse_globs_of_nothing(runs, selection)
    pictures = Pictures() if drawn else None
    sections: list[Section] = []
    told = list(gaps)
    if len(runs) > 1:
        sections, warnings = _compared(runs, selection, pictures, cautions, strict)
        told += warnings
    else:
        told += [caution.text for caution in cautions]
    told += [gap for run in runs for gap in _spoilt(run)]
    sections += [run_section(run, _matching(run, selection), pictures) for run in runs]
    told += [gap for section in sections for gap in section.gaps]
    told = list(dict.fromkeys(told))
    heading = title or "Hessian spectra of " + ", ".join(run.name for run in runs)
    body = _body(heading, runs, sections, told)
    return Page(_file(heading, body, pictures).encode("utf-8"), tuple(told))


def _compared(
    runs: Sequence[ComparedRun],
    selection: Selection,
    pictures: Pictures | None,
    cautions: Sequence[Caution],
    strict: bool,
) -> tuple[list[Section], list[str]]:
    """The comparison, and what it warns of; or why there is none."""
    asked = {"measures": selection.measures, "blocks": selection.blocks, "strict": strict, "cautions": cautions}
    try:
        over = compare_runs(runs, **asked)  # type: ignore[arg-type]
        by_block = compare_runs(runs, **asked, by_block=True)  # type: ignore[arg-type]
    except UsageError as error:
        if strict:
            raise
        problems = "; ".join([str(error.found), *error.problems])
        return [], [f"the runs are not compared: {problems}", *(caution.text for caution in cautions)]
    return [comparison_section(over, by_block, pictures)], list(over.warnings)


def _spoilt(run: ComparedRun) -> list[str]:
    told = []
    for own in run.checkpoints:
        if own.synthetic:
            told.append(f"{own.file}: SYNTHETIC: made-up data, so these numbers say nothing about a real task")
        if own.part is not None:
            told.append(f"{own.file}: INCOMPLETE: part {own.part} of the blocks; hessent merge joins the parts")
        elif not own.complete:
            told.append(f"{own.file}: INCOMPLETE: its run was stopped; the command that began it goes on")
    return told


def _refuse_globs_of_nothing(runs: Sequence[ComparedRun], selection: Selection) -> None:
    names = list(dict.fromkeys(name for run in runs for name in run.checkpoints[-1].blocks))
    for pattern in selection.blocks:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                f"--block '{pattern}' matches no block of the latest checkpoint of any run",
                expected=f"a glob for one of {len(names)} blocks: {', '.join(names[:8])}{', …' * (len(names) > 8)}",
                fix=suggest(pattern, names),
            )


def _matching(run: ComparedRun, selection: Selection) -> Selection:
    """The selection with those globs that match a block of this run; all blocks, where none does."""
    names = run.checkpoints[-1].blocks
    patterns = [p for p in selection.blocks if any(fnmatch.fnmatchcase(name, p) for name in names)]
    return replace(selection, blocks=tuple(patterns))


def _body(heading: str, runs: Sequence[ComparedRun], sections: Sequence[Section], told: Sequence[str]) -> Markup:
    entries: list[Markup] = []
    blocks: list[Markup] = []
    for number, section in enumerate(sections, start=1):
        inner: list[Child] = []
        below: list[Markup] = []
        for place, (title, content) in enumerate(section.parts, start=1):
            name = f"part-{number}-{place}"
            below.append(element("li", element("a", title, href="#" + name)))
            inner.append(element("section", element("h3", title), content, id=name))
        link = element("a", section.title, href=f"#part-{number}")
        entries.append(element("li", link, element("ul", *below)))
        blocks.append(element("section", element("h2", section.title), *inner, id=f"part-{number}"))
    for name, title, content in (
        ("provenance", "Provenance", provenance(runs)),
        ("reading", "How to read it", reading()),
    ):
        entries.append(element("li", element("a", title, href="#" + name)))
        blocks.append(element("section", element("h2", title), content, id=name))
    loud = sorted(
        {word for run in runs for own in run.checkpoints for word in state_of(own).split() if word.isupper()}
    )
    return joined(
        element(
            "header",
            element("h1", heading),
            element("p", _what(runs), class_="what"),
            element("p", " · ".join(loud), class_="loud", role="alert") if loud else None,
            _switch(),
        ),
        element("nav", element("h2", "Contents", class_="unseen"), element("ul", *entries), aria_label="Contents"),
        element("main", _told(told), joined(*blocks)),
        element("footer", element("p", f"Made by hessent {__version__}; nothing was measured for this page.")),
    )


def _what(runs: Sequence[ComparedRun]) -> str:
    spectra = [own for run in runs for own in run.checkpoints]
    counted = f"{len(spectra)} {'spectrum' if len(spectra) == 1 else 'spectra'} of "
    counted += f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}"
    archs = dict.fromkeys(own.arch for own in spectra)
    matrices = dict.fromkeys(f"{own.curvature} of the mean {own.loss}" for own in spectra)
    data = dict.fromkeys(f"{own.samples:,} samples of {own.data}" for own in spectra)
    return " · ".join([counted, ", ".join(archs), ", ".join(matrices), ", ".join(data)])


def _told(told: Sequence[str]) -> Markup | None:
    if not told:
        return None
    listed = element("ul", *(element("li", text) for text in told))
    return element("section", element("h2", "Mind"), listed, class_="mind")


def _switch() -> Markup:
    """Three buttons that change the colours; they work by style alone."""
    choices = []
    for name in ("auto", "light", "dark"):
        button = element("input", type="radio", name="colours", id=f"colours-{name}", checked=name == "auto")
        choices.append(element("label", button, " " + name))
    return element("fieldset", element("legend", "colours"), *choices, class_="switch")


def _file(heading: str, body: Markup, pictures: Pictures | None) -> str:
    style = _themes() + _resource("style.css") + (pictures.css if pictures is not None else "")
    script = _resource("sorting.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; base-uri 'none'; "
    policy += "form-action 'none'"
    head = joined(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"hessent {__version__}"),
        element("title", heading),
        element("style", Markup(style)),
    )
    # Both come from this package, and no name is ever put into them.
    page = joined(element("head", head), element("body", body, element("script", Markup(script))))
    return "<!DOCTYPE html>\n" + element("html", page, lang="en") + "\n"


def _themes() -> str:
    """The colours of both looks: as the reader's system has them, or as the switch says; light on paper."""
    light, dark = (
        "".join(f"{name}:{colour};" for name, colour in colour_variables(Look(dark=dark)).items())
        for dark in (False, True)
    )
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{:root:has(#colours-light:checked){{color-scheme:light;{light}}}"
        f":root:has(#colours-dark:checked){{color-scheme:dark;{dark}}}}}\n"
    )


def _resource(name: str) -> str:
    return (files("hessent.report.page") / name).read_text(encoding="utf-8")
