"""Made-up spectra for the tests of the rooms that write, read and print them."""

from __future__ import annotations

import dataclasses

import numpy as np

from hessent.spectra.gradients import BlockGradient, GradientAlong
from hessent.spectra.model import BlockSpectrum, Spectrum, TensorProbe
from hessent.spectra.provenance import CheckpointInfo, DataInfo, LossInfo
from hessent.spectra.recurrences import DataGroups, Outliers, ProbeRuns, ShorterSpectrum
from hessent.spectra.split import BlockSplit


def exact_block(name="layer1.0.bn1", size=64, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    eigenvalues = np.sort(scale * (rng.gamma(0.3, 1.0, size) - 0.02))
    return BlockSpectrum(
        name=name,
        size=size,
        parameters=(f"{name}.weight", f"{name}.bias"),
        method="exact",
        num_matvecs=size,
        converged=True,
        status="exact",
        noise=2e-8,
        eigenvalues=eigenvalues,
    )


def lanczos_block(name="layer1.0.conv1", size=36_864, seed=0, scale=1.0, num_outliers=6, converged=True):
    """A sampled block: outliers, then true Lanczos runs of four probes on a small diagonal matrix."""
    rng = np.random.default_rng(seed)
    bulk = scale * (rng.gamma(0.2, 0.05, 400) - 0.001)
    runs = [_recurrence(bulk, rng, 12) for _ in range(4)]
    outliers = np.sort(scale * rng.uniform(1.0, 9.0, num_outliers))
    return BlockSpectrum(
        name=name,
        size=size,
        parameters=(f"{name}.weight",),
        method="lanczos",
        num_matvecs=130,
        converged=converged,
        status="tolerance met" if converged else "budget spent",
        noise=3e-8,
        outliers=Outliers(values=outliers, residuals=1e-3 * np.abs(outliers)),
        probes=ProbeRuns(
            alphas=np.array([run[0] for run in runs]),
            betas=np.array([run[1][:-1] for run in runs]),
            last_betas=np.array([run[1][-1] for run in runs]),
        ),
        lambda_max=(float(outliers[-1]), 1e-3 * float(outliers[-1])) if num_outliers else (float(bulk.max()), 1e-4),
        lambda_min=(float(bulk.min()), 1e-4 * scale),
    )


def grouped_exact_block(name="layer1.0.bn1", size=64, seed=0, scale=1.0, items=(32, 32, 32, 32)):
    """An exact block with its eigenvalues without each group of the data: true matrices around a diagonal one."""
    rng = np.random.default_rng(seed)
    items = np.array(items, dtype=np.int64)
    deviations = 0.1 * scale * rng.standard_normal((len(items), size, size)) / np.sqrt(size)
    center = np.diag(np.sort(scale * (rng.gamma(0.3, 1.0, size) - 0.02)))
    matrices = center + deviations + np.swapaxes(deviations, 1, 2)
    total = np.einsum("g,gij->ij", items, matrices)
    without = [(total - n * matrix) / (items.sum() - n) for n, matrix in zip(items, matrices, strict=True)]
    return dataclasses.replace(
        exact_block(name, size, seed, scale),
        eigenvalues=np.linalg.eigvalsh(total / items.sum()),
        noise_floor=1e-9 * scale,
        groups=DataGroups(
            items=items,
            left_out=np.linalg.eigvalsh(np.array(without)),
            traces=np.trace(matrices, axis1=1, axis2=2),
        ),
    )


def grouped_lanczos_block(
    name="layer1.0.conv1", size=36_864, seed=0, scale=1.0, num_outliers=6, converged=True, items=(32, 32, 32, 32)
):
    """A sampled block with all that may be kept of it; each group curves every direction a little otherwise."""
    rng = np.random.default_rng(seed + 1_000)
    block = lanczos_block(name, size, seed, scale, num_outliers, converged)
    items = np.array(items, dtype=np.int64)
    shares = items / items.sum()

    def parts(matrix):
        """Cut a matrix into symmetric ones, one per group, of which it is the weighted mean."""
        shape = (len(items), *matrix.shape)
        deviations = 0.02 * np.abs(np.linalg.eigvalsh(matrix)).max(initial=0.0) * rng.standard_normal(shape)
        deviations = (deviations + np.swapaxes(deviations, 1, 2)) / np.sqrt(2 * max(len(matrix), 1))
        return matrix + deviations - np.einsum("g,gij->ij", shares, deviations)

    runs = [
        parts(np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1))[:, :8, :8]
        for alphas, betas in zip(block.probes.alphas[:3], block.probes.betas[:3], strict=True)
    ]
    complement = size - num_outliers
    trace = block.outliers.values.sum() + complement * block.probes.alphas[:, 0].mean()
    return dataclasses.replace(
        block,
        probes=dataclasses.replace(block.probes, simple=np.sort(scale * rng.uniform(0.01, 0.05, 3))),
        noise_floor=1e-9 * scale,
        multiplicity="whole" if seed % 2 else "lower bound",
        groups=DataGroups(
            items=items,
            sampled_fraction=0.0,
            outliers=parts(np.diag(block.outliers.values)) if num_outliers else None,
            probes=np.stack(runs, axis=1),
            traces=trace * (1 + 0.05 * rng.standard_normal(len(items))),
        ),
    )


def projected_exact_block(name="layer3.0.bn1", size=600, seed=0, items=(32, 32, 32, 32)):
    """A large exact block: its groups are projected on a few outliers and Krylov spaces that only they know of."""
    groups = grouped_lanczos_block(size=size, seed=seed, items=items).groups
    return dataclasses.replace(exact_block(name, size, seed), groups=groups)


def joint_block(name="layer3.0.conv1", seed=0):
    """A sampled block whose probes shared a Krylov space: it was looked at after fewer steps, too."""
    block = grouped_lanczos_block(name, seed=seed)
    cuts = [lanczos_block(seed=seed + 7, num_outliers=4), lanczos_block(seed=seed + 8, num_outliers=0)]
    shorter = tuple(
        ShorterSpectrum(cut.outliers, dataclasses.replace(cut.probes, simple=np.zeros(0))) for cut in cuts
    )
    fewer = dataclasses.replace(block.groups, outliers=block.groups.outliers[:, -3:, -3:])
    return dataclasses.replace(block, shorter=shorter, groups=fewer)


def trace_block(name="layer2.0.conv1", size=73_728, seed=0, scale=1.0, converged=True, items=None):
    """A block of which only the trace was measured."""
    rng = np.random.default_rng(seed)
    trace = 30.0 * scale
    groups = None
    if items is not None:
        traces = trace * (1 + 0.05 * rng.standard_normal(len(items)))
        groups = DataGroups(items=np.array(items, dtype=np.int64), sampled_fraction=0.25, traces=traces)
    return BlockSpectrum(
        name=name,
        size=size,
        parameters=(f"{name}.weight",),
        method="hutch++",
        num_matvecs=60,
        converged=converged,
        status="tolerance met" if converged else "budget spent",
        noise=2e-8,
        noise_floor=1e-9 * scale,
        multiplicity="lower bound",
        trace_estimates=trace * (1 + 0.002 * rng.standard_normal(20)),
        groups=groups,
    )


def grouped_blocks():
    """One block of each type, with everything that a file can hold of it."""
    return (
        grouped_exact_block(),
        grouped_lanczos_block(),
        trace_block(items=(32, 32, 32, 32)),
        grouped_lanczos_block("full", size=11_173_962, seed=5, scale=30.0, num_outliers=20),
    )


def _recurrence(diagonal, rng, num_steps):
    """Lanczos with full reorthogonalisation on diag(`diagonal`)."""
    vector = rng.standard_normal(len(diagonal))
    basis = [vector / np.linalg.norm(vector)]
    alphas, betas = [], []
    for _ in range(num_steps):
        product = diagonal * basis[-1]
        alphas.append(float(product @ basis[-1]))
        stacked = np.array(basis)
        for _ in range(2):
            product = product - stacked.T @ (stacked @ product)
        betas.append(float(np.linalg.norm(product)))
        basis.append(product / betas[-1])
    return alphas, betas


def resnet_block_names():
    """The 41 layers with parameters of an 18-layer residual net, in its order."""
    names = ["conv1", "bn1"]
    for stage in range(1, 5):
        for unit in range(2):
            names += [f"layer{stage}.{unit}.{part}" for part in ("conv1", "bn1", "conv2", "bn2")]
            if stage > 1 and unit == 0:
                names += [f"layer{stage}.0.downsample.0", f"layer{stage}.0.downsample.1"]
    return [*names, "fc"]


def resnet_blocks():
    blocks = []
    for index, name in enumerate(resnet_block_names()):
        scale = 10.0 ** (1 - (index % 7))
        if "bn" in name or name.endswith("downsample.1"):
            blocks.append(exact_block(name, size=64 << min(index // 10, 3), seed=index, scale=scale))
        else:
            blocks.append(
                lanczos_block(name, size=36_864 << (index // 12), seed=index, scale=scale, converged=index % 5 != 0)
            )
    return (*blocks, lanczos_block("full", size=11_173_962, seed=99, scale=30.0, num_outliers=20))


def with_gradient(block, seed=0):
    """The block with a made-up gradient: four groups of the data, twelve mini-batches, and where it points."""
    generator = np.random.default_rng(seed)
    gradient = generator.standard_t(3, min(block.size, 4000))
    rows = np.array([_reduced(gradient + 0.3 * generator.normal(size=gradient.shape)) for _ in range(17)])
    along = None
    if block.eigenvalues is not None:
        along = GradientAlong(generator.dirichlet(np.ones(block.size)))
    elif block.outliers is not None:
        shares = generator.dirichlet(np.ones(len(block.outliers.values) + 1))[1:]
        along = GradientAlong(shares, block.outliers.values, block.outliers.residuals)
    found = BlockGradient(rows[0], 1e-7, rows[5:], 64, rows[1:5], np.full(4, 128), 0.25, along)
    return dataclasses.replace(block, gradient=found)


def _reduced(gradient):
    sizes = np.abs(gradient)
    shares = sizes / sizes.sum()
    return [sizes.sum(), (sizes**2).sum(), -(shares * np.log(shares)).sum()]


def split_blocks():
    """A block formed whole, one of which nothing is left, and one of 12 vectors."""
    generator = np.random.default_rng(2)
    rows = np.abs(generator.normal(size=(12, 7)))
    rows[:, 6] = generator.uniform(-1, 1, 12)
    return (
        BlockSplit("conv1", 432, True, 1e-9, np.array([[3.0, 4.0, -1.0, 2.0, 1.5, 0.5, -0.25]])),
        BlockSplit("bn1", 16, False, 1e-6, rows * [1, 1, 1e-9, 1, 1, 1e-7, 1]),
        BlockSplit("full", 2_000, False, 1e-9, rows),
    )


def spectrum(blocks=None, **changes):
    sample = Spectrum(
        checkpoint=CheckpointInfo(
            path="runs/adam/step-000400.safetensors",
            sha256="ab" * 32,
            arch="resnet18",
            arch_options={"width": 16, "stem": "cifar"},
            step=400,
            total_steps=400,
            optimizer={"name": "adam", "lr": 0.001},
            metrics={"train_loss": 0.031, "test_accuracy": 0.978},
            stored_dtype="F32",
        ),
        data=DataInfo(name="digits", samples=512, available=1437, sha256="cd" * 32),
        loss=LossInfo(name="cross-entropy", value=0.0312),
        curvature="hessian",
        seed=0,
        complete=True,
        settings={"blocks": ["layer", "full"], "rtol": 0.05, "dtype": "float32", "max_time": None},
        versions={"hessent": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        checks={"symmetry": 1.2e-8, "repeat": 3e-9},
        blocks=tuple(blocks)
        if blocks is not None
        else (exact_block(), lanczos_block(), lanczos_block("full", seed=5)),
        tensor_probe=TensorProbe(
            names=("conv1.weight", "bn1.weight"),
            sizes=np.array([432, 16]),
            sums=np.array([1.5, -0.25]),
            gaps=np.array([0.41, 0.33]),
        ),
    )
    return dataclasses.replace(sample, **changes)
