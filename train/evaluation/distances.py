"""Distances between two sets of pictures: kernel two-sample statistics on feature vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SCALE = 1000
"""Both distances are told in thousandths, as is usual."""

CMMD_SIGMA = 1.0
"""Width of the Gaussian kernel: about as far as two unrelated unit vectors are apart, so that it sees more than the means."""


def polynomial_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x.y / D + 1)^3 of (N, D) and (M, D): (N, M) (KID, Binkowski et al. 2018, arXiv:1801.01401)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def gaussian_kernel(x: Tensor, y: Tensor, sigma: float) -> Tensor:
    """exp(-|x - y|^2 / (2 sigma^2)) of (N, D) and (M, D): (N, M)."""
    return torch.exp(-torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").pow(2) / (2 * sigma**2))


def unbiased_mmd(x: Tensor, y: Tensor, kernel: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Squared maximum mean discrepancy of two sets of N vectors, unbiased (Gretton et al. 2012, eq. 4).

    The mean of k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i) over all i != j. Pairs (x_i, y_i) may depend on each other,
    as a picture and the drawing whose name was its prompt do. Below zero is possible, and means no difference.
    """
    if len(x) != len(y) or len(x) < 2:
        raise ValueError(f"two sets of equal size, at least 2, are needed, not {len(x)} and {len(y)}")
    x, y = x.double(), y.double()
    count = len(x)
    total = kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)
    return float((total.sum() - total.diagonal().sum()) / (count * (count - 1)))


def kid(x: Tensor, y: Tensor) -> float:
    """Kernel inception distance x 1000 of features (N, D), with the features that are given in place of Inception's."""
    return SCALE * unbiased_mmd(x, y, polynomial_kernel)


def cmmd(x: Tensor, y: Tensor) -> float:
    """Gaussian MMD x 1000 of unit embeddings (N, D), as CMMD on CLIP's (Jayasumana et al. 2024, arXiv:2401.09603)."""
    return SCALE * unbiased_mmd(x, y, lambda a, b: gaussian_kernel(a, b, CMMD_SIGMA))
