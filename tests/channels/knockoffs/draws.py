"""Correlated data, and the algebra that knockoffs are judged by."""

import itertools

import torch

from ticketcli.tensors.seeds import generator


def draw(number=0):
    return generator(0, "test draws", number)


def covariance(p, seed=0):
    """Positive definite, with unlike variances."""
    root = torch.randn(p, 2 * p, dtype=torch.float64, generator=generator(seed, "test covariance"))
    scale = torch.linspace(0.5, 2, p, dtype=torch.float64)
    return torch.outer(scale, scale) * (root @ root.T) / (2 * p)


def rows(n, sigma, mean=0.0, number=1):
    values = torch.randn(n, len(sigma), dtype=torch.float64, generator=draw(number))
    return values @ torch.linalg.cholesky(sigma).T + mean


def joint(sigma, s):
    """S.2, the covariance of a pair; s is [p], or the matrix D."""
    cross = sigma - (torch.diag(s) if s.ndim == 1 else s)
    return torch.cat([torch.cat([sigma, cross], 1), torch.cat([cross.T, sigma], 1)])


def exchanged(matrix, which):
    """A joint covariance [2p, 2p] of the pair with the values `which` exchanged."""
    p = len(matrix) // 2
    order = list(range(2 * p))
    for j in which:
        order[j], order[p + j] = p + j, j
    return matrix[order][:, order]


def subsets(p):
    return itertools.chain.from_iterable(itertools.combinations(range(p), k) for k in range(p + 1))


def standard_errors(sample, expected):
    """The entries of a sample's covariance less the expected ones, in Monte-Carlo standard errors of Gaussians."""
    centred = sample - sample.mean(dim=0)
    found = centred.T @ centred / len(sample)
    variances = expected.diagonal()
    errors = ((torch.outer(variances, variances) + expected.square()) / len(sample)).sqrt()
    return (found - expected) / errors
