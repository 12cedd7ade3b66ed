"""Writes tests/golden/saa/: what SAA+ computes with tiny networks, step by step, and its formulas on random numbers.

    python tools/golden_saa.py [numbers] [CASE ...]

The networks are those of other goldens: `grounding_dino/tiny` with an embedding for each word (`tests/common/dino.rs` makes the same),
`sam/official`, `wide_resnet/tiny`; photos are `sam/strip.png` and `sam/portrait.png`. A case has up to four files:

CASE.json has prompts and thresholds, and per caption, that of the object first, its text, the bound of areas, the numbers of queries by what
became of them, and the phrases of those that fell by neither score nor area; `regions` are the masks that eq. (4) leaves.

CASE.safetensors has `boxes` `[c, 20, 4]` and `scores` `[c, 20]` of all queries; of the boxes that were kept, through all captions of defects
in order, `corners` `[n, 4]`; of the regions, `mean_saliency` `[r]`, `rescored` `[r]`, and `best` `[k]`, the numbers of those that make up the
map, best first; `coarse_saliency` at the side of the features (between objects every fifth cell of every fifth row), `saliency` and `fused` at
the photo's size at every fifth pixel of every fifth row, `map` at 400² at every tenth of every tenth, `map_mean` `[1]`. What is empty or zero
throughout is left out.

CASE_objects.png and CASE_masks.png are the masks of the object's boxes and of `corners` above one another: 255 inside, 0 outside, 128 where the
logit does not decide.

`numbers.safetensors`: `features` `[576, 8]` before normalisation, one of them zero, and `objects` `[5, 576]`, one of them empty → `within_released`,
`within_paper`, `between` all objects, `between_two`, the first two. `masks` `[8, 12, 17]`, one of them empty, `object_masks` `[2, 12, 17]`,
`map_saliency` `[12, 17]` and `scores` `[8]` → `object_area`, `is_small`, `is_on_object` of eq. (4), and for both readings, as `…_released` and
`…_paper`: `rescored` `[8]`, `best` `[4]`, `fused` `[12, 17]`, and that `resized` to `[9, 25]`.

Each case is computed again in f64: no decision may depend on rounding.
"""

import dataclasses
import functools
import json
import sys
from unittest import mock

import cv2
import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

import convert
import golden
import saa_reference as reference
import sam_reference
from golden import GOLDEN, SEED
from golden_clip import report, save
from saa_reference import ABLATIONS, NAIVE_PROMPT, NO_PHRASE, PAPER, RELEASED, ClassPrompts, Thresholds

METADATA = {"script": "tools/golden_saa.py", "transformers": transformers.__version__, "cv2": cv2.__version__}
# Seed of the embeddings of words, as in `tests/common/dino.rs`.
WORDS_SEED = 7
# Least distance of a probability from its threshold, of an area from its bound, as a share of it, and between scores of queries at the ranks
# that count and between rescored regions, as shares of them.
MARGIN, RANK_MARGIN = 1e-3, 1e-5
# Where a logit is closer to zero, two programs may disagree about the pixel.
UNDECIDED = 1e-3
# Of masks that count, how many times as far from zero each logit is as logits near zero are off from themselves in f64.
CLEAR = 4
THIN, MAP_THIN = slice(None, None, 5), slice(None, None, 10)


@dataclasses.dataclass(frozen=True)
class Case:
    """A photo and how it is inspected."""

    photo: str
    prompts: ClassPrompts
    thresholds: Thresholds
    reading: reference.Reading = RELEASED
    without: frozenset = frozenset()
    captions: tuple | None = None


CARPET = ClassPrompts("carpet", (("black hole", "carpet"), ("thread", "carpet"), ("defect.", "carpet")), "carpet,", 1, 5, 0.9)
CANDLE = ClassPrompts("candle", (("color defect. hole. black defect. wick hole. spot. ", "candle"),), "defect.", 4, 7, 0.215)
THREADS = dataclasses.replace(CANDLE, object_prompt="thread", area_share=1.0)
CASES = {
    # One object: saliency within the image.
    "single": Case("strip", CARPET, Thresholds(0.951, 0.95)),
    # Five objects: saliency between them.
    "multi": Case("portrait", CANDLE, Thresholds(0.957, 0.75)),
    # Six objects that share most of their pixels.
    "overlapping": Case("strip", THREADS, Thresholds(0.96, 0.77)),
    # Several objects are expected and one is found: no saliency.
    "alone": Case("portrait", dataclasses.replace(CANDLE, object_number=12, area_share=1.0), Thresholds(0.98, 0.75)),
    # All boxes of defects are too large.
    "none": Case("portrait", dataclasses.replace(CANDLE, area_share=0.001), Thresholds(0.98, 0.75)),
    # Neither objects nor defects.
    "nothing": Case("portrait", CANDLE, Thresholds(1.0, 0.75)),
    "paper": Case("portrait", dataclasses.replace(CARPET, area_share=0.6), Thresholds(0.951, 0.95), dataclasses.replace(PAPER, overlap=0.7),
                  captions=CARPET.manual),
    # SAA without the plus.
    "naive": Case("portrait", CARPET, Thresholds(0.94, 0.8), without=ABLATIONS, captions=((NAIVE_PROMPT, NO_PHRASE),)),
}


def seeded_numbers(seed, count):
    """`zsas::tensor::Seeded::numbers`: sums of three uniform numbers of SplitMix64."""
    state = np.uint64(seed) + np.arange(1, 3 * count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    uniform = ((state ^ (state >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53
    first, second, third = uniform.reshape(count, 3).T
    return torch.from_numpy((2 * (first + second + third) - 2.75).astype(np.float32))


def tiny_detector():
    """The tiny GroundingDINO with an embedding for each word of the vocabulary."""
    model = transformers.GroundingDinoForObjectDetection.from_pretrained(GOLDEN / "grounding_dino" / "tiny", dtype=torch.float32).eval()
    embeddings = model.model.text_backbone.embeddings
    rows, width = len(reference.VOCABULARY.read_text().splitlines()), embeddings.word_embeddings.weight.shape[1]
    table = 0.5 * seeded_numbers(WORDS_SEED, rows * width).reshape(rows, width)
    embeddings.word_embeddings = torch.nn.Embedding.from_pretrained(table)
    return model


def tiny_sam():
    """The snapshot `sam/official` in the official code."""
    folder = GOLDEN / "sam" / "official"
    tensors = {name: value.float() for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}
    network = sam_reference.official(sam_reference.tiny_config(patch=8, blocks=2, window=5)).eval()
    names = zip(convert.renamed(network.state_dict(), convert.SAM_NAMES), network.state_dict(), strict=True)
    network.load_state_dict({theirs: tensors[ours] for ours, theirs in names})
    return network


def tiny_features():
    """The first three layers of `wide_resnet/tiny`."""
    trunk = golden.Trunk(4, [(2, 4, 8), (1, 4, 8), (2, 7, 12), (1, 4, 16)]).eval()
    missing, unexpected = trunk.load_state_dict(load_file(GOLDEN / "wide_resnet" / "tiny.safetensors"), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    return trunk


@functools.cache
def networks(dtype, photo):
    """The three in a precision for a photo, and the scores by which the detector selected its queries, by caption; each is computed once."""
    trunk, stages, found, scores = tiny_features().to(dtype), [], {}, {}
    detector = reference.published_detector(tiny_detector().to(dtype), stages)

    def detect(pixels, caption, ids):
        if caption not in found:
            found[caption] = detector(pixels, caption, ids)
            scores[caption] = stages.pop()["query_scores"].flatten()
        return found[caption]

    return reference.Networks(detect, tiny_sam().to(dtype), lambda pixels: trunk(pixels.to(dtype))[:3]), scores


def inspect(case, dtype):
    """The case in a precision, and the scores by which the detector selected its queries, by caption."""
    tiny, scores = networks(dtype, case.photo)
    bgr = cv2.imread(str(GOLDEN / "sam" / f"{case.photo}.png"))
    # The official code of Segment Anything casts coordinates to `torch.float`.
    with mock.patch.multiple(torch, float=dtype, float32=dtype):
        return reference.inspect(tiny, bgr, case.prompts, case.thresholds, case.reading, case.without, case.captions), scores


def detections(found):
    return [found.objects, *found.defects]


def numbers_by_fate(detection):
    return {fate: [box.query for box in detection.boxes if box.fate == fate] for fate in ("kept", "score", "area", "phrase")}


def check_margins(case, found, selection):
    """No score, area, token, rank or region is so near to what decides about it that rounding could."""
    for detection in detections(found):
        queries = len(detection.boxes)
        best = selection[detection.caption].sort(descending=True).values[:queries + 1].double()
        gap = ((best[:-1] - best[1:]) / best[:-1].abs()).min()
        assert gap > RANK_MARGIN, f"{detection.caption}: queries {gap:.1e} from each other"
        for box, row in zip(detection.boxes, detection.probabilities):
            assert case.thresholds.box == 1 or abs(box.score - case.thresholds.box) > MARGIN, f"{detection.caption}: score {box.score}"
            area = box.shares[2] * box.shares[3]
            assert box.fate == "score" or abs(area / detection.largest - 1) > MARGIN, f"{detection.caption}: area {area}"
            decides = box.fate in ("kept", "phrase") and case.reading.filters_phrases
            assert not decides or (abs(row - case.thresholds.text) > MARGIN).all(), f"{detection.caption}: tokens {row}"
    ranked = np.sort(found.rescored)[::-1][:len(found.best) + 1]
    assert (ranked[:-1] / ranked[1:] - 1 > RANK_MARGIN).all(), f"regions {ranked}"
    if case.reading.regions == "masks":
        check_regions(case, found)


def check_regions(case, found):
    """No mask is within a margin of the bounds of eq. (4)."""
    masks, objects = found.logits > 0, found.object_logits > 0
    areas = masks.mean((1, 2))
    overlaps = np.array([max((mask & other).sum() / (mask | other).sum() for other in objects) for mask in masks])
    print(f"  areas {areas.min():.3f} … {areas.max():.3f}, overlaps {overlaps.min():.3f} … {overlaps.max():.3f}")
    assert (abs(areas / (found.object_area * case.prompts.area_share) - 1) > 5 * MARGIN).all()
    assert (abs(overlaps - case.reading.overlap) > 5 * MARGIN).all()


def check_rounding(case, found, exact):
    """The same decisions in f64, and numbers near to those."""
    for ours, theirs in zip(detections(found), detections(exact), strict=True):
        assert [(box.fate, box.phrase) for box in ours.boxes] == [(box.fate, box.phrase) for box in theirs.boxes], ours.caption
    assert (found.is_region == exact.is_region).all() and (found.best == exact.best).all()
    counts = [(found.logits[found.is_region][found.best], exact.logits[exact.is_region][exact.best])]
    counts += [(found.object_logits, exact.object_logits)] if case.prompts.object_number > 1 else []
    for ours, theirs in counts:
        if ours.size:
            nearest, off = abs(ours).min(), abs(ours - theirs)[abs(ours) < UNDECIDED].max(initial=0)
            print(f"  a logit of {nearest:.1e}; near zero they are off by {off:.1e}")
            assert nearest > CLEAR * off
    print(f"  off from f64: logits {abs(found.logits - exact.logits).max(initial=0):.1e}, map {abs(found.map - exact.map).max():.1e}, "
          f"saliency {0 if found.saliency is None else abs(found.saliency - exact.saliency).max():.1e}")


def write(name, case, found):
    """The files of a case."""
    folder = GOLDEN / "saa"
    folder.mkdir(exist_ok=True)
    pairs = case.captions or case.prompts.captions(case.without)
    captions = [
        {"prompt": prompt, "filter": phrase, "caption": detection.caption, "largest_area": None if np.isinf(detection.largest) else detection.largest}
        | numbers_by_fate(detection) | {"phrases": {box.query: box.phrase for box in detection.boxes if box.phrase is not None}}
        for (prompt, phrase), detection in zip([(case.prompts.object_prompt, NO_PHRASE), *pairs], detections(found), strict=True)]
    text = {"photo": f"sam/{case.photo}.png", "reading": "paper" if case.reading.regions == "masks" else "released", "overlap": case.reading.overlap,
            "without": sorted(case.without), "class": case.prompts.name, "object_number": case.prompts.object_number,
            "kept": case.prompts.kept, "area_share": case.prompts.area_share, "box_threshold": case.thresholds.box,
            "text_threshold": case.thresholds.text, "object_area": found.object_area, "regions": np.flatnonzero(found.is_region).tolist(),
            "captions": captions}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(text, indent=1) + "\n")
    report(path)
    all_boxes = [detection.boxes for detection in detections(found)]
    tensors = {
        "boxes": np.array([[box.shares for box in boxes] for boxes in all_boxes]), "scores": np.array([[box.score for box in boxes] for boxes in all_boxes]),
        "corners": found.corners, "mean_saliency": found.mean_saliency, "rescored": found.rescored, "best": found.best,
        "fused": found.fused[THIN, THIN], "map": found.map[MAP_THIN, MAP_THIN], "map_mean": found.map.mean(keepdims=True)[0],
    }
    if found.saliency is not None:
        coarse = found.coarse_saliency
        tensors |= {"coarse_saliency": coarse if len(coarse) == 64 else coarse[THIN, THIN], "saliency": found.saliency[THIN, THIN]}
    save(f"saa/{name}", {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in tensors.items() if value.any() or key == "best" and value.size}, METADATA)
    for part, logits in {"objects": found.object_logits, "masks": found.logits}.items():
        if len(logits):
            levels = np.where(abs(logits) < UNDECIDED, 128, 255 * (logits > 0)).astype(np.uint8)
            path = folder / f"{name}_{part}.png"
            Image.fromarray(levels.reshape(-1, levels.shape[2])).save(path, optimize=True)
            report(path)


def random_masks(count, size):
    """Rectangles `[n, h, w]` that overlap."""
    first = 0.6 * torch.rand(count, 2)
    last = first + 0.15 + 0.35 * torch.rand(count, 2)
    rows, cols = (torch.arange(length) / length + 0.5 / length for length in size)
    inside = [((rows > top) & (rows < bottom))[:, None] & (cols > left) & (cols < right) for (top, left), (bottom, right) in zip(first, last)]
    return torch.stack(inside)


def numbers():
    """The formulas on random numbers, in f64 of what is stored in f32."""
    side = 24
    features = torch.randn(side * side, 8).relu()
    features[100] = 0
    unit = torch.nn.functional.normalize(features.double(), dim=1)
    objects = random_masks(5, (side, side)).flatten(1)
    objects[3] = False                 # no location
    objects[4] = objects[0] & (torch.rand(side * side) < 0.1)  # inside another
    tensors = {"features": features, "objects": objects.int()}
    for name, reading in reference.READINGS.items():
        tensors[f"within_{name}"] = reference.saliency_within(unit, reading.averaged, reading.locations, reading.distance_factor)
    tensors["between"] = reference.saliency_between(unit, objects, RELEASED.distance_factor)
    tensors["between_two"] = reference.saliency_between(unit, objects[:2], RELEASED.distance_factor)
    for name in ("within_released", "within_paper", "between", "between_two"):
        print(f"  {name}: {tensors[name].min():.4f} … {tensors[name].max():.4f}, spread {tensors[name].std():.4f}")
    print(f"  locations of objects {objects.sum(1).tolist()}, of two {(objects.sum(0) > 1).sum()}")

    masks, others = random_masks(8, (12, 17)), torch.zeros(2, 12, 17, dtype=torch.bool)
    masks[2] = False
    others[0, 1:9, 2:11], others[1, 5:11, 8:16] = True, True
    saliency, scores = torch.rand(12, 17) / 2, torch.rand(8) / 2 + 0.3
    scores[2] = 2.5                    # takes a place among the best and adds nothing
    area = reference.area_of_object([], others.numpy(), "masks")
    is_small, is_on = reference.are_small(masks.numpy(), 0.4 * area), reference.are_on_objects(masks.numpy(), others.numpy(), 0.2)
    tensors |= {"masks": masks.int(), "object_masks": others.int(), "map_saliency": saliency, "scores": scores, "object_area": torch.tensor([area]),
                "is_small": torch.from_numpy(is_small).int(), "is_on_object": torch.from_numpy(is_on).int()}
    for name, reading in reference.READINGS.items():
        rescored = reference.rescore(scores.double().numpy(), masks.numpy(), saliency.double().numpy(), reading.exponent_factor)[1]
        best = reference.best_of(rescored, 4)
        fused = reference.fuse(masks.numpy()[best], rescored[best], reading.denominator_offset, saliency.shape)
        resized = cv2.resize(fused, (25, 9), interpolation=cv2.INTER_LINEAR)
        parts = {"rescored": rescored, "best": best, "fused": fused, "resized": resized}
        tensors |= {f"{part}_{name}": torch.from_numpy(value.copy()) for part, value in parts.items()}
        print(f"  {name}: rescored {rescored.round(3).tolist()}, best {best.tolist()}, map {fused.min():.3f} … {fused.max():.3f}")
    print(f"  sizes {masks.sum((1, 2)).tolist()}, small {is_small.astype(int).tolist()}, on an object {is_on.astype(int).tolist()}")
    (GOLDEN / "saa").mkdir(exist_ok=True)
    save("saa/numbers", tensors, METADATA | {"area_share": "0.4", "overlap": "0.2", "kept": "4"})


def describe(found):
    for detection in detections(found):
        print(f"  {detection.caption} {', '.join(f'{fate} {len(queries)}' for fate, queries in numbers_by_fate(detection).items())}")
    masks = found.logits > 0
    inside = masks.mean((1, 2))
    print(f"  object area {found.object_area:.4f}; {len(masks)} masks, {found.is_region.sum()} regions, {len(np.unique(masks, axis=0))} different, "
          f"inside {inside.min(initial=1):.3f} … {inside.max(initial=0):.3f}, {(abs(found.logits) < UNDECIDED).sum()} pixels undecided")
    if found.saliency is not None:
        print(f"  saliency {found.saliency.min():.4f} … {found.saliency.max():.4f}, spread {found.saliency.std():.4f}")
    if len(found.scores):
        print(f"  means {found.mean_saliency.min():.4f} … {found.mean_saliency.max():.4f}, rescored {found.rescored.min():.4f} … {found.rescored.max():.4f}")
    print(f"  map {found.map.min():.4f} … {found.map.max():.4f}, spread {found.map.std():.4f}, {len(np.unique(found.fused))} values; best {found.best.tolist()}")


def main():
    for name in sys.argv[1:] or ["numbers", *CASES]:
        torch.manual_seed(SEED)
        if name == "numbers":
            numbers()
            continue
        print(name, flush=True)
        case = CASES[name]
        found, selection = inspect(case, torch.float32)
        describe(found)
        check_margins(case, found, selection)
        check_rounding(case, found, inspect(case, torch.float64)[0])
        write(name, case, found)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
