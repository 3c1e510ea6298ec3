"""What is judged: spectra files, their JSON and folders say the same, and nothing damaged becomes a number."""

import copy
import dataclasses
import json

import jsonschema
import pytest
import sample_spectra

import hessent
from hessent.errors import HessentError, SpectrumFileError, UsageError
from hessent.measures.paired import difference
from hessent.measures.written import MeasuredWriter
from hessent.report.checks.baseline_file import baseline_document, baseline_text, read_old_baseline, write_baseline
from hessent.report.checks.judged_spectrum import judged_documents
from hessent.report.checks.spectrum_files import read_run
from hessent.report.schema import load_schema
from hessent.report.selection import Selection, SpectrumEntry
from hessent.report.summary_document import summary_document

RULES = [{"measure": "trace", "max": 1e9}, {"measure": "lambda_max", "min": 1.0}]
BLOCKS = sample_spectra.grouped_blocks()


def at_step(step, **changes):
    sample = sample_spectra.spectrum(BLOCKS, **changes)
    total = None if step is None else 800
    return dataclasses.replace(
        sample, checkpoint=dataclasses.replace(sample.checkpoint, step=step, total_steps=total)
    )


def document_of(*spectra):
    return summary_document([SpectrumEntry("run.spectrum.h5", spectrum) for spectrum in spectra], Selection())


@pytest.fixture(scope="module")
def document():
    return document_of(at_step(400))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "run.spectrum.h5"
    MeasuredWriter().write(path, at_step(400))
    return path


def measures_of(run):
    return {name: (block.size, dict(block.measures)) for name, block in run.blocks.items()}


def test_file_summary_and_baseline_hold_the_same_measures(file, document, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(document))
    from_file, from_json = read_run(str(file)), read_run(str(tmp_path / "run.json"))
    write_baseline(str(tmp_path / "main.json"), from_file)
    from_baseline = read_run(str(tmp_path / "main.json"))
    # A population interval has no `exact` in JSON; all else is the same to the last bit.
    assert measures_of(from_json) == measures_of(from_baseline)
    assert baseline_text(from_json) == baseline_text(from_file) == baseline_text(from_baseline)
    for run in (from_json, from_baseline):
        assert (run.checkpoint_sha256, run.step, run.samples) == (from_file.checkpoint_sha256, 400, 512)


def test_a_baseline_is_small_valid_and_says_nothing_of_paths_or_times(document, tmp_path):
    (run,) = judged_documents(document, "somewhere/run.json")
    jsonschema.validate(baseline_document(run), load_schema("hessent.baseline/1"))
    text = baseline_text(run)
    assert json.loads(text) == baseline_document(run)
    assert "somewhere" not in text
    assert text == baseline_text(dataclasses.replace(run, file="elsewhere.json"))
    assert len(text) < 0.8 * len(json.dumps(document, indent=1))
    assert text.count('\n "trace": ') == len(BLOCKS)  # a line of its own for every measure


def test_nothing_but_a_baseline_is_overwritten(tmp_path, file):
    other = tmp_path / "package.json"
    other.write_text('{"name": "mine"}')
    with pytest.raises(UsageError, match="is not overwritten"):
        read_old_baseline(str(other))
    with pytest.raises(UsageError, match="not called so"):
        read_old_baseline(str(file))
    assert read_old_baseline(str(tmp_path / "new.json")) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spectrum: spectrum.update(blocks=None),
        lambda spectrum: spectrum["blocks"].append(spectrum["blocks"][0]),
        lambda spectrum: spectrum["blocks"].append(7),
        lambda spectrum: spectrum["blocks"][0].update(name=7),
        lambda spectrum: spectrum["blocks"][0].update(size="many"),
        lambda spectrum: spectrum["blocks"][0].update(measures=[]),
        lambda spectrum: spectrum["blocks"][0]["measures"].update(trace=3.0),
        lambda spectrum: spectrum["blocks"][0]["measures"]["trace"].update(value="3"),
        lambda spectrum: spectrum["blocks"][0]["measures"]["trace"].update(value=True),
        lambda spectrum: spectrum["blocks"][0]["measures"]["trace"].update(value=10**400),
        lambda spectrum: spectrum["blocks"][0]["measures"]["trace"].update(low=2.0, high=1.0),
        lambda spectrum: spectrum["blocks"][0]["measures"]["lambda_max"].update(exact=True, low=-1.0),
        lambda spectrum: spectrum["blocks"][0]["measures"]["trace"]["population"].update(high=[]),
        lambda spectrum: spectrum["blocks"][1]["budget"]["trace"].update(probes=-1.0),
        lambda spectrum: spectrum["checkpoint"].pop("sha256"),
        lambda spectrum: spectrum["checkpoint"].update(step=1.5),
        lambda spectrum: spectrum.update(complete=None),
        lambda spectrum: spectrum.update(complete="yes"),
    ],
)
def test_a_document_that_was_tampered_with_is_refused(document, spoil):
    spoiled = copy.deepcopy(document)
    spoil(spoiled["spectra"][0])
    with pytest.raises(SpectrumFileError, match="not a valid") as caught:
        judged_documents(spoiled, "run.json")
    assert caught.value.problems


@pytest.mark.parametrize(
    "found", [None, [], {}, {"schema": "hessent.compare/1"}, {"schema": ["hessent.summary/1"]}]
)
def test_another_document_is_refused(found):
    with pytest.raises(SpectrumFileError, match="holds no measures"):
        judged_documents(found, "run.json")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "null"])
def test_no_number_from_json_that_is_not_one_ever_passes(document, tmp_path, value):
    text = json.dumps(document).replace(
        f'"value": {document["spectra"][0]["blocks"][0]["measures"]["trace"]["value"]!r}', f'"value": {value}', 1
    )
    (tmp_path / "run.json").write_text(text)
    rules = [{"measure": "trace", "max": 1e300, "block": "layer1.0.bn1"}]
    if value == "null":
        report = hessent.check(tmp_path / "run.json", rules)
        assert (report.outcome, report.failed) == ("unsure", True)
    else:
        with pytest.raises(SpectrumFileError):
            hessent.check(tmp_path / "run.json", rules)


def test_a_measure_that_a_file_lacks_is_unknown_and_fails(document):
    cut = copy.deepcopy(document)
    del cut["spectra"][0]["blocks"][-1]["measures"]["trace"]
    assert hessent.check(cut, [{"measure": "trace", "max": 1e300}]).failed


def test_the_gap_of_another_order_is_not_judged_as_that_of_order_one():
    other = summary_document([SpectrumEntry("x", at_step(400))], Selection(alpha=2.0))
    assert hessent.check(other, [{"measure": "entropy_gap", "max": 100}]).results[0].is_unknown
    assert not hessent.check(other, [{"measure": "trace", "max": 1e9}]).failed


def test_every_way_to_give_a_run_gives_the_same_results(file, document, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(document))
    results = [
        [(r.block, r.outcome, r.quantity.low, r.quantity.high) for r in hessent.check(run, RULES).results]
        for run in (at_step(400), hessent.load(file), str(file), file, document, tmp_path / "run.json", tmp_path)
    ]
    assert all(found == results[0] for found in results)


@pytest.fixture
def folder(tmp_path):
    for step in (0, 90, 800):
        (tmp_path / f"step-{step:06}.json").write_text(json.dumps(document_of(at_step(step))))
    (tmp_path / "package.json").write_text("{}")
    write_baseline(str(tmp_path / "main.json"), judged_documents(document_of(at_step(9_000)), "x")[0])
    return tmp_path


def test_of_a_folder_the_latest_step_is_judged_or_the_one_asked_for(folder):
    assert read_run(str(folder)).step == 800
    assert read_run(str(folder)).file == str(folder / "step-000800.json")
    assert read_run(str(folder), 90).step == 90
    with pytest.raises(UsageError, match="holds no step 7"):
        read_run(str(folder), 7)
    (folder / "last.json").write_text(json.dumps(document_of(at_step(900))))
    assert read_run(str(folder)).step == 900


def test_the_name_of_a_file_is_not_believed_about_its_step(folder):
    (folder / "step-000900.json").write_text(json.dumps(document_of(at_step(1))))
    assert read_run(str(folder)).step == 800


def test_which_of_two_is_meant_is_never_guessed(folder):
    (folder / "step-000801.json").write_text(json.dumps(document_of(at_step(800))))
    (folder / "other.json").write_text(json.dumps(document_of(at_step(800))))
    with pytest.raises(UsageError, match="which one is meant"):
        read_run(str(folder))
    (folder / "third.json").write_text(json.dumps(document_of(at_step(None))))
    with pytest.raises(UsageError, match="which one is meant"):
        read_run(str(folder))


def test_a_folder_without_spectra_says_so(tmp_path):
    with pytest.raises(SpectrumFileError, match="no spectra"):
        read_run(str(tmp_path))


def test_a_document_of_several_spectra_is_judged_at_its_latest_step():
    several = document_of(at_step(400), at_step(800), at_step(0))
    assert hessent.check(several, RULES).run.step == 800


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"complete": False}, "INCOMPLETE"),
        ({"settings": {"units": {"part": 1, "of": 3, "done": True, "blocks": []}}}, "part 1 of 3"),
    ],
)
def test_a_run_of_which_something_is_missing_is_refused_as_run_and_as_baseline(changes, message):
    broken, whole = at_step(400, **changes), at_step(400)
    change = [{"measure": "trace", "max_ratio": 2}]
    for run, options in ((broken, {"policy": RULES}), (whole, {"policy": change, "baseline": broken})):
        with pytest.raises(UsageError, match=message) as caught:
            hessent.check(run, **options)
        assert "--allow-incomplete" in str(caught.value)
        assert not hessent.check(run, allow_incomplete=True, **options).failed


def test_a_run_against_itself_has_not_changed_at_all(file, document):
    rules = [
        {"measure": measure, "block": "*", "max_increase": 0, "max_decrease": "0%", "max_ratio": 1, "min_ratio": 1}
        for measure in ("trace", "positive_ratio", "lambda_max", "entropy_gap")
    ]
    for baseline in (file, document):
        report = hessent.check(file, rules, baseline=baseline)
        known = [result for result in report.results if not result.is_unknown]
        assert len(known) >= 40
        for result in known:
            assert result.outcome == "holds"
            assert result.paired
            assert result.quantity.half_width == 0


def test_coefficients_on_both_sides_are_compared_probe_by_probe(file, tmp_path):
    changed = dataclasses.replace(
        at_step(800), checkpoint=dataclasses.replace(at_step(800).checkpoint, sha256="0" * 64)
    )
    blocks = tuple(
        block if block.probes is None else dataclasses.replace(block, probes=scaled(block.probes, 1.01))
        for block in changed.blocks
    )
    changed = dataclasses.replace(changed, blocks=blocks)
    rules = [{"measure": "trace", "block": "layer1.0.conv1", "max_increase": "3%", "max_ratio": 1.03}]
    document = summary_document([SpectrumEntry("x", changed)], Selection())
    by_probe, by_interval = (
        hessent.check(changed, rules, baseline=file),
        hessent.check(document, rules, baseline=file),
    )
    for paired, unpaired in zip(by_probe.results, by_interval.results, strict=True):
        assert (paired.paired, unpaired.paired) == (True, False)
        assert paired.quantity.value == pytest.approx(unpaired.quantity.value, rel=1e-9)
        assert paired.quantity.half_width < unpaired.quantity.half_width / 3
        assert (paired.outcome, unpaired.outcome) == ("holds", "unsure")


def scaled(probes, factor):
    return dataclasses.replace(
        probes, alphas=factor * probes.alphas, betas=factor * probes.betas, last_betas=factor * probes.last_betas
    )


def test_a_document_says_as_much_of_an_unpaired_change_as_the_file(file, document):
    seeds = dataclasses.replace(
        at_step(800), seed=1, checkpoint=dataclasses.replace(at_step(800).checkpoint, sha256="0" * 64)
    )
    seeds = dataclasses.replace(seeds, blocks=tuple(other_seed(block) for block in seeds.blocks))
    rules = [{"measure": "trace", "block": "layer1.0.conv1", "max_increase": 1}]
    from_file = hessent.check(seeds, rules, baseline=file).results[0]
    (own,) = judged_documents(summary_document([SpectrumEntry("x", seeds)], Selection()), "x")
    from_json = hessent.check(json.loads(baseline_text(own)), rules, baseline=document).results[0]
    assert from_file.paired is False
    expected = difference(seeds.blocks[1], at_step(400).blocks[1], "trace", same_seed=False, same_samples=True)
    for found in (from_file, from_json):
        assert (found.quantity.low, found.quantity.high) == pytest.approx((expected.low, expected.high), rel=1e-6)


def other_seed(block):
    if block.probes is None:
        return block
    return dataclasses.replace(block, probes=scaled(block.probes, 1.3))


def test_population_intervals_are_judged_where_they_are_asked_for(document):
    block = document["spectra"][0]["blocks"][0]
    narrow, wide = block["measures"]["trace"], block["measures"]["trace"]["population"]
    between = (narrow["high"] + wide["high"]) / 2
    assert narrow["high"] < between < wide["high"]
    rules = [{"measure": "trace", "block": block["name"], "max": between}]
    assert hessent.check(document, rules).outcome == "holds"
    assert hessent.check(document, rules, population=True).outcome == "unsure"
    without = copy.deepcopy(document)
    del without["spectra"][0]["blocks"][0]["measures"]["trace"]["population"]
    assert hessent.check(without, rules, population=True).failed


def test_what_cannot_be_read_is_an_error_of_ours(tmp_path):
    cases = {"empty.json": b"", "cut.json": b'{"schema": "hessent.su', "list.json": b"[1]", "x.h5": b"\x89HDF\r\n"}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(HessentError):
            read_run(str(tmp_path / name))
    with pytest.raises(SpectrumFileError):
        read_run(str(tmp_path / "nowhere.json"))
