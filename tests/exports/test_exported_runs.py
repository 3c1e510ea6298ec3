"""`hessent export` to experiment trackers, read back with what belongs to the tracker."""

import dataclasses
import os

import pytest
import sample_spectra

from hessent.__main__ import main
from hessent.errors import UsageError
from hessent.measures.registry import compute_measures
from hessent.report.exports.mlflow_store import metric_key
from hessent.report.exports.sources import read_sources
from hessent.report.exports.tracked_runs import tracked_runs
from hessent.report.selection import HEADLINE, Selection
from hessent.spectra.hdf5_writer import write_spectrum
from hessent.spectra.provenance import LossInfo

STEPS = {100: 3, 5: 4, 2000: 5}  # step to seed
WRITTEN = 1_700_000_000  # seconds since 1970
EVENTS = "events.out.tfevents.0000000000.hessent"


def blocks(seed):
    return sample_spectra.exact_block("a/../b", seed=seed), sample_spectra.lanczos_block("full", seed=seed)


def write(path, step, seed, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    sample = sample_spectra.spectrum(blocks(seed), **changes)
    checkpoint = dataclasses.replace(sample.checkpoint, step=step, sha256=f"{seed:064d}")
    write_spectrum(path, dataclasses.replace(sample, checkpoint=checkpoint))
    os.utime(path, (WRITTEN + seed, WRITTEN + seed))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for step, seed in STEPS.items():
        write(tmp_path / "runs" / "sgd" / f"step-{step}.spectrum.h5", step, seed)
    write(tmp_path / "runs" / "adam" / "step-7.spectrum.h5", 7, 9)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expected(block, measure, end="value"):
    """(step, number) of a series, computed from the spectra anew."""
    found = []
    for step, seed in sorted(STEPS.items()):
        own = compute_measures(next(one for one in blocks(seed) if one.name == block))[measure]
        found.append((step, getattr(own, end)))
    return found


def exported(capfd, *words):
    assert main(["export", *words]) == 0
    captured = capfd.readouterr()
    assert captured.out == ""
    return captured.err


def test_series_are_the_measures_over_the_steps(folder):
    adam, sgd = tracked_runs(read_sources(["runs/adam", "runs/sgd"]), Selection())
    assert (adam.name, sgd.name) == ("adam", "sgd")
    for measure in HEADLINE:
        for group, end in (("hessent", "value"), ("hessent_low", "low"), ("hessent_high", "high")):
            name = f"{group}/full/{measure}"
            series = [(point.step, point.values.get(name)) for point in sgd.points]
            assert series == expected("full", measure, end)
    assert "hessent/a/../b/trace" in sgd.series
    assert "hessent_low/a/../b/trace" not in sgd.series  # it is exact
    assert [point.values["checkpoint/test_accuracy"] for point in sgd.points] == [0.978] * 3
    assert [point.seconds - WRITTEN for point in sgd.points] == [4, 3, 5]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (7, "step 7, like runs/adam/again.spectrum.h5"),
        (8, "step-7.spectrum.h5: its loss is cross-entropy, that of runs/adam/again.spectrum.h5 is mse"),
        (None, "again.spectrum.h5: its checkpoint does not say at which training step"),
    ],
)
def test_files_that_are_not_the_steps_of_a_run_are_refused(folder, step, said):
    loss = LossInfo("mse" if step == 8 else "cross-entropy", 1.0)
    write(folder / "runs" / "adam" / "again.spectrum.h5", step, 8, loss=loss)
    again, first = "runs/adam/again.spectrum.h5", "runs/adam/step-7.spectrum.h5"
    with pytest.raises(UsageError, match="not the steps of one run") as caught:
        tracked_runs(read_sources([again, first]), Selection())
    assert said in str(caught.value)


def test_every_matrix_of_a_folder_is_a_run_of_its_own(folder):
    write(folder / "runs" / "adam" / "step-7.ggn.spectrum.h5", 7, 9, curvature="ggn")
    write(folder / "runs" / "adam" / "p.spectrum.h5", 7, 9, settings={"precondition": "adam"})
    write(folder / "runs" / "adam" / "q.spectrum.h5", 7, 9, curvature="../../../home")
    runs = tracked_runs(read_sources(["runs/adam"]), Selection(("trace",)))
    assert {run.name for run in runs} == {"adam", "adam/ggn", "adam/hessian-adam", "adam/_________home"}
    assert {run.facts["curvature"] for run in runs} == {"hessian", "ggn", "../../../home"}


def test_a_single_file_without_a_step_stands_at_step_0(folder):
    write(folder / "alone" / "a.spectrum.h5", None, 8)
    (run,) = tracked_runs(read_sources(["alone/a.spectrum.h5"]), Selection())
    assert [(run.name, point.step) for point in run.points] == [("alone", 0)]


def test_names_that_mlflow_refuses_are_changed_and_stay_apart():
    assert metric_key("hessent/layer1.0.conv1/lambda_max") == "hessent/layer1.0.conv1/lambda_max"
    changed = [metric_key(name) for name in ("a/b!/c", "a/b?/c", "a/../c", "a//c", "../c", "x" * 300, "x" * 301)]
    assert len(set(changed)) == len(changed)
    for key in changed:
        assert len(key) <= 250
        assert os.path.normpath(key) == key
        assert not key.startswith(("/", ".."))


def test_tensorboard_reads_every_point_once_however_often_it_is_written(folder, capfd):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    layouts = pytest.importorskip("tensorboard.plugins.custom_scalar.layout_pb2")
    theirs = folder / "tb" / "sgd" / "events.out.tfevents.1700000000.host"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"")
    exported(capfd, "runs/sgd", "runs/adam", "-o", "tb", "--to", "tensorboard")
    first = (folder / "tb" / "sgd" / EVENTS).read_bytes()
    assert "tensorboard --logdir tb" in exported(capfd, "runs/sgd", "-o", "tb", "--to", "tensorboard")
    assert (folder / "tb" / "sgd" / EVENTS).read_bytes() == first
    assert sorted(path.name for path in (folder / "tb").rglob("*") if path.is_file()) == [
        EVENTS,
        EVENTS,
        theirs.name,
    ]
    theirs.unlink()
    read = accumulator.EventAccumulator(str(folder / "tb" / "sgd"), {"scalars": 0, "tensors": 0})
    read.Reload()
    for end, group in (("value", "hessent"), ("low", "hessent_low")):
        points = read.Scalars(f"{group}/full/trace")
        assert [(p.step, p.value) for p in points] == [
            (step, pytest.approx(number, rel=1e-6)) for step, number in expected("full", "trace", end)
        ]
        assert [p.wall_time - WRITTEN for p in points] == [4, 3, 5]
    (about,) = read.Tensors("hessent/about/text_summary")
    assert b"runs/sgd/step-2000.spectrum.h5" in about.tensor_proto.string_val[0]
    layout = layouts.Layout()
    layout.ParseFromString(read.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert layout.category[0].title == "Curvature of full"
    band = layout.category[0].chart[0].margin.series[0]
    assert {band.value, band.lower, band.upper} <= set(read.Tags()["scalars"])


@pytest.mark.filterwarnings("ignore")  # of what MLflow itself uses
def test_mlflow_keeps_one_run_per_folder_however_often_it_is_written(folder, capfd):
    tracking = pytest.importorskip("mlflow.tracking")
    assert "written as run" in exported(capfd, "runs/sgd", "-o", "ml", "--to", "mlflow", "--project", "mine")
    assert "there already" in exported(capfd, "runs/sgd", "-o", "ml", "--to", "mlflow", "--project", "mine")
    client = tracking.MlflowClient(f"sqlite:///{folder}/ml/mlflow.db")
    experiment = client.get_experiment_by_name("mine").experiment_id
    (run,) = client.search_runs([experiment])
    assert (run.info.run_name, run.info.status) == ("sgd", "FINISHED")
    assert run.data.params["arch"] == "resnet18"
    history = client.get_metric_history(run.info.run_id, "hessent/full/lambda_max")
    assert sorted((point.step, point.value) for point in history) == expected("full", "lambda_max")
    assert {point.timestamp // 1000 - WRITTEN for point in history} == {3, 4, 5}
    exact = metric_key("hessent/a/../b/trace")
    history = client.get_metric_history(run.info.run_id, exact)
    assert sorted((point.step, point.value) for point in history) == expected("a/../b", "trace")
    write(folder / "runs" / "sgd" / "later.spectrum.h5", 3000, 6)
    assert "in place of 1" in exported(capfd, "runs/sgd", "-o", "ml", "--to", "mlflow", "--project", "mine")
    (run,) = client.search_runs([experiment])
    assert len(client.get_metric_history(run.info.run_id, "hessent/full/lambda_max")) == 4
    assert sorted(path.name for path in folder.iterdir()) in (["ml", "runs"], ["home", "ml", "runs"])


def records(content):
    """Records of a file of W&B's: pieces in pages of 32 KiB, each behind its checksum, length and kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    position, parts = 7, []
    while position + 7 <= len(content):
        room = 32768 - position % 32768
        if room < 7:
            position += room
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        parts.append(content[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(b"".join(parts))
            parts = []
            yield record


@pytest.mark.filterwarnings("ignore")
def test_wandb_gets_offline_runs_that_say_nothing_of_the_machine(folder, capfd, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "online")  # what the environment says sends nothing
    message = exported(capfd, "runs/sgd", "-o", "wb", "--to", "wandb", "--project", "mine")
    (file,) = folder.glob("wb/wandb/offline-run-*/run-*.wandb")
    assert f"wandb sync {file.parent.relative_to(folder)}" in message
    assert "there already" in exported(capfd, "runs/sgd", "-o", "wb", "--to", "wandb", "--project", "mine")
    assert list(folder.glob("wb/wandb/offline-run-*/run-*.wandb")) == [file]
    read = list(records(file.read_bytes()))
    (run,) = [record.run for record in read if record.WhichOneof("record_type") == "run"]
    assert (run.project, run.display_name, run.host, run.git.remote_url) == ("mine", "sgd", "hessent", "")
    assert not any(record.WhichOneof("record_type") == "environment" for record in read)
    steps = [record.history for record in read if record.WhichOneof("record_type") == "history"]
    found = []
    for history in steps:
        values = {item.key or "/".join(item.nested_key): item.value_json for item in history.item}
        found.append((history.step.num, float(values["hessent/full/entropy_gap"])))
    assert found == expected("full", "entropy_gap")
