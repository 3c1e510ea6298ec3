"""What the readers of JUnit and GitLab reports accept, as facts to hold real output against."""

import re

# Elements of the JUnit schema that Jenkins validates with: attributes, those required, and children.
_JUNIT = {
    "testsuites": ({"name", "time", "tests", "failures", "errors", "disabled"}, set(), {"testsuite"}),
    "testsuite": (
        {
            "name",
            "tests",
            "failures",
            "errors",
            "skipped",
            "time",
            "timestamp",
            "hostname",
            "id",
            "package",
            "file",
        },
        {"name", "tests"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name", "classname", "time", "status", "file", "line", "assertions"},
        {"name"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"message", "type"}, set(), set()),
    "skipped": ({"message", "type"}, set(), set()),
    "system-out": (set(), set(), set()),
    "system-err": (set(), set(), set()),
}
_COUNTS = {"tests", "failures", "errors", "skipped"}


def junit_faults(element):
    """Return what is wrong with an element and everything in it."""
    allowed, required, children = _JUNIT[element.tag]
    given = set(element.attrib)
    faults = [f"{element.tag}: {name}" for name in (given - allowed) | (required - given)]
    faults += [f"{name}={element.get(name)}" for name in given & _COUNTS if not element.get(name).isdigit()]
    faults += [
        f"time={element.get('time')}" for _ in given & {"time"} if not re.fullmatch(r"[\d.]+", element.get("time"))
    ]
    for child in element:
        faults += junit_faults(child) if child.tag in children else [f"{element.tag} holds {child.tag}"]
    if element.tag in ("testsuites", "testsuite"):
        for name, tag in (("tests", "testcase"), ("failures", "failure"), ("skipped", "skipped")):
            counted = len(list(element.iter(tag)))
            if name in given and element.get(name) != str(counted):
                faults.append(f"{element.tag}: {name} is {element.get(name)}, not {counted}")
    return faults


GITLAB = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{32,64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^[^./]"},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
        "additionalProperties": False,
    },
}
