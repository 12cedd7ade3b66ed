"""Writes tests/golden/metrics.json: metrics of seeded maps by scikit-learn, SciPy, scikit-image, anomalib and by their definitions.

    python tools/golden_metrics.py

Packages: numpy, scipy, scikit-learn, scikit-image, torch, anomalib.

A case holds what its maps are made from, so that the tests make the same ones. A generator (SplitMix64) with the seed of the case serves its
images in order; each pixel in turn draws u and then r, uniform in [0, 1) with 53 bits. v = u, squared `squares` times; on the mask it becomes
1 - (1 - v) * q with q = 1 - r * `lift`, squared `lift_squares` times; then, where there are `levels`, floor(v * levels) / levels; the score is
v - `offset`, in f64 until then, rounded to f32.
A mask is painted by rectangles `[x, y, width, height, mark]` in order, on unmarked pixels.

`wrong_…` are values of plausible mistakes, from which ours have to differ.
"""

import json
import logging
import sys
import warnings
from pathlib import Path

import anomalib
import numpy as np
import scipy
import scipy.ndimage
import skimage
import skimage.measure
import sklearn
import sklearn.metrics
import torch
from anomalib.metrics.aupro import _AUPRO
from anomalib.metrics.pimo.functional import aupimo_scores

GOLDEN = Path(__file__).parent.parent / "tests/golden/metrics.json"
EIGHT = np.ones((3, 3))
STEPS = 200

CASES = {
    "plain": dict(
        seed=1, squares=0, lift=0.8, lift_squares=0, levels=0, offset=0.0, threshold=0.75,
        images=[
            [24, 32, [[3, 4, 6, 5, 1], [9, 9, 3, 3, 1], [20, 2, 1, 1, 1]]],  # the second touches the first at a corner
            [24, 32, []],
            [24, 32, [[5, 5, 9, 9, 1], [7, 7, 4, 4, 0], [26, 18, 6, 6, 1]]],  # a ring, and one at the border
            [24, 32, []],
        ],
    ),
    "ties": dict(
        seed=2, squares=0, lift=0.9, lift_squares=0, levels=12, offset=0.0, threshold=0.75,
        images=[[20, 20, [[2, 2, 5, 5, 1], [12, 3, 4, 9, 1]]], [20, 20, []], [20, 20, [[0, 0, 3, 3, 1]]]],
    ),
    "skewed": dict(
        seed=3, squares=6, lift=0.02, lift_squares=0, levels=0, offset=0.0, threshold=1e-3,
        images=[[40, 30, [[4, 4, 12, 10, 1], [20, 30, 3, 3, 1]]], [40, 30, []], [40, 30, [[10, 10, 2, 2, 1], [12, 12, 4, 4, 1]]], [40, 30, []]],
    ),
    "sizes": dict(
        seed=4, squares=1, lift=0.7, lift_squares=0, levels=0, offset=0.4, threshold=0.0,
        images=[[1, 17, []], [31, 7, [[0, 0, 7, 2, 1], [1, 8, 3, 9, 1]]], [64, 48, [[10, 20, 20, 20, 1]]], [5, 1, [[0, 2, 1, 1, 1]]], [33, 65, []]],
    ),
    "bytes": dict(
        seed=5, squares=2, lift=0.5, lift_squares=0, levels=255, offset=0.0, threshold=0.5,
        images=[[50, 40, [[5, 5, 20, 10, 1], [8, 7, 10, 4, 0]]], [50, 40, []], [50, 40, [[30, 30, 4, 4, 1]]]],
    ),
    "blank masks": dict(seed=6, squares=0, lift=0.5, lift_squares=0, levels=0, offset=0.0, threshold=0.5, images=[[9, 9, []], [8, 9, []]]),
    "marked throughout": dict(seed=7, squares=0, lift=0.5, lift_squares=0, levels=0, offset=0.0, threshold=0.5, images=[[9, 9, [[0, 0, 9, 9, 1]]]]),
    # 1,000,000 normal pixels, so that their 10th and 100th highest scores lie at the bounds of AUPIMO.
    "pimo": dict(
        seed=8, squares=0, lift=1.0, lift_squares=3, levels=0, offset=0.0, threshold=0.999,
        images=[[250, 400, []]] * 10 + [[250, 400, [[100, 100, 40, 30, 1]]], [250, 400, [[5, 5, 9, 9, 1]]], [250, 400, [[0, 200, 400, 50, 1]]]],
    ),
}


def uniform(seed, count):
    """SplitMix64, `count` numbers in [0, 1)."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2.0**53


def make(case):
    """Maps and masks of a case."""
    numbers = uniform(case["seed"], 2 * sum(h * w for h, w, _ in case["images"]))
    maps, masks, at = [], [], 0
    for height, width, rectangles in case["images"]:
        mask = np.zeros((height, width), bool)
        for x, y, w, h, mark in rectangles:
            mask[y : y + h, x : x + w] = mark == 1
        drawn = numbers[at : at + 2 * height * width].reshape(height, width, 2)
        at += 2 * height * width
        v = drawn[..., 0]
        for _ in range(case["squares"]):
            v = v * v
        q = 1.0 - drawn[..., 1] * case["lift"]
        for _ in range(case["lift_squares"]):
            q = q * q
        v = np.where(mask, 1.0 - (1.0 - v) * q, v)
        if case["levels"]:
            v = np.floor(v * case["levels"]) / case["levels"]
        maps.append((v - case["offset"]).astype(np.float32))
        masks.append(mask)
    return maps, masks


def ranking(scores, labels):
    """AUROC, AP, AUPR by trapezoids, F1-max with its highest threshold."""
    if labels.all() or not labels.any():
        return None
    precision, recall, thresholds = sklearn.metrics.precision_recall_curve(labels, scores)
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))[:-1]
    best = np.flatnonzero(f1 == f1.max())[-1]
    return {
        "auroc": sklearn.metrics.roc_auc_score(labels, scores),
        "ap": sklearn.metrics.average_precision_score(labels, scores),
        "aupr_trapezoid": sklearn.metrics.auc(recall, precision),
        "f1_max": f1[best],
        "f1_threshold": float(thresholds[best]),
    }


def wrong_ranking(maps, masks):
    """AUROC without the first normal image, and with ties in favour of anomalous pixels."""
    normal = next((at for at, mask in enumerate(masks) if not mask.any()), None)
    scores, labels = flat(maps), flat(masks)
    if normal is None or not labels.any():
        return {}
    rest = [at for at in range(len(maps)) if at != normal]
    order = np.lexsort((labels, scores))
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order))
    return {
        "wrong_without_a_normal_image": ranking(flat([maps[at] for at in rest]), flat([masks[at] for at in rest]))["auroc"],
        "wrong_by_splitting_ties": sklearn.metrics.roc_auc_score(labels, ranks),
    }


def flat(arrays):
    return np.concatenate([array.ravel() for array in arrays])


def pro_curve(maps, masks, structure=EIGHT):
    """False positive rate and mean overlap with regions, at each distinct score from the highest, from (0, 0)."""
    scores, labels = flat(maps), flat(masks)
    thresholds = np.unique(scores)[::-1]
    negatives = np.sort(scores[~labels])
    fpr = (len(negatives) - np.searchsorted(negatives, thresholds, "left")) / len(negatives)
    overlap, regions = np.zeros(len(thresholds)), 0
    for scored, mask in zip(maps, masks):
        labelled, count = scipy.ndimage.label(mask, structure)
        regions += count
        for region in range(1, count + 1):
            inside = np.sort(scored[labelled == region])
            overlap += (len(inside) - np.searchsorted(inside, thresholds, "left")) / len(inside)
    return np.concatenate([[0.0], fpr]), np.concatenate([[0.0], overlap / regions])


def area_up_to(x, y, limit):
    """Area by trapezoids up to a limit, with linear interpolation at it, divided by it."""
    last = np.flatnonzero(x <= limit)[-1]
    xs, ys = x[: last + 1], y[: last + 1]
    if xs[-1] < limit:
        at_limit = ys[-1] + (y[last + 1] - ys[-1]) * (limit - xs[-1]) / (x[last + 1] - xs[-1])
        xs, ys = np.append(xs, limit), np.append(ys, at_limit)
    return np.trapezoid(ys, xs) / limit


def overlap(maps, masks):
    if flat(masks).all() or not flat(masks).any():
        return None
    x, y = pro_curve(maps, masks)
    four = pro_curve(maps, masks, None)
    found = {"aupro": area_up_to(x, y, 0.3), "aupro_005": area_up_to(x, y, 0.05), "wrong_by_four_neighbours": area_up_to(*four, 0.3)}
    if len({scored.shape for scored in maps}) == 1:
        for name, limit in [("anomalib_aupro", 0.3), ("anomalib_aupro_005", 0.05)]:
            metric = _AUPRO(fpr_limit=limit)
            metric.update(torch.from_numpy(np.stack(maps)), torch.from_numpy(np.stack(masks)).int())
            found[name] = float(metric.compute())
    return found


def pimo(maps, masks):
    """AUPIMO of each image on the exact curve, a point for each distinct score of normal images or of the mask."""
    normal = [np.sort(scored.ravel()) for scored, mask in zip(maps, masks) if not mask.any()]
    if not normal or not flat(masks).any():
        return None
    per_image = []
    for scored, mask in zip(maps, masks):
        if not mask.any():
            per_image.append(None)
            continue
        inside = np.sort(scored[mask])
        thresholds = np.unique(np.concatenate([inside, *normal]))[::-1]
        share = lambda scores: (len(scores) - np.searchsorted(scores, thresholds, "left")) / len(scores)
        x, y = np.mean([share(scores) for scores in normal], axis=0), share(inside)
        x, y = np.log(x[x > 0]), y[x > 0]
        low, high = np.log(1e-5), np.log(1e-4)
        # Where the curve rises at one x, the bound is taken at the end of the rise on the inside.
        if x[0] > low + 1e-9:
            return None
        start, end = np.searchsorted(x, low - 1e-9, "left"), np.searchsorted(x, high + 1e-9, "right")
        assert abs(x[start] - low) < 1e-9 and abs(x[end - 1] - high) < 1e-9, "normal pixels have to lie at the bounds"
        per_image.append(np.trapezoid(y[start:end], x[start:end]) / (high - low))
    *_, areas, points = aupimo_scores(torch.from_numpy(np.stack(maps)), torch.from_numpy(np.stack(masks)).int(), num_thresholds=1_000_000, force=True)
    return {"per_image": per_image, "anomalib": [float(area) if mask.any() else None for area, mask in zip(areas, masks)], "anomalib_points": points}


def stretched(fprs, overlaps, is_kept):
    kept = is_kept(fprs)
    x, y = fprs[kept], overlaps[kept]
    if len(x) == 0 or x.max() == x.min():
        return None
    return sklearn.metrics.auc((x - x.min()) / (x.max() - x.min()), y)


def aupro_200(maps, masks):
    """As a reproduction of WinCLIP and many others: thresholds from the lowest score, score > t, rates below 0.3."""
    scores, labels = flat(maps).astype(np.float64), flat(masks)
    thresholds = scores.min() + np.arange(STEPS) * (scores.max() - scores.min()) / STEPS
    fprs, overlaps = [], []
    for t in thresholds:
        found = []
        for scored, mask in zip(maps, masks):
            for region in skimage.measure.regionprops(skimage.measure.label(mask)):
                rows, cols = region.coords[:, 0], region.coords[:, 1]
                found.append((scored[rows, cols].astype(np.float64) > t).sum() / region.area)
        overlaps.append(np.mean(found))
        fprs.append((scores[~labels] > t).mean())
    return stretched(np.array(fprs), np.array(overlaps), lambda x: x < 0.3)


def saa(maps, masks):
    """AUPRO and F1 of regions as SAA's code: thresholds from the highest score, holes filled, rates up to 0.3."""
    scores, labels = flat(maps).astype(np.float64), flat(masks)
    thresholds = scores.max() - np.arange(STEPS) * (scores.max() - scores.min()) / STEPS
    truth = [skimage.measure.regionprops(skimage.measure.label(mask)) for mask in masks]
    marked = sum(len(regions) for regions in truth)
    fprs, overlaps, f1s = [], [], []
    for t in thresholds:
        found, predicted, right = [], 0, 0
        for scored, mask, regions in zip(maps, masks, truth):
            above = scored.astype(np.float64) > t
            for region in regions:
                r0, c0, r1, c1 = region.bbox
                found.append(np.logical_and(above[r0:r1, c0:c1], region.image_filled).sum() / region.area)
            for one in skimage.measure.regionprops(skimage.measure.label(above)):
                predicted += 1
                best = 0.0
                for region in regions:
                    r0, c0 = np.minimum(one.bbox[:2], region.bbox[:2])
                    r1, c1 = np.maximum(one.bbox[2:], region.bbox[2:])
                    a, b = above[r0:r1, c0:c1], mask[r0:r1, c0:c1]
                    best = max(best, np.logical_and(a, b).sum() / np.logical_or(a, b).sum())
                right += best >= 0.6
        overlaps.append(np.mean(found))
        fprs.append((scores[~labels] > t).mean())
        precision, recall = right / max(predicted, 1), right / marked
        f1s.append(2 * precision * recall / (precision + recall) if right else 0.0)
    return stretched(np.array(fprs), np.array(overlaps), lambda x: x <= 0.3), max(f1s)


def approximations(maps, masks):
    if flat(masks).all() or not flat(masks).any():
        return None
    aupro_saa, region_f1 = saa(maps, masks)
    return {"aupro_200": aupro_200(maps, masks), "aupro_200_saa": aupro_saa, "region_f1_saa": region_f1}


def decisions(scores, labels, threshold):
    found = scores >= np.float32(threshold)
    tp, fp, fn, tn = [int(x.sum()) for x in (found & labels, found & ~labels, ~found & labels, ~found & ~labels)]
    return {"counts": [tp, fp, fn, tn], "f1": sklearn.metrics.f1_score(labels, found), "iou": sklearn.metrics.jaccard_score(labels, found)}


def image_case(name, scores, labels):
    """Metrics of image scores, and the operator's view."""
    fpr, tpr, _ = sklearn.metrics.roc_curve(labels, scores, drop_intermediate=False)
    positives, negatives = labels.sum(), (~labels).sum()
    missed = np.round((1 - tpr) * positives) / positives
    return {
        "name": name,
        "scores": [float(score) for score in scores],
        "labels": [bool(label) for label in labels],
        **ranking(scores, labels),
        "tnr_at_fnr": float((np.round((1 - fpr[missed <= 0.05]) * negatives) / negatives).max()),
        "tpr_at_fpr": float(tpr[fpr <= 0.05].max()),
    }


def image_cases():
    numbers = uniform(77, 400).astype(np.float32)
    labels = numbers[200:] < 0.4
    lifted = numbers[:200] + np.float32(0.3) * labels.astype(np.float32)
    return [
        image_case("distinct", lifted, labels),
        image_case("ties", np.floor(lifted * 10) / np.float32(10), labels),
        image_case("few", lifted[:20] - np.float32(0.5), labels[:20]),
    ]


def main():
    warnings.filterwarnings("ignore")
    logging.disable()
    cases = []
    for name, case in CASES.items():
        maps, masks = make(case)
        scores, labels = flat(maps), flat(masks)
        is_large = len(scores) > 100_000
        cases.append({
            "name": name,
            **case,
            # What shows that the tests made the same maps.
            "sum": float(scores.astype(np.float64).sum()),
            "ranking": ranking(scores, labels),
            **wrong_ranking(maps, masks),
            "overlap": None if is_large else overlap(maps, masks),
            "pimo": pimo(maps, masks) if is_large else None,
            "decisions": decisions(scores, labels, case["threshold"]),
            "approximations": None if is_large else approximations(maps, masks),
        })
        print(name, {key: cases[-1][key] for key in ["ranking", "overlap", "pimo", "decisions", "approximations"]}, file=sys.stderr)
    versions = {module.__name__: module.__version__ for module in [np, scipy, sklearn, skimage, torch, anomalib]}
    golden = {"script": "tools/golden_metrics.py", "versions": versions, "maps": cases, "images": image_cases()}
    lines = json.dumps(golden, default=float, allow_nan=False).replace('}, {"name"', '},\n{"name"').replace('"maps": [', '"maps": [\n').replace('"images": [{', '"images": [\n{')
    GOLDEN.write_text(lines + "\n")


if __name__ == "__main__":
    main()
