"""Compound scaling as a tool: from a baseline, a budget and data to a network (arXiv 1905.11946, section 3).

    from efficientnet.design import get_baseline, fit_budget, search, compare

Nothing here is imported by the rest of the package.
"""

from __future__ import annotations

from ..family.compound import PAPER_COEFFICIENTS, Coefficients, Tiny, candidates, cost_factor, efficiency, fast
from ..family.scaling import Factors, scale
from .accuracy import Expected, expected_top1
from .architecture import Found, pareto_front, search_architecture
from .baselines import Baseline, get_baseline
from .budget import Fit, at_equal_cost, fit_budget, growths
from .experiments import compare, search
from .fastest import Fastest, find_fastest
from .latency import LatencyModel, latency_model
from .recipe import ShortTraining
from .report import write_report
from .results import Network, Results, load_results

__all__ = [
    "PAPER_COEFFICIENTS",
    "Baseline",
    "Coefficients",
    "Expected",
    "Factors",
    "Fastest",
    "Fit",
    "Found",
    "LatencyModel",
    "Network",
    "Results",
    "ShortTraining",
    "Tiny",
    "at_equal_cost",
    "candidates",
    "compare",
    "cost_factor",
    "efficiency",
    "expected_top1",
    "fast",
    "find_fastest",
    "fit_budget",
    "get_baseline",
    "growths",
    "latency_model",
    "load_results",
    "pareto_front",
    "scale",
    "search",
    "search_architecture",
    "write_report",
]
