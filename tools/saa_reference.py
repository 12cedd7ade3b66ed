"""Reference of SAA+ (Segment Any Anomaly, Cao et al. 2023), from a photo to its map, for comparison with `zsas-gpu`.

`inspect` reads top-down like the method: boxes of captions, masks of boxes, saliency, rescoring, fusion. Networks come from public packages:
GroundingDINO from transformers (`published_detector`) or groundingdino-py (`original_detector`), Segment Anything from segment-anything, the
WideResNet as anything that gives three feature maps. Where the released code and the report differ, `Reading` has a field for each choice.
`tools/golden_saa.py` and the parts `saa…` of `tools/parity.py` call it.
"""

import dataclasses
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from segment_anything import SamPredictor
from tokenizers import BertWordPieceTokenizer

VOCABULARY = Path(__file__).resolve().parent.parent / "src" / "text" / "bert_vocabulary.txt"
# Shorter side of the detector's image, and the bound of the longer one.
SHORTER_SIDE, LONGER_SIDE = 800, 1333
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
# Side of the square for saliency within the image, and between objects.
FRAME, OBJECTS_FRAME = 256, 1024
# Locations averaged into each value of the saliency; the report's N.
LOCATIONS = 400
# Side of the map.
MAP_SIDE = 400
GENERAL_PROMPTS = ["defect on {}", "damage on {}", "flaw on {}"]
# What SAA without the plus is asked for: `inspect(…, without=ABLATIONS, captions=((NAIVE_PROMPT, NO_PHRASE),))`.
NAIVE_PROMPT = "anomaly"
# No word of a caption, which is in small letters, contains it.
NO_PHRASE = "PlaceHolder"
# Marks that stand without spaces in the text of tokens.
CLOSED_UP = [" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"]
# Rows of a product of features at a time.
ROWS = 1024
ABLATIONS = frozenset({"language", "property", "saliency", "confidence"})


@dataclasses.dataclass(frozen=True)
class ClassPrompts:
    """What is known of a class of objects."""

    name: str
    # Captions of its defects, each with the phrase that drops a box, beside the general ones.
    manual: tuple[tuple[str, str], ...]
    object_prompt: str
    object_number: int
    # K, the number of regions that make up the map.
    kept: int
    # θ_area: a defect is smaller than this share of the object.
    area_share: float

    def captions(self, without=frozenset()):
        """Captions of defects with their phrases; without language only the general ones."""
        general = tuple((prompt.format(self.name), self.name) for prompt in GENERAL_PROMPTS)
        return general if "language" in without else general + self.manual


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """Least probabilities: of a box's best token, and of the tokens that make up its phrase."""

    box: float = 0.1
    text: float = 0.1


@dataclasses.dataclass(frozen=True)
class Reading:
    """Where the released code and the report disagree (specification, §8); the defaults are the released code."""

    # What Segment Anything and the WideResNet see; both take it for RGB. GroundingDINO always sees RGB.
    channels: str = "bgr"
    # Side of a square that the photo is first resized to.
    input_side: int | None = None
    # Eq. (4): whether boxes or masks have to be smaller than θ_area times the largest object's box or mask.
    regions: str = "boxes"
    # Whether a box of an object has to be smaller than 1 / object_number.
    limits_objects: bool = True
    # Whether a box falls whose phrase contains the caption's filter phrase.
    filters_phrases: bool = True
    # θ_IoU of eq. (4): a mask's overlap (intersection over union) with that object's mask with which it is largest has to be above it.
    overlap: float | None = None
    # Eq. (5): which locations are averaged, how many, and the factor of 1 − cosine.
    averaged: str = "farthest"
    locations: int = LOCATIONS
    distance_factor: float = 0.5
    # Whether several objects are compared with each other instead of the image with itself.
    compares_objects: bool = True
    # Eq. (6): the factor of the mean saliency in the exponent.
    exponent_factor: float = 3.0
    # Eq. (8): K where it is not the class's.
    kept: int | None = None
    # Eq. (9): what is added to the number of regions over a pixel.
    denominator_offset: float = 1.0


RELEASED = Reading()
# Equations (4) to (9) to the letter. The report gives no θ_IoU: above 0 means that a region touches an object.
PAPER = Reading(channels="rgb", regions="masks", limits_objects=False, filters_phrases=False, overlap=0.0, averaged="nearest",
                distance_factor=1.0, compares_objects=False, exponent_factor=1.0, kept=5, denominator_offset=0.0)
READINGS = {"released": RELEASED, "paper": PAPER}


@dataclasses.dataclass
class Networks:
    """The three networks."""

    # Pixels `[1, 3, h, w]`, caption, ids → logits of tokens `[q, t]`, boxes `[q, 4]` as middle, width and height in shares of the image.
    detector: Callable
    # segment-anything's network.
    sam: torch.nn.Module
    # Pixels `[1, 3, n, n]` → three maps, of which the second and third have a half and a quarter of the first one's side.
    features: Callable


@dataclasses.dataclass
class Box:
    """What became of a query."""

    query: int
    # Why it fell: `score`, `area`, `phrase`; `kept` where it did not.
    fate: str
    score: float
    # Middle, width and height as shares of the image.
    shares: np.ndarray
    # Of boxes that fell by neither score nor area.
    phrase: str | None = None


@dataclasses.dataclass
class Detection:
    """Queries of a caption."""

    caption: str
    ids: list[int]
    # Strict bound of areas.
    largest: float
    # Probabilities of tokens `[q, t]`.
    probabilities: np.ndarray
    boxes: list[Box]

    def kept(self):
        return [box for box in self.boxes if box.fate == "kept"]


@dataclasses.dataclass
class Inspection:
    """All that `inspect` computes."""

    objects: Detection
    defects: list[Detection]
    object_area: float
    # Mask logits `[n, h, w]` of the objects' boxes, and of all captions' kept boxes in order.
    object_logits: np.ndarray
    logits: np.ndarray
    # Boxes of the latter in pixels `[n, 4]`, and which masks eq. (4) leaves.
    corners: np.ndarray
    is_region: np.ndarray
    # At the side of the features, and at the photo's size; None without saliency.
    coarse_saliency: np.ndarray | None
    saliency: np.ndarray | None
    # Of the regions that are left: scores, mean saliencies, rescored, and the numbers of the K best, best first.
    scores: np.ndarray
    mean_saliency: np.ndarray
    rescored: np.ndarray
    best: np.ndarray
    # At the photo's size, and at 400².
    fused: np.ndarray
    map: np.ndarray


def published_detector(model, stages=None):
    """GroundingDINO of transformers with the original's positions and logits; a list gets the stages of each call."""
    # Not at the top: it needs transformers 5, and groundingdino-py transformers 4.
    import dino_reference

    def detect(pixels, _caption, ids):
        found = dino_reference.forward(model, pixels.to(model.dtype), torch.tensor([ids]))
        if stages is not None:
            stages.append(found)
        return found["logits"][0], found["pred_boxes"][0]

    return detect


def original_detector(model):
    """GroundingDINO of groundingdino-py."""

    @torch.no_grad()
    def detect(pixels, caption, ids):
        outputs = model(pixels, captions=[caption])
        return outputs["pred_logits"][0, :, :len(ids)], outputs["pred_boxes"][0]

    return detect


def inspect(networks, bgr, prompts, thresholds=Thresholds(), reading=RELEASED, without=frozenset(), captions=None, side=MAP_SIDE):
    """All steps of SAA+ on a photo `[h, w, 3]` as OpenCV decodes it.

    `without` names the kinds of prompt that an ablation leaves out; `captions` replaces the pairs of caption and phrase.
    """
    assert set(without) <= ABLATIONS, without
    if reading.input_side:
        bgr = cv2.resize(bgr, (reading.input_side, reading.input_side))
    height, width = bgr.shape[:2]
    has_limits = "property" not in without
    seen = bgr if reading.channels == "bgr" else np.ascontiguousarray(bgr[:, :, ::-1])
    predictor = SamPredictor(networks.sam)
    predictor.set_image(seen)
    pixels = detector_pixels(bgr)

    def find(caption, phrase, largest):
        found = detect(networks.detector, pixels, caption, phrase, largest, thresholds, reading.filters_phrases and has_limits)
        corners = corners_of(found.kept(), width, height)
        return found, corners, mask_logits(predictor, corners)

    is_limited = has_limits and reading.limits_objects
    objects, _, object_logits = find(prompts.object_prompt, NO_PHRASE, 1 / prompts.object_number if is_limited else np.inf)
    object_masks = object_logits > 0
    object_area = area_of_object(objects.kept(), object_masks, reading.regions)
    bound = object_area * prompts.area_share if has_limits else np.inf
    pairs = prompts.captions(without) if captions is None else captions
    defects, corners, logits = zip(*(find(caption, phrase, bound if reading.regions == "boxes" else np.inf) for caption, phrase in pairs))
    corners, logits = np.concatenate(corners), np.concatenate(logits)
    masks, scores = logits > 0, np.array([box.score for one in defects for box in one.kept()])
    is_region = np.ones(len(masks), bool)
    if has_limits and reading.regions == "masks":
        is_region &= are_small(masks, bound)
    if has_limits and reading.overlap is not None:
        is_region &= are_on_objects(masks, object_masks, reading.overlap)
    masks, scores = masks[is_region], scores[is_region]

    coarse = saliency = None
    if "saliency" not in without:
        coarse = coarse_saliency(networks.features, seen, object_masks, prompts.object_number, reading)
        saliency = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    means, rescored = rescore(scores, masks, saliency, reading.exponent_factor)
    best = best_of(rescored, len(masks) if "confidence" in without else reading.kept or prompts.kept)
    fused = fuse(masks[best], rescored[best], reading.denominator_offset, (height, width))
    return Inspection(objects, list(defects), object_area, object_logits, logits, corners, is_region, coarse, saliency, scores, means, rescored,
                      best, fused, cv2.resize(fused, (side, side), interpolation=cv2.INTER_LINEAR))


def normalised_caption(text):
    """In small letters, without space around, with a full stop."""
    text = text.lower().strip()
    return text if text.endswith(".") else f"{text}."


def tokenizer():
    return BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)


def phrase_of(words, ids):
    """The text of tokens, special ones too, as transformers 4 writes it."""
    text = words.decode(ids, skip_special_tokens=False)
    for spaced in CLOSED_UP:
        text = text.replace(spaced, spaced.replace(" ", ""))
    return text


def detector_size(width, height):
    """Width and height of the detector's image."""
    shorter, longer, size = min(width, height), max(width, height), SHORTER_SIDE
    if longer / shorter * size > LONGER_SIDE:
        size = round(LONGER_SIDE * shorter / longer)
    if shorter == size:
        return width, height
    return (size, int(size * height / width)) if width < height else (int(size * width / height), size)


def detector_pixels(bgr):
    """`[1, 3, h, w]`, RGB, normalised."""
    image = Image.fromarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
    image = image.resize(detector_size(*image.size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image)).float() / 255
    return ((pixels - MEAN) / STD).permute(2, 0, 1)[None]


def detect(detector, pixels, caption, phrase, largest, thresholds, filters_phrases=True):
    """The queries of a caption, and which of them are boxes of it: likely, smaller than `largest`, and not of what the filter phrase names."""
    caption = normalised_caption(caption)
    words = tokenizer()
    ids = words.encode(caption).ids
    logits, boxes = detector(pixels, caption, ids)
    probabilities, boxes = logits.sigmoid().numpy(), boxes.numpy()
    result = Detection(caption, ids, largest, probabilities, [])
    for query, (row, shares) in enumerate(zip(probabilities, boxes)):
        box, area = Box(query, "kept", float(row.max()), shares), shares[2] * shares[3]
        if not box.score > thresholds.box:
            box.fate = "score"
        elif not 0 < area < largest:
            box.fate = "area"
        else:
            box.phrase = phrase_of(words, [ids[at] for at in np.flatnonzero(row > thresholds.text)])
            if filters_phrases and phrase in box.phrase:
                box.fate = "phrase"
        result.boxes.append(box)
    return result


def corners_of(boxes, width, height):
    """x0, y0, x1, y1 in pixels `[n, 4]`, f32; they may leave the image."""
    shares = np.array([box.shares for box in boxes]).reshape(-1, 4)
    scaled = shares * np.array([width, height, width, height], shares.dtype)
    first = scaled[:, :2] - scaled[:, 2:] / 2
    return np.concatenate([first, first + scaled[:, 2:]], 1)


@torch.no_grad()
def mask_logits(predictor, corners, together=64):
    """Logits `[n, h, w]` of the first mask of each box `[n, 4]`, at the photo's size."""
    logits = [np.zeros((0, *predictor.original_size), np.float32)]
    for some in torch.from_numpy(corners).split(together):
        if len(some):
            frame = predictor.transform.apply_boxes_torch(some, predictor.original_size)
            logits.append(predictor.predict_torch(None, None, frame, multimask_output=False, return_logits=True)[0][:, 0].numpy())
    return np.concatenate(logits)


def area_of_object(boxes, masks, regions):
    """Area of the largest object as a share of the image; 1 where there is none."""
    areas = [float(box.shares[2] * box.shares[3]) for box in boxes] if regions == "boxes" else [mask.mean() for mask in masks if mask.any()]
    return max(areas, default=1.0)


def are_small(masks, largest):
    """Eq. (4): masks that have pixels, and less than so large a share of the image."""
    areas = masks.mean((1, 2)) if len(masks) else np.zeros(0)
    return (areas > 0) & (areas < largest)


def are_on_objects(masks, objects, overlap):
    """Eq. (4): masks whose largest intersection over union with an object is above a bound; all where there is no object."""
    objects = [mask for mask in objects if mask.any()]
    if not objects:
        return np.ones(len(masks), bool)
    return np.array([max((mask & other).sum() / (mask | other).sum() for other in objects) > overlap for mask in masks], bool)


def coarse_saliency(features, image, object_masks, object_number, reading):
    """The saliency map at the side of the features."""
    if object_number == 1 or not reading.compares_objects:
        unit = unit_features(features, image, FRAME)
        side = round(len(unit) ** 0.5)
        return saliency_within(unit, reading.averaged, reading.locations, reading.distance_factor).reshape(side, side).numpy()
    if len(object_masks) < 2:
        return np.zeros((OBJECTS_FRAME // 4,) * 2)
    unit = unit_features(features, image, OBJECTS_FRAME)
    side = round(len(unit) ** 0.5)
    cells = [cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST).reshape(-1) > 0 for mask in object_masks]
    return saliency_between(unit, torch.from_numpy(np.array(cells)), reading.distance_factor).reshape(side, side).double().numpy()


@torch.no_grad()
def unit_features(features, image, frame):
    """Joined features of unit length `[(frame / 4)², c]`, row by row; `image` `[h, w, 3]`, whose channels are taken for RGB."""
    pixels = torch.from_numpy(cv2.resize(image, (frame, frame), interpolation=cv2.INTER_LINEAR)).float()
    maps = features(((pixels - 255 * MEAN) / (255 * STD)).permute(2, 0, 1)[None])
    joined = torch.cat([maps[0], *(F.interpolate(one, maps[0].shape[2:], mode="nearest") for one in maps[1:])], 1)
    return F.normalize(joined[0].flatten(1).T, dim=1, eps=1e-12)


def saliency_within(unit, averaged, locations, factor):
    """Mean distance `[n]` of each location to the locations that are farthest from it, or nearest, itself among them; `unit` `[n, c]`."""
    rows = [(factor * (1 - some @ unit.T)).topk(locations, largest=averaged == "farthest").values.mean(1) for some in unit.split(ROWS)]
    return torch.cat(rows)


def saliency_between(unit, objects, factor):
    """Distance `[n]` of each location of an object to the nearest location of another object, 0 outside; `objects` `[k, n]`.

    Objects without locations are skipped; where there is no other object all is 0. Locations of two objects count with the larger distance.
    """
    saliency = torch.zeros(len(unit), dtype=unit.dtype)
    for at, own in enumerate(objects):
        others = objects[[other for other in range(len(objects)) if other != at]].any(0)
        if not own.any() or not others.any():
            continue
        # What objects share is like nothing: its features are zero in the others.
        rest = unit.masked_fill(own[:, None], 0)[others]
        nearest = torch.cat([(some @ rest.T).amax(1) for some in unit[own].split(ROWS)])
        saliency[own] = torch.maximum(saliency[own], factor * (1 - nearest))
    return saliency


def rescore(scores, masks, saliency, factor):
    """Mean saliency in each mask, 0 where it has no pixel, and s·exp(factor · mean); without saliency the scores stay."""
    means = np.array([saliency[mask].mean(dtype=np.float64) if saliency is not None and mask.any() else 0.0 for mask in masks])
    return means, scores * np.exp(factor * means)


def best_of(scores, count):
    """The numbers of the largest scores, best first."""
    return np.argsort(scores, kind="stable")[::-1][:count]


def fuse(masks, scores, offset, size):
    """Σ r·s / (offset + Σ r) at each pixel, f64 `[h, w]`; 0 where no region is."""
    total, count = np.zeros(size), np.zeros(size)
    for mask, score in zip(masks, scores):
        total += mask * score
        count += mask
    return np.divide(total, offset + count, out=np.zeros(size), where=count > 0)
