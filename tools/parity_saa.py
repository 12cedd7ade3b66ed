"""SAA+ at full size on random weights: makes snapshots, a photo, a profile and the reference's results, and holds a map to them.

    python tools/parity_saa.py make FOLDER [vit_b|vit_l|vit_h] [one|many] [transformers|original]
    zsas-gpu infer FOLDER/photo.png --method saa+ --profile FOLDER/profile.toml --weights FOLDER/weights --save map --output RESULTS
    python tools/parity_saa.py compare FOLDER MAP.tif

`tools/parity.py` does the three as its parts `saa`, `saa-huge` (ViT-H), `saa-many` (several objects) and `saa-original`. FOLDER/weights has the
snapshots `grounding-dino` (Swin-T), `sam` (ViT-B by default) and `wide-resnet` (timm's wide_resnet50_2), named and laid out as published, exact in
f16. FOLDER/truth.safetensors has, with shapes as in `tools/golden_saa.py` but nothing thinned: `fused` at the photo's size, `map` at 400²,
`saliency`, `corners`, `scores`, `mean_saliency`, `rescored`, `best`. GroundingDINO is transformers' with the original's positions and logits, or,
in the environment of `tools/requirements_dino.txt`, groundingdino-py (`original`); Segment Anything the official code. Thresholds lie in the widest
gaps between probabilities that leave a sensible number of boxes.
"""

import dataclasses
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import segment_anything
import timm
import torch
from safetensors.torch import load_file, save_file

import convert
import dino_original
import golden
import saa_reference as reference
import sam_reference
from saa_reference import ClassPrompts, Thresholds

SEED = 1
# Width and height: 8:1, so that the detector's image is small.
SIZE = (800, 100)
# The detector's logits are products of this many numbers of either sign, and nearly all probabilities 0 or 1; this factor of one side spreads them.
LOGIT_FACTOR = 0.1
# Boxes that the threshold leaves of all captions together.
LEAST, MOST = 30, 90
TILE = ClassPrompts("tile", (("defect.", "tile"),), "tile,", 1, 5, 0.9)
MANY = dataclasses.replace(TILE, object_number=4)
# A pixel is as in the reference where it is no farther from it. Two programs disagree about pixels at the edges of masks, and, where queries
# nearly tie, about boxes.
PIXEL_LIMIT, LEAST_SHARE = 1e-3, 0.999


def published_detector(snapshot):
    """transformers' GroundingDINO, whose snapshot it writes."""
    # Not at the top: it needs transformers 5, and groundingdino-py transformers 4.
    import dino_reference

    model = dino_reference.build(dino_reference.published_config("tiny"))
    spread_logits(model.model.decoder.layer_norm)
    model.half().save_pretrained(snapshot)
    return reference.published_detector(model.float())


def original_detector(snapshot):
    """groundingdino-py's, whose checkpoint `convert` rewrites as a snapshot."""
    model = dino_original.redraw(dino_original.build("swin_T_224_1k"))
    spread_logits(model.transformer.decoder.norm)
    checkpoint = snapshot.parent / "official.pth"
    dino_original.save(model, checkpoint)
    convert.convert(checkpoint, snapshot)
    checkpoint.unlink()
    return reference.original_detector(model)


DETECTORS = {"transformers": published_detector, "original": original_detector}


@torch.no_grad()
def spread_logits(norm):
    """Scales the norm of queries before the product with tokens."""
    for value in norm.parameters():
        value.copy_((LOGIT_FACTOR * value).half())


def random_networks(folder, sam_name, detector_name):
    """The three networks with random weights, whose snapshots it writes."""
    folder.mkdir(parents=True)
    detector = DETECTORS[detector_name](folder / "grounding-dino")
    sam = sam_reference.redraw(segment_anything.sam_model_registry[sam_name]())
    tensors, config = convert.convert_state(sam.state_dict())
    convert.write(folder / "sam", {name: value.half() for name, value in tensors.items()}, config)
    trunk = golden.redraw(timm.create_model("wide_resnet50_2", pretrained=False))
    state = {name: value.half() if value.is_floating_point() else value for name, value in trunk.state_dict().items()}
    (folder / "wide-resnet").mkdir(parents=True)
    save_file(state, folder / "wide-resnet" / "model.safetensors")
    features = timm.create_model("wide_resnet50_2", pretrained=False, features_only=True, out_indices=(1, 2, 3)).eval()
    features.load_state_dict({name: value for name, value in state.items() if not name.startswith(("fc.", "layer4."))}, strict=False)
    return reference.Networks(remembering(detector), sam, features)


def remembering(detector):
    """A detector that computes each caption once, on one image."""
    found = {}

    def detect(pixels, caption, ids):
        if caption not in found:
            found[caption] = detector(pixels, caption, ids)
        return found[caption]

    return detect


def widest_gap(values, least, most):
    """The middle of the widest gap between sorted values that leaves at least and at most so many above."""
    values = np.sort(np.concatenate(values, axis=None))[::-1][least - 1:most + 1]
    at = np.argmax(values[:-1] - values[1:])
    print(f"threshold {(values[at] + values[at + 1]) / 2:.4f} in a gap of {values[at] - values[at + 1]:.1e}")
    return float((values[at] + values[at + 1]) / 2)


def thresholds(networks, bgr, prompts):
    """Thresholds of boxes and of tokens."""
    pixels = reference.detector_pixels(bgr)
    captions = [prompts.object_prompt, *(caption for caption, _ in prompts.captions())]
    found = [reference.detect(networks.detector, pixels, caption, "", np.inf, Thresholds(0, 0)).probabilities for caption in captions]
    # The object's boxes count too.
    box = widest_gap([rows.max(1) for rows in found], LEAST, MOST)
    likely = np.concatenate([rows[rows.max(1) > box].ravel() for rows in found[1:]] or [found[0].ravel()])
    return Thresholds(box, widest_gap([likely], max(len(likely) // 3, 1), max(len(likely) // 2, 2)))


def profile(prompts, chosen):
    """The class as `--profile` takes it."""
    quoted = json.dumps
    # Filter phrases are those of the class, and its general captions come first.
    lines = [f"class = {quoted(prompts.name)}", "", "[saa]", f"defects = {quoted([caption for caption, _ in prompts.manual])}",
             f"object = {quoted(prompts.object_prompt)}", f"count = {prompts.object_number}", f"regions = {prompts.kept}",
             f"area = {prompts.area_share}", f"box_threshold = {chosen.box}", f"text_threshold = {chosen.text}"]
    return "\n".join(lines) + "\n"


def make(folder, sam_name="vit_b", objects="one", detector_name="transformers"):
    """Writes all that the program needs, and what it should find."""
    torch.manual_seed(SEED)
    networks, prompts = random_networks(folder / "weights", sam_name, detector_name), MANY if objects == "many" else TILE
    sam_reference.photo(SIZE).save(folder / "photo.png")
    bgr = cv2.imread(str(folder / "photo.png"))
    chosen = thresholds(networks, bgr, prompts)
    (folder / "profile.toml").write_text(profile(prompts, chosen))
    found = reference.inspect(networks, bgr, prompts, chosen)
    for detection in (found.objects, *found.defects):
        fates = [box.fate for box in detection.boxes]
        print(f"{detection.caption} {', '.join(f'{fate} {fates.count(fate)}' for fate in ('kept', 'score', 'area', 'phrase'))}")
    print(f"object area {found.object_area:.4f}, {len(found.logits)} masks, saliency {found.saliency.min():.4f} … {found.saliency.max():.4f}, "
          f"rescored {np.sort(found.rescored)[::-1][:prompts.kept + 1].round(4)}, map {found.map.min():.4f} … {found.map.max():.4f}", flush=True)
    tensors = {name: getattr(found, name) for name in ("fused", "map", "saliency", "corners", "scores", "mean_saliency", "rescored", "best")}
    save_file({name: torch.from_numpy(np.ascontiguousarray(value, None if value.dtype == np.int64 else np.float32)) for name, value in tensors.items()},
              folder / "truth.safetensors")


def compare(folder, path):
    """Largest difference to the reference at 400², and the share of pixels within PIXEL_LIMIT, of a map at the photo's size."""
    ours, truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED), load_file(folder / "truth.safetensors")
    assert ours.shape == truth["fused"].shape, f"the map is {ours.shape}, expected {tuple(truth['fused'].shape)}"
    expected = truth["map"].numpy()
    resized = cv2.resize(ours.astype(np.float64), expected.shape[::-1], interpolation=cv2.INTER_LINEAR)
    apart = abs(resized - expected)
    return float(apart.max()), float((apart <= PIXEL_LIMIT).mean())


def main():
    arguments = sys.argv[1:]
    if len(arguments) < 2 or arguments[0] not in ("make", "compare"):
        sys.exit(__doc__)
    folder = Path(arguments[1])
    if arguments[0] == "make":
        folder.mkdir(parents=True, exist_ok=True)
        make(folder, *arguments[2:])
    else:
        largest, share = compare(folder, arguments[2])
        print(f"largest difference {largest:.2e}, {share:.4f} of the pixels within {PIXEL_LIMIT}")
        sys.exit(0 if share >= LEAST_SHARE else 1)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
