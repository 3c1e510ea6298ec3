"""The other libraries are played by modules of a few lines: what is tested is how we ask and how we explain."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hessent.arch.registry import build
from hessent.errors import ArchitectureError


class Answer(nn.Module):
    """Answers as transformers does: with an object that holds the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.classifier(inputs), loss=None)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A timm that knows one model; returns what it was asked."""
    asked: dict[str, Any] = {}

    def create_model(name: str, **options: Any) -> nn.Module:
        asked.update(options, name=name)
        if options.get("num_classes") == 13:
            raise TypeError("unlucky number")
        return nn.Linear(4, options.get("num_classes", 2))

    module = ModuleType("timm")
    vars(module).update(
        __version__="9.9",
        create_model=create_model,
        is_model=lambda name: name == "resnet26t",
        list_models=lambda pattern: ["resnet26t"] if "26" in pattern else [],
    )
    monkeypatch.setitem(sys.modules, "timm", module)
    return asked


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A transformers that builds `Answer`; returns what it was asked, and the folder under "folder"."""
    (tmp_path / "config.json").write_text("{}")
    asked: dict[str, Any] = {"folder": str(tmp_path), "architectures": ["GPT2LMHeadModel"]}

    class AutoConfig:
        @staticmethod
        def from_pretrained(directory: str, **options: Any) -> SimpleNamespace:
            asked["config"] = options
            if asked["architectures"] == ["Broken"]:
                raise OSError("not a config")
            return SimpleNamespace(architectures=asked["architectures"], use_cache=True)

    def auto(name: str) -> type:
        def from_config(config: Any, **options: Any) -> nn.Module:
            asked.update(built=name, building=options)
            return Answer()

        return type(name, (), {"from_config": staticmethod(from_config)})

    module = ModuleType("transformers")
    names = ("AutoModelForCausalLM", "AutoModelForImageClassification")
    vars(module).update(AutoConfig=AutoConfig, **{name: auto(name) for name in names})
    monkeypatch.setitem(sys.modules, "transformers", module)
    return asked


def test_timm_is_asked_for_random_weights_with_options_as_values(timm: dict[str, Any]) -> None:
    built = build("timm:resnet26t", options={"num_classes": "5"}, where="t")
    assert timm == {"name": "resnet26t", "pretrained": False, "num_classes": 5}
    assert (built.name, built.default_loss) == ("timm:resnet26t", "cross-entropy")


def test_a_name_that_timm_does_not_know_is_answered_with_near_ones(timm: dict[str, Any]) -> None:
    with pytest.raises(ArchitectureError) as caught:
        build("timm:resnet26", where="t")
    assert "timm 9.9 has no model 'resnet26'" in str(caught.value)
    assert "try: timm:resnet26t" in str(caught.value)


def test_what_timm_raises_is_explained(timm: dict[str, Any]) -> None:
    with pytest.raises(ArchitectureError, match=r"timm.create_model raised TypeError: unlucky number"):
        build("timm:resnet26t", options={"num_classes": "13"}, where="t")


@pytest.mark.parametrize(("name", "extra"), [("timm:resnet26t", "timm"), ("hf:{folder}", "hf")])
def test_a_missing_library_names_the_extra(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ArchitectureError) as caught:
        build(name.format(folder=tmp_path), where="t")
    assert "cannot be imported: ModuleNotFoundError" in str(caught.value)
    assert f"pip install 'hessent[{extra}]'" in str(caught.value)


def test_a_library_that_dies_while_imported_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # This is how timm fails beside a torchvision that was built for another torch.
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArchitectureError, match="RuntimeError: operator torchvision::nms does not exist"):
        build("timm:resnet18", where="t")


@pytest.mark.parametrize(
    ("declared", "asked_for", "loss"),
    [
        ("GPT2LMHeadModel", "AutoModelForCausalLM", "next-token"),
        ("LlamaForCausalLM", "AutoModelForCausalLM", "next-token"),
        ("ViTForImageClassification", "AutoModelForImageClassification", "cross-entropy"),
    ],
)
def test_transformers_answer_with_logits_under_their_own_names(
    transformers: dict[str, Any], declared: str, asked_for: str, loss: str
) -> None:
    transformers["architectures"] = [declared]
    built = build(f"hf:{transformers['folder']}", options={"num_labels": "2"}, where="t")
    assert transformers["config"] == {"local_files_only": True, "trust_remote_code": False, "num_labels": 2}
    assert transformers["building"] == {"attn_implementation": "eager"}
    assert (transformers["built"], built.default_loss) == (asked_for, loss)
    assert list(built.model.state_dict()) == ["classifier.weight", "classifier.bias"]
    inputs = torch.randn(3, 4)
    torch.testing.assert_close(built.model(inputs), built.model.get_submodule("classifier")(inputs))


@pytest.mark.parametrize("option", ["trust_remote_code", "local_files_only"])
def test_no_option_opens_what_is_shut(transformers: dict[str, Any], option: str) -> None:
    with pytest.raises(ArchitectureError, match=option):
        build(f"hf:{transformers['folder']}", options={option: "true"}, where="t")


@pytest.mark.parametrize(
    ("declared", "sentence"),
    [
        (["BertModel"], "names BertModel"),
        (None, "names no architecture"),
        (["Broken"], "AutoConfig.from_pretrained raised OSError: not a config"),
    ],
)
def test_configs_of_other_kinds_are_refused(transformers: dict[str, Any], declared: Any, sentence: str) -> None:
    transformers["architectures"] = declared
    with pytest.raises(ArchitectureError, match=sentence):
        build(f"hf:{transformers['folder']}", where="t")


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchitectureError, match=r"no config\.json"):
        build(f"hf:{tmp_path}", where="t")
