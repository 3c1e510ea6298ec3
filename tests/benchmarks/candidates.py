"""Everything that multiplies with a Hessian, behind one signature: our engines, the plain way, the other tools.

Other tools are used as their documentation shows and take part only where they are installed.  All have to run
under the math attention backend, without which none of them works: the fused kernels have no second derivative.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from benchmarks.machine import memory
from benchmarks.models import CrossEntropy, Workload
from torch import Tensor

from hessent.curvature.blocks import Block
from hessent.curvature.engine import HessianEngine

Multiply = Callable[[Sequence[Tensor]], list[Tensor]]
Prepare = Callable[[Workload, list[Block]], Multiply]

ENGINES = ("auto", "retained", "lockstep", "batched", "forward", "linearized", "replayed")
_PRODUCTS = 300  # with every block: what `auto` may choose for
_GRAPH_SHARE = 0.5  # of the memory, for what an engine keeps


@dataclass(frozen=True)
class Candidate:
    """One way to multiply.

    Attributes
    ----------
    name : str
        In tables.
    prepare : callable
        From a workload and blocks to a function of columns (n_b, k) per block, which returns as many products.
    ours : bool
        Whether it is an engine of this package.
    module : str, optional
        What must be importable.
    needs_cuda : bool
    together : bool
        Whether it gets several vectors per call, because it shares work among them; others get one.
    whole, blocks : bool
        Whether it is measured on the whole matrix, and on all blocks at once.
    beside : bool
        Whether on a CPU it only stands beside a better way of the same tool: few rounds, and none of its memory.
    """

    name: str
    prepare: Prepare
    ours: bool = False
    module: str | None = None
    needs_cuda: bool = False
    together: bool = False
    whole: bool = True
    blocks: bool = True
    beside: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether it can run here."""
        return self.module is None or importlib.util.find_spec(self.module) is not None


@dataclass
class Engine:
    """One of our engines; once prepared, `chosen` names what `auto` has settled on."""

    name: str
    chosen: str = ""

    def __call__(self, work: Workload, blocks: list[Block]) -> Multiply:
        problem = work.problem()
        problem.measure_loss()
        engine = HessianEngine(problem, memory=room(work.device), engine=self.name)
        # As for a run over all of them; the one in the middle stands for the others, as in `hessent spectrum`.
        engine.choose([(blocks[len(blocks) // 2], _PRODUCTS * len(blocks))])
        self.chosen = str(engine.engine)
        return lambda columns: [found.total for found in engine.products(list(zip(blocks, columns, strict=True)))]


def room(device: str) -> int:
    """Return the bytes that an engine may keep."""
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else memory()
    return int(_GRAPH_SHARE * free)


def plain(work: Workload, blocks: list[Block]) -> Multiply:
    """Return double backward run afresh for every vector and block, the way of a first script."""
    model = copy.deepcopy(work.model)
    parameters = dict(model.named_parameters())

    def product(block: Block, v: Tensor) -> Tensor:
        chosen = [parameters[name] for name in block.parameters]
        loss = CrossEntropy()(model(work.inputs), work.targets)
        gradients = torch.autograd.grad(loss, chosen, create_graph=True)
        return _joined(torch.autograd.grad(gradients, chosen, _pieces(v, chosen)))

    return _by_columns(blocks, product)


def hessian_eigenthings(work: Workload, blocks: list[Block]) -> Multiply:
    """Return its `HessianOperator`, filtered by parameter names for a block."""
    from hessian_eigenthings import HessianOperator
    from hessian_eigenthings.loss_fns.standard import supervised_loss

    model, loss = copy.deepcopy(work.model), supervised_loss(CrossEntropy())
    operators = {
        block: HessianOperator(
            model,
            [(work.inputs, work.targets)],
            loss,
            param_filter=lambda name, _, members=frozenset(block.parameters): name in members,
        )
        for block in blocks
    }
    return _by_columns(blocks, lambda block, v: operators[block].matvec(v))


def curvlinops(work: Workload, blocks: list[Block]) -> Multiply:
    """Return its `HessianLinearOperator`, block diagonal where there are several blocks; columns together."""
    from curvlinops import HessianLinearOperator

    model = copy.deepcopy(work.model)
    parameters = dict(model.named_parameters())
    operator = HessianLinearOperator(
        model,
        CrossEntropy(),
        [parameters[name] for block in blocks for name in block.parameters],
        [(work.inputs, work.targets)],
        check_deterministic=False,
        block_sizes=[len(block.parameters) for block in blocks],
    )
    sizes = [block.size for block in blocks]
    return lambda columns: list((operator @ torch.cat(list(columns))).split(sizes))


def curvlinops_alone(work: Workload, blocks: list[Block]) -> Multiply:
    """Return the same operator, one vector after another."""
    together = curvlinops(work, blocks)

    def multiply(columns: Sequence[Tensor]) -> list[Tensor]:
        (V,) = columns
        return [torch.cat([together([v[:, None]])[0] for v in V.T], dim=1)]

    return multiply


def pyhessian_loader(work: Workload, blocks: list[Block]) -> Multiply:
    """Return its product over a data loader, which holds the one batch."""
    tool = _pyhessian(work, dataloader=[(work.inputs, work.targets)])

    def product(_: Block, v: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of the reference cycles that its backward passes leave
            return _joined(tool.dataloader_hv_product(_pieces(v, tool.params))[1])

    return _by_columns(blocks, product)


def pyhessian_batch(work: Workload, blocks: list[Block]) -> Multiply:
    """Return its product for data that is one batch, whose graph it keeps."""
    from pyhessian.utils import hessian_vector_product

    tool = _pyhessian(work, data=(work.inputs, work.targets))
    return _by_columns(
        blocks, lambda _, v: _joined(hessian_vector_product(tool.gradsH, tool.params, _pieces(v, tool.params)))
    )


def _pyhessian(work: Workload, **data: Any) -> Any:
    from pyhessian import hessian

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hessian(copy.deepcopy(work.model), CrossEntropy(), cuda=work.device == "cuda", **data)


CANDIDATES = (
    *(
        Candidate(
            f"hessent {name}",
            Engine(name),
            ours=True,
            needs_cuda=name == "replayed",
            together=name != "retained",
            blocks=name not in ("batched", "forward"),  # with one vector per block there is nothing to batch
            beside=name in ("lockstep", "batched", "forward"),  # on a CPU
        )
        for name in ENGINES
    ),
    # For blocks it is what hessian-eigenthings does.
    Candidate("double backward, afresh", plain, blocks=False, beside=True),
    Candidate("hessian-eigenthings", hessian_eigenthings, module="hessian_eigenthings"),
    Candidate("curvlinops", curvlinops, module="curvlinops", together=True),
    Candidate("curvlinops, one by one", curvlinops_alone, module="curvlinops", blocks=False, beside=True),
    Candidate("PyHessian, loader", pyhessian_loader, module="pyhessian", blocks=False, beside=True),
    Candidate("PyHessian, one batch", pyhessian_batch, module="pyhessian", blocks=False),
)


def taking_part(device: str) -> list[Candidate]:
    """Return the candidates that can run here."""
    if device == "cuda":
        return [replace(one, beside=False) for one in CANDIDATES if one.is_installed]
    return [one for one in CANDIDATES if one.is_installed and not one.needs_cuda]


def _by_columns(blocks: list[Block], product: Callable[[Block, Tensor], Tensor]) -> Multiply:
    return lambda columns: [
        torch.stack([product(block, v) for v in V.T], dim=1) for block, V in zip(blocks, columns, strict=True)
    ]


def _pieces(v: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = torch.split(v, [parameter.numel() for parameter in like])
    return [part.view_as(parameter) for part, parameter in zip(parts, like, strict=True)]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])
