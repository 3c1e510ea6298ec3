"""How each optimizer approximates curvature: table 1 of the unified view, as plain text.

Length limit: which length of the step is held fixed, with H' the optimizer's own approximation of the Hessian H.
Calculating: which matrix stands for H, F the Fisher matrix or F̃ the empirical one.  Structure: which shape it is
given.  Iterative: how it is carried from step to step.  An empty cell is exact in that respect.  Of momentum, Lion
and the entropic cascade the table knows nothing: they are gradient or sign descent with a memory of the gradient,
and classed as such.  Lines are of the steps taken here: the table has K-FAC with the empirical Fisher matrix and
momentum, and Shampoo with momentum.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Approximation:
    """One line of the table; empty text where nothing is approximated.

    Attributes
    ----------
    length_limit, calculating, structure, iterative : str
        As in the module's docstring.
    """

    length_limit: str = ""
    calculating: str = ""
    structure: str = ""
    iterative: str = ""


_EACH = "‖d_i‖_H' = ε·|ĝ_i|"

CLASSIFICATION: dict[str, Approximation] = {
    "newton": Approximation(),
    "ngd": Approximation(calculating="F"),
    "normalized-ngd": Approximation(length_limit="‖d‖_H = ε"),
    "gradient-norm-ngd": Approximation(length_limit="‖d_i‖_H = ε·|ĝ_i|"),
    "eigenbasis-ngd": Approximation(length_limit="‖d_i‖_H = ε"),
    "gd": Approximation(structure="L·I"),
    "normalized-gd": Approximation(length_limit="‖d‖_H' = ε", structure="L·I"),
    "sign-gd": Approximation(length_limit="‖d_i‖_H' = ε", structure="L·I"),
    "momentum": Approximation(structure="L·I", iterative="momentum"),
    "l-bfgs": Approximation(structure="rank-2 updates", iterative="secant pairs of the last k steps"),
    "k-fac": Approximation("", "F", "block-diagonal, A ⊗ G by layer, A independent of G"),
    "shampoo": Approximation(_EACH, "F̃", "L^-¼ G R^-¼ by tensor", "sum over the steps"),
    "adam": Approximation(_EACH, "F̃", "diagonal", "momentum"),
    "adagrad": Approximation(_EACH, "F̃", "diagonal", "sum over the steps"),
    "adahessian": Approximation(_EACH, "", "diagonal", "Monte Carlo, momentum"),
    "sophia": Approximation("", "F", "diagonal", "momentum"),
    "lion": Approximation("‖d_i‖_H' = ε", "", "L·I", "momentum, inside the sign"),
    "emc": Approximation("‖d_i‖_H' = ε·|m̃_i|^γ", "", "L·I", "several momenta, weighted by entropy"),
}
