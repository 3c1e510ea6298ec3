"""What a dry run prints, for people and for programs."""

import dataclasses
import json

import jsonschema
import pytest
import sample_spectra

from hessent.report.document import to_json
from hessent.report.preflight import ExpectedMemory, PlannedBlock, Preflight, preflight_document, preflight_table
from hessent.report.schema import load_schema
from hessent.report.terminal import table_lines


@pytest.fixture
def plan():
    sample = sample_spectra.spectrum()
    return Preflight(
        checkpoint=sample.checkpoint,
        data=sample.data,
        loss="cross-entropy",
        curvature="hessian",
        output="step-000400.spectrum.h5",
        num_params=11_173_962,
        batch_size=128,
        device="cpu",
        dtype="float32",
        engine="retained",
        engine_why="per vector and micro-batch: retained 0.1 s",
        blocks=(
            PlannedBlock("conv1", 432, "exact", 435, basis_bytes=10**7, group_bytes=10**6),
            PlannedBlock("full", 11_173_962, "lanczos", 200, basis_bytes=5 * 2**28, group_bytes=5 * 2**27),
        ),
        seconds=7200.0,
        data_groups=4,
        memory_expected=ExpectedMemory(graphs=2**30, basis=5 * 2**28, groups=3 * 2**28, steps=2**28),
        memory_available=2**33,
        problems=("'nowhere' does not exist",),
        notes=("stem: cifar, from the shapes",),
    )


def test_the_plan_follows_its_schema(plan):
    document = json.loads(to_json(preflight_document(plan)))
    jsonschema.validate(document, load_schema("hessent.preflight/1"))
    assert document["matvecs"] == 635
    assert document["data_groups"] == 4
    memory = document["memory"]
    assert memory["expected"] == sum(memory[part] for part in ("graphs", "basis", "groups", "steps"))


def test_made_up_data_is_said(plan):
    made_up = dataclasses.replace(plan, data=dataclasses.replace(plan.data, synthetic=True))
    document = preflight_document(made_up)
    jsonschema.validate(document, load_schema("hessent.preflight/1"))
    assert document["data"]["synthetic"] is True


def test_people_see_products_time_memory_and_problems(plan):
    text = "\n".join(line.plain for line in table_lines(preflight_table(plan), 140))
    for part in (
        "635 products",
        "2.0 h",
        "3.2 GiB",
        "1.2 GiB for vectors · 256 MiB for steps",
        "640 MiB",
        "by 4 data groups",
        "'nowhere' does not exist",
        "11,173,962",
    ):
        assert part in text


def test_vectors_beyond_the_memory_are_told_apart_and_do_not_count_against_it(plan):
    full = dataclasses.replace(plan.blocks[1], host_bytes=3 * 2**30, file_bytes=7 * 2**30)
    memory = dataclasses.replace(plan.memory_expected, host=3 * 2**30, file=7 * 2**30, folder="scratch")
    spilled = dataclasses.replace(plan, blocks=(plan.blocks[0], full), memory_expected=memory)
    document = json.loads(to_json(preflight_document(spilled)))
    jsonschema.validate(document, load_schema("hessent.preflight/1"))
    assert document["memory"]["expected"] == plan.memory_expected.total
    assert [document["memory"][name] for name in ("host", "file", "folder")] == [3 * 2**30, 7 * 2**30, "scratch"]
    assert [(b["host_bytes"], b["file_bytes"]) for b in document["blocks"]] == [(0, 0), (3 * 2**30, 7 * 2**30)]
    text = "\n".join(line.plain for line in table_lines(preflight_table(spilled), 200))
    assert "1.2 GiB + 3.0 GiB in host memory + 7.0 GiB in a file" in text
    assert "7.0 GiB of further vectors in a file in scratch" in " ".join(text.split())
    assert "further vectors" not in "\n".join(line.plain for line in table_lines(preflight_table(plan), 200))


def test_without_data_groups_nothing_is_said_of_them(plan):
    without = dataclasses.replace(plan, data_groups=0)
    document = preflight_document(without)
    jsonschema.validate(document, load_schema("hessent.preflight/1"))
    assert document["data_groups"] is None
    assert not any("groups" in text for _, text in preflight_table(without).facts)
