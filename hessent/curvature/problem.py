"""`Problem`: model, loss and data frozen into one function of the parameters.

    L(θ) = (1 / N) Σ_i ℓ(f_θ(x_i), y_i)

N counts items: samples, or for a language model the valid tokens of the WHOLE stream.  It is never a mean of
per-batch means: 9 samples cut as 8 + 1 would otherwise be wrong by 37 %.  The model is evaluated as it predicts:
eval mode (BatchNorm uses its running statistics, dropout is off), on a private copy, so the caller's model is
neither changed nor watched.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hessent.curvature.attention import attention
from hessent.curvature.containers import map_tensors
from hessent.curvature.finite import refuse_weights
from hessent.curvature.gelu import derivatives_inside, gelu
from hessent.curvature.losses.loss import Loss
from hessent.curvature.losses.registry import resolve_loss
from hessent.curvature.matrices.kinds import Curvature, Hessian
from hessent.curvature.mean_loss import sum_losses
from hessent.curvature.metric import Metric
from hessent.curvature.out_of_memory import ShrinkableBatches, retried
from hessent.curvature.prefetch import prefetched
from hessent.curvature.same_samples import SampleWatch
from hessent.curvature.substitutes import Substitute
from hessent.curvature.support import refuse_unsupported
from hessent.errors import DataError

Batches = Iterable[tuple[Any, Any]]

_SUBSTITUTES = (Substitute("scaled_dot_product_attention", attention), Substitute("gelu", gelu))


class Problem:
    """A mean loss over fixed data as a function of a model's parameters.

    Parameters
    ----------
    model : nn.Module
        Parameters with `requires_grad=False` are constants of the problem.
    loss : str or callable
        A name (`cross-entropy`, `mse`, `half-squared-error`, `next-token`, with parameters as in
        `cross-entropy?label_smoothing=0.1`) or a callable of (outputs, targets) that returns the mean over the
        samples of a micro-batch.
    batches : iterable of (inputs, targets)
        Micro-batches: a DataLoader without shuffling, a list, any re-iterable.  Every pass must give the same
        samples in the same order, and is watched for it; how they are cut into micro-batches does not matter.
        Their order matters for the error of the data subset alone, which is told from contiguous runs: shuffle
        sorted data once beforehand.
    device : torch.device or str
        Where products are computed.
    dtype : torch.dtype
        Precision of the products: float32 or float64.

    Attributes
    ----------
    parameters : dict of str to Tensor
        The variables, in the model's order, tied ones once.
    curvature : Curvature
        Which matrix is multiplied with: the Hessian, unless `with_curvature` named another.
    metric : Metric or None
        Through which the matrix is seen, as P^{-1/2} C P^{-1/2}; None, unless `with_metric` gave one, is Euclid's.
    loss_value : float
        L(θ), filled by `measure_loss`.
    num_items : int
        N, filled by `measure_loss`.
    num_samples : int
        Number of samples, filled by `measure_loss`: N, except where a sample holds several items.
    notes : tuple of str
        What `measure_loss` had to do otherwise than asked, for whoever can tell the user.

    Raises
    ------
    ArchitectureError
        If a layer has no exact second derivative.
    NonFiniteError
        If weights or buffers are not finite, naming them.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str | Callable[[Any, Any], Tensor] | Loss,
        batches: Batches,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        model = getattr(model, "_orig_mod", model)  # a compiled module has no second derivative; its origin has
        refuse_unsupported(model)
        refuse_weights(model)
        self.device = torch.device(device)
        self.dtype = dtype
        self.model = copy.deepcopy(model).to(device=self.device, dtype=dtype).eval()
        self.loss = resolve_loss(loss)
        self.curvature: Curvature = Hessian()
        self.metric: Metric | None = None
        self.batches = batches
        self._watch = SampleWatch(batches)
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise DataError("the model has no parameter that requires a gradient")
        self.loss_value = float("nan")
        self.num_items = 0
        self.num_samples = 0
        self.notes: tuple[str, ...] = ()

    @property
    def num_params(self) -> int:
        """Number of variables n, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    def micro_batches(self) -> Iterator[tuple[Any, Any]]:
        """Iterate over the micro-batches, moved to the device; floating inputs take the problem's dtype.

        For a device of its own they are read ahead and copied while it computes.

        Raises
        ------
        DataError
            If the samples are not those of earlier passes.
        """
        watched = self._watch.watched(self.batches)
        for inputs, targets in watched if self.device.type == "cpu" else prefetched(watched, _pinned):
            yield self._move(inputs), self._move(targets)

    def title_of(self, sample: int) -> str:
        """Return how a sample is called in messages, by its place in the order in which samples come."""
        return self._watch.title(sample)

    def _move(self, value: Any) -> Any:
        return map_tensors(
            value,
            lambda tensor: tensor.to(
                self.device, self.dtype if tensor.is_floating_point() else tensor.dtype, non_blocking=True
            ),
        )

    def outputs(self, inputs: Any) -> Any:
        """Return the model's outputs; a dict of inputs is passed as keyword arguments."""
        with derivatives_inside():
            return self.model(**inputs) if isinstance(inputs, dict) else self.model(inputs)

    def loss_sum(self, inputs: Any, targets: Any) -> tuple[Tensor, int]:
        """Return the loss summed over the items of a micro-batch, and their number.

        Returns
        -------
        tuple of (Tensor, int)
            Scalar sum (in the loss's unit, nats for likelihoods) and the item count.
        """
        outputs = self.outputs(inputs)
        return self.loss.sum(outputs, targets), self.loss.count(outputs, targets)

    def objective_sum(self, inputs: Any, targets: Any) -> Tensor:
        """Return the scalar, summed over the items of a micro-batch, whose Hessian is the curvature matrix."""
        return self.curvature.objective(self.loss, self.outputs(inputs), targets)

    def measure_loss(self) -> float:
        """Evaluate L(θ) over all data, checking targets against outputs, and fix the numbers of items and samples.

        Where memory runs out, micro-batches are halved for good.

        Returns
        -------
        float
            L(θ), exact for this data up to rounding.

        Raises
        ------
        DataError
            If there is no item, a target does not fit the outputs, or inputs are not finite.
        NonFiniteError
            If the loss of a micro-batch is NaN or infinite; the message names micro-batch and sample.
        ComputationError
            If memory runs out with a single sample at a time.
        """
        batches = ShrinkableBatches(self.batches)
        total, items, count = retried(lambda: self._sum_losses(batches), batches.halve)
        if items == 0:
            raise DataError(
                "the data holds no item to average the loss over",
                expected="at least one sample (for next-token: one target that is not ignored)",
            )
        if batches.limit is not None:
            self.batches = batches
            self.notes = (f"memory ran out: going on with micro-batches of at most {batches.limit:,} samples",)
        self.loss_value, self.num_items, self.num_samples = total / items, items, count
        return self.loss_value

    def _sum_losses(self, batches: Batches) -> tuple[float, int, int]:
        with torch.no_grad(), exact_derivatives(self.model):
            return sum_losses(self.recut(batches))

    def count_items(self, inputs: Any, targets: Any) -> int:
        """Return the number of items of a micro-batch; the model is run only if the targets do not tell it."""
        told = self.loss.count_targets(targets)
        if told is not None:
            return told
        with torch.no_grad(), exact_derivatives(self.model):
            return self.loss.count(self.outputs(inputs), targets)

    def with_batches(self, batches: Batches) -> Problem:
        """Return the same problem (parameters shared) with other data."""
        other = copy.copy(self)
        other.batches, other.notes = self.curvature.batches(batches), ()
        other._watch = SampleWatch(batches)
        return other

    def with_curvature(self, curvature: Curvature) -> Problem:
        """Return the same problem (parameters shared) with another matrix in place of the Hessian.

        Parameters
        ----------
        curvature : Curvature
            Of `hessent.curvature.matrices.kinds`.
        """
        other = copy.copy(self)
        other.curvature, other.loss = curvature, curvature.loss(self.loss)
        return other.with_batches(self.batches)

    def with_metric(self, metric: Metric | Mapping[str, Tensor] | None) -> Problem:
        """Return the same problem (parameters shared) with its matrix seen through a metric.

        Parameters
        ----------
        metric : Metric, mapping of str to Tensor, or None
            The positive diagonal P by parameter: the matrix becomes P^{-1/2} C P^{-1/2}.  None is Euclid's.

        Raises
        ------
        UsageError
            If it lacks a parameter, has another shape, or an entry is not a positive number.
        """
        if isinstance(metric, Mapping):
            metric = Metric.of_diagonal("given", "P^-1/2 C P^-1/2 with a given diagonal P", metric, "the diagonal")
        other = copy.copy(self)
        other.metric = None if metric is None else metric.fitted_to(self.parameters)
        return other

    def recut(self, batches: Batches) -> Problem:
        """Return the same problem (parameters shared) with the same samples, cut otherwise into micro-batches."""
        other = copy.copy(self)
        other.batches, other.notes = batches, ()
        return other


def _pinned(batch: tuple[Any, Any]) -> tuple[Any, Any]:
    """Copy a micro-batch to page-locked memory, from where it moves without waiting."""
    inputs, targets = map_tensors(batch, lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())
    return inputs, targets


@contextlib.contextmanager
def exact_derivatives(model: nn.Module) -> Iterator[None]:
    """Hold every setting under which second derivatives exist and are exact.

    Attention runs on the math backend (the fused ones have no second derivative) or, where that would keep much
    memory, on the package's own, and so does GELU; recurrent layers outside cuDNN (its kernels have no double
    backward), matrix products outside tf32.  It must surround the whole product: forward and both backward passes.
    """
    recurrent = _is_recurrent(model)
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    cudnn = torch.backends.cudnn.enabled
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.enabled = cudnn and not recurrent
        with sdpa_kernel(SDPBackend.MATH), _SUBSTITUTES[0], _SUBSTITUTES[1]:
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.enabled = cudnn


def _is_recurrent(model: nn.Module) -> bool:
    """Whether a model has a recurrent layer; asked on every product, found out once."""
    if model not in _RECURRENT:
        _RECURRENT[model] = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return _RECURRENT[model]


_RECURRENT: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
