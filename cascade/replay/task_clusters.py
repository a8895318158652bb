"""Fits the kinds of task in a log: k-means over TF-IDF, or one centroid for each task the log names.

What it is fitted on must not be judged by it afterwards: a cluster drawn around the rows where
compression happened to do well would promise too much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..compress.clusters import ONE_CLUSTER, TaskClusters, term_counts

__all__ = ["LEAST_ROWS", "fit_clusters"]

LEAST_ROWS = 20
"""Rows a cluster at least that it is fitted on; with fewer there are fewer clusters."""

MOST_TASKS = 12
"""Tasks of a log that are taken for kinds: each is a test more, and each needs its own rows."""

MOST_TERMS = 3_000
CENTROID_TERMS = 300
"""Words that a cluster is known by."""

_DECIMALS = 5


def fit_clusters(
    texts: Sequence[str], tasks: Sequence[str] | None = None, *, count: int = 4, seed: int = 0
) -> TaskClusters:
    """Return clusters fitted on these texts.

    Args:
        texts: What `task_text` says of each row.
        tasks: The task of each row where the log names one: a cluster is then a task, and live
            requests, which name none, go to the task whose words are nearest. None, fewer than two
            different ones or more than `MOST_TASKS`: k-means.
        count: Clusters of k-means at most, >= 1.
        seed: Of k-means.

    Returns:
        One cluster, ``all``, where there are too few rows for more.
    """
    if tasks is not None and 1 < len(_large(tasks)) <= MOST_TASKS:
        return _of_tasks(texts, tasks)
    count = min(count, len(texts) // LEAST_ROWS)
    if count < 2:
        return ONE_CLUSTER
    terms, idf, rows = _vectors(texts)
    if not len(terms):
        return ONE_CLUSTER
    from sklearn.cluster import KMeans

    fitted = KMeans(n_clusters=count, n_init=4, random_state=seed).fit(rows)
    sizes = np.bincount(fitted.labels_, minlength=count)
    order = np.argsort(-sizes, kind="stable")  # the largest first, so that names mean something
    centroids = np.asarray(fitted.cluster_centers_, float)[order]
    return _made(tuple(str(i) for i in range(count)), terms, idf, centroids)


def _of_tasks(texts: Sequence[str], tasks: Sequence[str]) -> TaskClusters:
    names = _large(tasks)
    kept = [i for i, task in enumerate(tasks) if task in set(names)]
    terms, idf, rows = _vectors([texts[i] for i in kept])
    column = {name: j for j, name in enumerate(names)}
    of = np.array([column[tasks[i]] for i in kept])
    centroids = np.stack([np.asarray(rows[of == j].mean(axis=0)) for j in range(len(names))])
    return _made(tuple(names), terms, idf, centroids)


def _large(tasks: Sequence[str]) -> list[str]:
    """Return the tasks with enough rows, in the order of their names; rows of others go to the nearest."""
    return sorted(task for task, rows in Counter(tasks).items() if task and rows >= LEAST_ROWS)


def _vectors(texts: Sequence[str]) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:
    """Return terms, their idf and the TF-IDF rows, of length 1. Shapes (m,), (m,), (n, m)."""
    counts = [term_counts(text) for text in texts]
    seen: dict[int, int] = {}
    for one in counts:
        for term in one:
            seen[term] = seen.get(term, 0) + 1
    n = len(texts)
    usable = [term for term, df in seen.items() if df >= 3]
    # Words of a middling frequency tell tasks apart: those with the greatest variance are kept.
    usable.sort(key=lambda term: (-seen[term] * (n - seen[term] + 1), term))
    terms = sorted(usable[:MOST_TERMS])
    idf = np.array([np.log((1 + n) / (1 + seen[term])) + 1.0 for term in terms])
    place = {term: j for j, term in enumerate(terms)}
    rows = np.zeros((n, len(terms)))
    for i, one in enumerate(counts):
        for term, count in one.items():
            j = place.get(term)
            if j is not None:
                rows[i, j] = (1.0 + np.log(count)) * idf[j]
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return terms, idf, rows / np.where(lengths > 0, lengths, 1.0)


def _made(
    names: tuple[str, ...],
    terms: list[int],
    idf: NDArray[np.float64],
    centroids: NDArray[np.float64],
) -> TaskClusters:
    """Return the clusters with the heaviest words of each and no others."""
    weights: list[dict[int, float]] = []
    for row in centroids:
        heaviest = np.argsort(-row, kind="stable")[:CENTROID_TERMS]
        weights.append(
            {terms[j]: round(float(row[j]), _DECIMALS) for j in heaviest if row[j] > 1e-4}
        )
    known = {term: round(float(idf[j]), _DECIMALS) for j, term in enumerate(terms)}
    return TaskClusters(names=names, idf=known, centroids=tuple(weights))
