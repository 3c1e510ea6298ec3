"""A check as a JUnit report: one test case per rule and block.

What holds has passed, what fails the check has failed, and what is undecided is skipped.  A violation at level warn
has passed, with the sentence in its output: JUnit knows no warning.
"""

from __future__ import annotations

from xml.etree import ElementTree

from hessent.report.checks.judgement import CheckReport, Result
from hessent.report.checks.sentences import closing_words, sentence, verdict
from hessent.report.names import printable

_SUITE = "hessent check"


def to_junit(report: CheckReport) -> str:
    """Return a JUnit document.

    Parameters
    ----------
    report : CheckReport
        All results.

    Returns
    -------
    str
        XML; a character that XML cannot hold is written as an escape.
    """
    cases = [_case(result) for result in report.results]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0",
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": "0",
    }
    # Jenkins knows no `skipped` of the whole; it adds up those of the suites.
    whole = {key: count for key, count in counts.items() if key != "skipped"}
    root = ElementTree.Element("testsuites", {"name": _SUITE} | whole)
    suite = ElementTree.SubElement(root, "testsuite", {"name": printable(f"{_SUITE} {report.run.file}")} | counts)
    suite.extend(cases)
    ElementTree.SubElement(suite, "system-out").text = closing_words(report)
    if report.warnings:
        ElementTree.SubElement(suite, "system-err").text = "\n".join(map(printable, report.warnings))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(result: Result) -> ElementTree.Element:
    names = {"name": printable(result.rule.text), "classname": printable(result.block), "time": "0"}
    case = ElementTree.Element("testcase", names)
    text = sentence(result)
    if result.fails:
        failure = ElementTree.SubElement(case, "failure", {"message": text, "type": verdict(result)})
        failure.text = text
    elif result.outcome == "unsure":
        ElementTree.SubElement(case, "skipped", {"message": text})
    elif result.outcome == "violated":
        ElementTree.SubElement(case, "system-out").text = f"warning: {text}"
    return case
