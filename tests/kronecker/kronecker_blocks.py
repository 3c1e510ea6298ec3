"""Made-up blocks of K-FAC."""

import numpy as np

from hessent.spectra.kronecker import METHOD, FactorPair, KroneckerBlock
from hessent.spectra.recurrences import DataGroups


def pair(inputs=7, outputs=4, groups=0, seed=0):
    rng = np.random.default_rng(seed)

    def values(*shape):
        return np.sort(rng.gamma(0.3, 1.0, shape), axis=-1)

    left_out = (values(groups, inputs), values(groups, outputs)) if groups else (None, None)
    return FactorPair(values(inputs), values(outputs), *left_out)


def block(*pairs, name="fc1", groups=0, draws=0, approximation="expand"):
    return KroneckerBlock(
        name=name,
        size=sum(one.size for one in pairs),
        parameters=(f"{name}.weight", f"{name}.bias"),
        method=METHOD,
        num_matvecs=0,
        converged=True,
        status="exact expectation",
        noise=1e-7,
        groups=DataGroups(np.arange(5, 5 + groups), 0.25) if groups else None,
        pairs=pairs,
        approximation=approximation,
        draws=draws,
    )
