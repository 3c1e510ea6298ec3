"""All weights arrive or none does, and what was forgiven is said."""

import pytest
import torch
from torch import nn

from hessent.checkpoint.matching import load_into
from hessent.errors import CheckpointError


class Net(nn.Module):
    """Convolution and normalisation, with a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.fc = nn.Linear(2, 3)
        self.register_buffer("mask", torch.ones(3, 3), persistent=False)


class Tied(nn.Module):
    """A language model in small: the head is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict({"wte": nn.Embedding(5, 3), "ln": nn.LayerNorm(3)})
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.transformer["wte"].weight


def weights(model, **changes):
    torch.manual_seed(1)
    found = {
        name: torch.rand_like(value) if value.is_floating_point() else torch.full_like(value, 3)
        for name, value in model.state_dict().items()
    }
    if isinstance(model, Tied):
        found["head.weight"] = found["transformer.wte.weight"].clone()
    found.update(changes)
    return {name: value for name, value in found.items() if value is not None}


def prefixed(tensors, prefix):
    return {prefix + name: value for name, value in tensors.items()}


def load(model, tensors, rename=None):
    return load_into(model, tensors, rename=rename, where="a.safetensors")


def arrived(model, tensors):
    return all(torch.equal(model.state_dict()[name], value) for name, value in tensors.items())


def test_every_value_arrives_and_nothing_is_said():
    model = Net()
    report = load(model, weights(model))
    assert arrived(model, weights(model))
    assert report.notes == report.stripped == report.tied == report.ignored == ()


@pytest.mark.parametrize(
    ("prefix", "stripped"),
    [
        ("_orig_mod.", ("_orig_mod.",)),
        ("module.", ("module.",)),
        ("module._orig_mod.", ("_orig_mod.", "module.")),
        ("_orig_mod.module.module.", ("_orig_mod.", "module.", "module.")),
        ("model.", ("model.",)),
        ("net.", ("net.",)),
        ("backbone.", ("backbone.",)),
        ("encoder_q.", ("encoder_q.",)),
        ("module.model._orig_mod.", ("_orig_mod.", "module.", "model.")),
        ("model.module.", ("model.", "module.")),
        ("lit.model.", ("lit.", "model.")),
    ],
)
def test_wrappers_are_removed_and_named(prefix, stripped):
    model = Net()
    report = load(model, prefixed(weights(model), prefix))
    assert arrived(model, weights(model))
    assert report.stripped == stripped
    assert len(report.notes) == len(stripped)
    assert all(repr(name) in note for name, note in zip(stripped, report.notes, strict=True))


def test_a_compiled_part_inside_is_recognised():
    model = Net()
    tensors = {name.replace("conv.", "conv._orig_mod."): value for name, value in weights(model).items()}
    assert load(model, tensors).stripped == ("_orig_mod.",)
    assert arrived(model, weights(model))


def test_a_prefix_that_belongs_to_the_model_stays():
    model = nn.ModuleDict({"model": Net()})
    report = load(model, weights(model))
    assert report.stripped == ()
    assert arrived(model, weights(model))


def test_names_that_become_one_are_refused():
    model = Net()
    tensors = weights(model) | {"_orig_mod.fc.bias": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"a\.safetensors: 'fc\.bias' stands there twice"):
        load(model, tensors)


def test_renaming_comes_after_stripping_and_is_said():
    model = Net()
    tensors = {"module." + name.replace("fc.", "linear."): value for name, value in weights(model).items()}
    report = load(model, tensors, rename=lambda name: name.replace("linear.", "fc."))
    assert arrived(model, weights(model))
    assert "2 names were read in the module's naming, such as 'linear.weight' -> 'fc.weight'" in report.notes


def test_renaming_two_names_to_one_is_refused():
    model = Net()
    with pytest.raises(CheckpointError, match=r"both mean 'fc\.bias'"):
        load(model, weights(model) | {"linear.bias": torch.zeros(3)}, rename=lambda n: n.replace("linear.", "fc."))


@pytest.mark.parametrize(
    ("left_out", "kept"), [("head.weight", "transformer.wte.weight"), ("transformer.wte.weight", "head.weight")]
)
def test_one_of_two_tied_names_is_enough(left_out, kept):
    model = Tied()
    tensors = weights(model, **{left_out: None})
    report = load(model, tensors)
    assert torch.equal(model.head.weight, tensors[kept])
    assert model.head.weight is model.transformer["wte"].weight
    assert report.tied == (left_out,)
    assert report.notes == (f"'{left_out}' is the same tensor as '{kept}'",)


def test_a_tied_head_does_not_make_the_common_component_a_prefix():
    model = Tied()
    tensors = weights(model, **{"head.weight": None})
    assert all(name.startswith("transformer.") for name in tensors)
    assert load(model, tensors).stripped == ()


def test_two_equal_tied_names_are_taken():
    model = Tied()
    assert load(model, weights(model)).tied == ()


def test_tied_names_that_differ_are_refused():
    model = Tied()
    with pytest.raises(CheckpointError, match="tied, but different in the file") as caught:
        load(model, weights(model, **{"head.weight": torch.zeros(5, 3)}))
    assert "'transformer.wte.weight', 'head.weight'" in str(caught.value)


def test_no_name_of_a_tied_tensor_is_one_thing_missing():
    model = Tied()
    with pytest.raises(CheckpointError) as caught:
        load(model, weights(model, **{"head.weight": None, "transformer.wte.weight": None}))
    assert caught.value.problems == (
        "missing: 'transformer.wte.weight' (or 'head.weight', the same tensor), shape (5, 3)",
    )


def test_batch_counters_may_be_absent_on_either_side():
    model = Net()
    report = load(model, weights(model, **{"norm.num_batches_tracked": None}))
    assert report.ignored == ("norm.num_batches_tracked",)
    assert "1 counters (num_batches_tracked) are on one side only" in report.notes[0]
    plain = nn.Linear(2, 2)
    report = load(plain, weights(plain) | {"norm.num_batches_tracked": torch.tensor(5)})
    assert report.ignored == ("norm.num_batches_tracked",)


def test_a_buffer_that_is_not_saved_may_be_in_the_file_and_is_not_taken():
    model = Net()
    report = load(model, weights(model) | {"mask": torch.zeros(7)})
    assert torch.equal(model.mask, torch.ones(3, 3))
    assert report.ignored == ("mask",)
    assert "'mask'" in report.notes[0]


def test_everything_wrong_is_listed_and_the_model_is_untouched():
    model = Net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tensors = weights(
        model,
        **{
            "conv.bias": None,
            "fc.weight": torch.zeros(10, 2),
            "fc.bias": torch.zeros(3, dtype=torch.int64),
            "head.weight": torch.zeros(2, 2),
        },
    )
    with pytest.raises(CheckpointError) as caught:
        load(model, tensors)
    assert caught.value.problems == (
        "missing: 'conv.bias', shape (2)",
        "unexpected: 'head.weight', shape (2, 2)",
        "wrong shape: 'fc.weight' is shape (10, 2), expected shape (3, 2)",
        "wrong type: 'fc.bias' is torch.int64, expected torch.float32",
    )
    assert arrived(model, before)


def test_a_misfit_under_a_prefix_is_reported_without_the_prefix():
    model = Net()
    tensors = prefixed(weights(model, **{"fc.bias": None, "extra": torch.zeros(1)}), "model.")
    with pytest.raises(CheckpointError) as caught:
        load(model, tensors)
    assert caught.value.problems == (
        "missing: 'fc.bias', shape (3)",
        "unexpected: 'extra' (in the file 'model.extra'), shape (1)",
    )


def test_long_lists_are_cut_with_their_number():
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(30)])
    with pytest.raises(CheckpointError) as caught:
        load(model, {f"other{i}": torch.zeros(1) for i in range(50)})
    missing = [line for line in caught.value.problems if line.startswith("missing")]
    unexpected = [line for line in caught.value.problems if line.startswith("unexpected")]
    assert (len(missing), len(unexpected)) == (20, 20)
    assert "… and 40 more missing" in caught.value.problems
    assert "… and 30 more unexpected" in caught.value.problems


def test_a_model_in_float64_keeps_its_type():
    model = Net().double()
    load(
        model,
        {name: value.float() if value.is_floating_point() else value for name, value in weights(model).items()},
    )
    assert model.conv.weight.dtype == torch.float64


def test_loading_leaves_no_trace_for_autograd():
    model = Net()
    load(model, weights(model))
    assert all(parameter.is_leaf and parameter.grad is None for parameter in model.parameters())
