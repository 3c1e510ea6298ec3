"""Networks from other libraries: ``timm:NAME`` and ``hf:DIR``, imported only when asked for.

Neither downloads anything: timm builds with random weights for the checkpoint to fill, transformers reads the
`config.json` of a local folder and runs no code from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hessent.arch.architecture import BuiltModel
from hessent.arch.settings import parse_free
from hessent.errors import ArchitectureError

if TYPE_CHECKING:
    from torch import nn


def build_from_provider(name: str, given: Mapping[str, Any]) -> BuiltModel:
    """Build ``provider:NAME``.

    Raises
    ------
    ArchitectureError
        If the library is missing or cannot be imported, or does not know the name or an option.
    """
    provider, _, rest = name.partition(":")
    options = {key: parse_free(value) for key, value in given.items()}
    model, loss = PROVIDERS[provider](rest, options)
    return BuiltModel(model, name, options, (), None, loss, None)


def _build_timm(name: str, options: Mapping[str, Any]) -> tuple[nn.Module, str]:
    """Return a timm network and its loss."""
    where = f"--arch timm:{name}"
    try:
        import timm
    except (
        Exception
    ) as error:  # a torchvision built for another torch fails in many ways, not with ImportError alone
        raise _unavailable("timm", where, error) from error
    if not timm.is_model(name):
        near = timm.list_models(f"*{name}*")[:5]
        raise ArchitectureError(
            f"timm {timm.__version__} has no model '{name}'",
            where=where,
            fix=("timm:" + ", timm:".join(near)) if near else "python -c 'import timm; print(timm.list_models())'",
        )
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **options)
    except Exception as error:
        raise _failed("timm.create_model", where, error) from error
    return model, "cross-entropy"


def _build_transformers(directory: str, options: Mapping[str, Any]) -> tuple[nn.Module, str]:
    """Return a transformers network that answers with its logits, and its loss."""
    where = f"--arch hf:{directory}"
    if not os.path.isfile(os.path.join(directory, "config.json")):
        raise ArchitectureError(
            f"no config.json in '{directory}'", where=where, expected="a folder as written by save_pretrained"
        )
    try:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageClassification
    except Exception as error:
        raise _unavailable("hf", where, error) from error
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:
        raise _failed("AutoConfig.from_pretrained", where, error) from error
    declared = " ".join(config.architectures or ())
    if "ForImageClassification" in declared:
        auto, loss = AutoModelForImageClassification, "cross-entropy"
    elif "LMHeadModel" in declared or "ForCausalLM" in declared:
        auto, loss = AutoModelForCausalLM, "next-token"
    else:
        raise ArchitectureError(
            f"its config.json names {declared or 'no architecture'}",
            where=where,
            expected="a model for causal language modelling or image classification",
            fix="--arch path/to/file.py:factory, with a factory that returns the network you want",
        )
    try:
        # eager attention: the fused kernels have no second derivative
        model: nn.Module = auto.from_config(config, attn_implementation="eager")
    except Exception as error:
        raise _failed(f"{auto.__name__}.from_config", where, error) from error
    config.use_cache = False
    # A hook rather than a wrapper: the tensors keep the names that the checkpoint has.
    model.register_forward_hook(_take_logits)
    return model, loss


def _take_logits(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
    """Replace a transformers output object by its logits."""
    return output.logits


def _unavailable(extra: str, where: str, error: Exception) -> ArchitectureError:
    library = {"hf": "transformers"}.get(extra, extra)
    return ArchitectureError(
        f"{library} cannot be imported: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
        where=where,
        fix=f"pip install 'hessent[{extra}]'"
        + (" (timm needs a torchvision built for your torch)" if extra == "timm" else ""),
    )


def _failed(call: str, where: str, error: Exception) -> ArchitectureError:
    return ArchitectureError(f"{call} raised {type(error).__name__}: {error}", where=where)


PROVIDERS: dict[str, Callable[[str, Mapping[str, Any]], tuple[nn.Module, str]]] = {
    "timm": _build_timm,
    "hf": _build_transformers,
}
