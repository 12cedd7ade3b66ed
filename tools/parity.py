"""Compares `zsas-gpu` with PyTorch at full size on random weights, and fails where they differ by more than rounding.

    python tools/parity.py target/release/zsas-gpu [DEVICE] [PART ...]

DEVICE is auto (the default), reference, …; without parts: wide-resnet. `clip` is ViT-B-16-plus-240, `clip-quick` ViT-B-16 with QuickGELU,
as OpenAI's weights need it; `winclip` scores a photo with ViT-B-16-plus-240, zero-shot and with one and four references; `sam`,
`sam-large` and `sam-huge` are Segment Anything with ViT-B, ViT-L and ViT-H on one frame of 1024² and nine boxes; `sam-masks` compares the
masks of three photos at their own sizes with those of the official code, whose checkpoint it converts; `bert`, `grounding-dino` and
`grounding-dino-base` are GroundingDINO's text backbone, and all of it with Swin-T and Swin-B on an image of 320×416; with
`-original` or `-original-base` after it, against the original code, whose checkpoint is converted; `saa`, `saa-huge`, `saa-many` and
`saa-original` are SAA+ with Swin-T, ViT-B or ViT-H and Wide-ResNet-50-2 on a photo, `-many` for a class of several objects, `-original` with the detector of
groundingdino-py (tools/parity_saa.py); `patchcore`, `padim`, `spade` and `utad` score a photo with Wide-ResNet-50-2 in torchvision's naming,
the first three with one and six references. Weights are exact in f16.

A part with `:f16`, such as `winclip:f16`, runs the program in f16 and still compares with PyTorch in f32, within HALF_LIMIT.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import segment_anything
import timm
import torch
import torchvision
import transformers
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import clip_reference as reference
import convert
import dino_reference
import few_shot_reference
import golden
import parity_saa
import sam_reference

SEED, SIDE = 1, 256
# Relative L2 of a network's output. Two orders of summation differ by some 1e-6 after twelve blocks.
OUTPUT_LIMIT = 5e-5
# Maps and scores, probabilities divided by τ = 0.07.
METHOD_LIMIT = 1e-4
# Embeddings and mask logits of Segment Anything, relative L2; its estimate of the overlap, absolute.
SAM_LIMIT, SAM_IOU_LIMIT = 2e-4, 1e-4
# A mask's pixel counts where the logit, which spreads by about 4, is farther from zero than two programs may be from each other.
SAM_UNDECIDED = 1e-3
# Stages of GroundingDINO, relative L2, with the queries selected as in the reference; probabilities and boxes of matched queries end to end:
# of all but a share, and of the median.
DINO_LIMIT, DINO_QUERY_LIMIT, DINO_BEYOND, DINO_MEDIAN_LIMIT = 1e-4, 2e-3, 0.01, 1e-5
DINO_SIZE, DINO_PHRASES, DINO_CAPTION = (320, 416), [3, 1, 2, 4], "crack. broken part. hazelnut shell."
# Maps and scores of the methods on Wide-ResNet-50-2, as a share of the largest value; how far behind the farthest row a row of the coreset may be.
FEATURE_LIMIT, CORESET_LIMIT = 1e-4, 1e-5
# Any of these in f16: what `--precision auto` may cost.
HALF_LIMIT = 2e-2
# Width and height of photos for masks: enlarged with odd sides, upright, and 3:1 and reduced.
SAM_PHOTOS = {"landscape": (641, 427), "portrait": (360, 590), "strip": (1200, 400)}
PHOTOS = golden.GOLDEN / "methods"
CLASS = "bottle"
PROMPTS = ["a photo of a bottle.", "normal metal nut", "a jpeg corrupted photo of a damaged hazelnut for inspection.", "defect " * 90]


class Comparison:
    """Calls of one program on one device, and whether all stayed within their limits."""

    def __init__(self, program, device, folder, precision):
        self.program, self.device, self.folder, self.precision, self.failed = program, device, folder, precision, False

    def call(self, *arguments):
        subprocess.run([self.program, *map(str, arguments), "--device", self.device, "--precision", self.precision], check=True)

    def forward(self, network, weights, inputs):
        """The named arrays that `forward` makes of named arrays."""
        source, result = self.folder / "in.safetensors", self.folder / "out.safetensors"
        save_file(inputs, source)
        self.call("forward", network, "--weights", weights, "--inputs", source, "--outputs", result)
        return load_file(result)

    def report(self, name, distance, what, limit):
        limit = limit if self.precision == "f32" or limit == 0 else HALF_LIMIT
        beyond = not distance <= limit  # NaN is beyond.
        print(f"{name}: {what} {distance:.2e}{f', more than {limit}' if beyond else ''}", flush=True)
        self.failed |= beyond

    def outputs(self, ours, truth, limit=OUTPUT_LIMIT):
        """Relative L2 of each output; shapes must agree."""
        for name, expected in truth.items():
            assert ours[name].shape == expected.shape, f"{name}: {tuple(ours[name].shape)}, expected {tuple(expected.shape)}"
            distance = (ours[name] - expected).norm() / expected.norm()
            self.report(f"{name} {tuple(expected.shape)}", distance.item(), "relative L2", limit)


def wide_resnet(comparison):
    """The four layers of Wide-ResNet-50-2, as timm computes them."""
    model = golden.redraw(timm.create_model("wide_resnet50_2", pretrained=False))
    features = timm.create_model("wide_resnet50_2", pretrained=False, features_only=True, out_indices=(1, 2, 3, 4))
    features.load_state_dict({name: value for name, value in model.state_dict().items() if not name.startswith("fc.")})
    pixels = torch.randn(1, 3, SIDE, SIDE)
    with torch.no_grad():
        truth = features.eval()(pixels)
    weights = comparison.folder / "model.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    ours = comparison.forward("wide-resnet", weights, {"pixel_values": pixels})
    comparison.outputs(ours, {f"layer{number}": layer for number, layer in enumerate(truth, 1)})


def random_clip(name):
    """A network that open_clip knows by name, drawn anew, and the configuration of its snapshot."""
    config = reference.snapshot_config(open_clip.get_model_config(name), reference.CLIP_MEAN, reference.CLIP_STD)
    return reference.redraw(reference.build(config)), config


def clip_forward(comparison, name):
    """Both towers and the windows of a CLIP network, on random pixels and four prompts, the last of which is cut."""
    model, config = random_clip(name)
    side = config["model_cfg"]["vision_cfg"]["image_size"]
    pixels = torch.randn(1, 3, side, side)
    ids = open_clip.get_tokenizer(name)(PROMPTS)
    weights = comparison.folder / name
    reference.save_snapshot(weights, model, config)
    image = {"image_embeds": reference.image_embeds(model, pixels), "patch_tokens": reference.patch_tokens(model, pixels)}
    comparison.outputs(comparison.forward("clip-image", weights, {"pixel_values": pixels}), image)
    windows = {f"windows_{k}": reference.windows(model, pixels, k) for k in (2, 3)}
    comparison.outputs(comparison.forward("clip-windows", weights, {"pixel_values": pixels}), windows)
    text = {"text_embeds": reference.text_embeds(model, ids)}
    comparison.outputs(comparison.forward("clip-text", weights, {"input_ids": ids}), text)


def tilt(model, prototypes):
    """Adds to the projection of images an outer product that ends in the difference of the two prototypes.

    Drawn at random, the prototypes have a cosine of 0.995 and images are at right angles to their difference: every score is 0.5 ± 0.01.
    With it, that difference is a large part of every embedding, and differs between windows.
    """
    with torch.no_grad():
        direction = reference.unit(prototypes[1] - prototypes[0]).float()
        source = torch.randn(len(model.visual.proj))
        model.visual.proj.copy_((model.visual.proj + source[:, None] * direction).half())


def winclip(comparison):
    """Maps and scores of WinCLIP and WinCLIP+ for an elongated photo, from the text prompts to the map at the photo's size."""
    name = "ViT-B-16-plus-240"
    model, config = random_clip(name)
    prototypes = reference.prototypes(model, open_clip.get_tokenizer(name), CLASS)
    tilt(model, prototypes)
    weights = comparison.folder / f"{name}-tilted"
    reference.save_snapshot(weights, model, config)
    clip = reference.Clip(model, config)
    query, *references = [PHOTOS / f"{photo}.png" for photo in ["wide", *(f"reference_{number}" for number in range(1, 5))]]
    photo, *normal = [Image.open(path).convert("RGB") for path in (query, *references)]
    truth = {0: reference.winclip(clip, photo, prototypes)}
    truth |= {count: reference.winclip_plus(clip, photo, normal[:count], prototypes) for count in (1, 4)}
    for count, (expected, score) in truth.items():
        print(f"{count} references: map {expected.min():.4f} … {expected.max():.4f}, spread {expected.std():.4f}, score {score:.4f}")
        output = comparison.folder / f"results_{count}"
        given = [argument for path in references[:count] for argument in ("--normal", path)]
        comparison.call("infer", query, "--method", "winclip+" if count else "winclip", "--class", CLASS, *given, "--weights", weights,
                        "--save", "map", "--output", output, "--overwrite")
        record, = records(output / "results.jsonl")
        ours = torch.from_numpy(np.array(Image.open(output / record["map"]["file"])))
        assert ours.shape == expected.shape, f"the map is {tuple(ours.shape)}, expected {tuple(expected.shape)}"
        comparison.report(f"{count} references, map", (ours - expected).abs().max().item(), "largest difference", METHOD_LIMIT)
        comparison.report(f"{count} references, score", abs(record["score"] - score.item()), "difference", METHOD_LIMIT)


def feature_network(comparison):
    """Wide-ResNet-50-2 of torchvision, drawn anew: its file, and pixels → the four layers."""
    model = golden.redraw(torchvision.models.wide_resnet50_2(weights=None))
    # Residual branches that add little, as those of trained networks: else features grow with depth, and rounding with them.
    for name, module in model.named_modules():
        if name.endswith("bn3"):
            module.weight.data *= 0.3
    weights = comparison.folder / "wide-resnet" / "model.safetensors"
    weights.parent.mkdir()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)

    def layers(pixels):
        with torch.no_grad():
            x = model.maxpool(model.relu(model.bn1(model.conv1(pixels))))
            outputs = []
            for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
                x = layer(x)
                outputs.append(x)
            return outputs

    return weights.parent, layers


def photo_files(folder):
    """A photo, and six references of other sizes, the last of which is the photo upside down."""
    query = PHOTOS / "textile.png"
    turned = folder / "turned.png"
    Image.open(query).transpose(Image.ROTATE_180).save(turned)
    return query, [*(PHOTOS / f"reference_{number}.png" for number in range(1, 5)), PHOTOS / "wide.png", turned]


def feature_method(comparison, name):
    """The map and score of a method on Wide-ResNet-50-2 for a photo, from the files to the map at the photo's size."""
    weights, layers = feature_network(comparison)
    file, reference_files = photo_files(comparison.folder)
    photo, *references = [Image.open(path).convert("RGB") for path in (file, *reference_files)]
    for count in [0] if name == "utad" else [1, 6]:
        output, memory = comparison.folder / f"results_{count}", comparison.folder / f"memory_{count}"
        given = [argument for path in reference_files[:count] for argument in ("--normal", path)]
        given += ["--save-memory", memory] if count else []
        comparison.call("infer", file, "--method", name, *given, "--weights", weights, "--save", "map", "--output", output, "--overwrite")
        record, = records(output / "results.jsonl")
        ours = torch.from_numpy(np.array(Image.open(output / record["map"]["file"])))
        compute = getattr(few_shot_reference, name)
        if name == "utad":
            expected, score = compute(layers, photo)
        elif name == "patchcore" and count > 4:
            expected, score = patchcore_of_rows(comparison, layers, photo, references[:count], memory)
        else:
            expected, score, *_ = compute(layers, photo, references[:count])
        assert ours.shape == expected.shape, f"the map is {tuple(ours.shape)}, expected {tuple(expected.shape)}"
        print(f"{name}, {count} references: map {expected.min():.5g} … {expected.max():.5g}, score {score:.5g}")
        largest = ((ours - expected).abs().max() / expected.max()).item()
        comparison.report(f"{name}, {count} references, map", largest, "largest difference, relative", FEATURE_LIMIT)
        comparison.report(f"{name}, {count} references, score", abs(record["score"] / score.item() - 1), "relative difference", FEATURE_LIMIT)


def patchcore_of_rows(comparison, layers, photo, references, memory):
    """The map and score of PatchCore with the rows that the program chose, once each is seen to have been as far as any, but for rounding."""
    with safe_open(memory, "pt") as file:
        rows = file.get_tensor("rows").long().tolist()
    pixels = [few_shot_reference.preprocess(one, Image.BILINEAR) for one in references]
    features = torch.cat([few_shot_reference.patch_features(layers(one)) for one in pixels])
    own, lead = few_shot_reference.coreset(features)
    print(f"coreset: {sum(a == b for a, b in zip(own, rows))} of {len(own)} rows in the same order, smallest lead {lead:.1e}")
    assert len(own) == len(rows), f"{len(rows)} rows were chosen, expected {len(own)}"
    comparison.report("coreset", few_shot_reference.coreset(features, rows)[1], "farthest behind, relative", CORESET_LIMIT)
    expected, score, *_ = few_shot_reference.patchcore(layers, photo, references, rows)
    return expected, score


def sam_boxes(side):
    """`[1, 9, 4]` in pixels of the frame: about the cells of a 3×3 grid, from tiny to larger than a cell, between pixels."""
    centres = torch.cartesian_prod(torch.arange(3), torch.arange(3)).flip(1) * side / 3 + side / 6
    halves = torch.tensor([0.01, 0.03, 0.06, 0.1, 0.14, 0.18, 0.22, 0.26, 0.3])[:, None] * side * torch.tensor([1, 0.6])
    return torch.cat([centres - halves, centres + halves], 1).clamp(0, side)[None]


def sam_forward(comparison, name):
    """Embeddings, mask logits and scores of Segment Anything on random pixels."""
    model = sam_reference.redraw(transformers.SamModel(sam_reference.published_config(name)))
    side = model.config.vision_config.image_size
    inputs = {"pixel_values": torch.randn(1, 3, side, side), "input_boxes": sam_boxes(side)}
    truth = sam_reference.forward(model, *inputs.values())
    weights = comparison.folder / name
    model.half().save_pretrained(weights)
    ours = comparison.forward("sam", weights, inputs)
    scores = truth.pop("iou_scores")
    comparison.outputs(ours, truth, SAM_LIMIT)
    assert ours["iou_scores"].shape == scores.shape, f"iou_scores: {tuple(ours['iou_scores'].shape)}, expected {tuple(scores.shape)}"
    comparison.report("iou_scores", (ours["iou_scores"] - scores).abs().max().item(), "largest difference", SAM_IOU_LIMIT)


def sam_masks(comparison):
    """Masks and scores of boxes on photos, from the file to PNGs at the photo's own size.

    Assumes of `segment` that `results.jsonl` has one record with `masks`, in the order of the boxes: `file`, a PNG of 0 and 255 relative to
    the output folder, and `iou`, the network's estimate.
    """
    official = sam_reference.redraw(segment_anything.sam_model_registry["vit_b"]())
    weights = comparison.folder / "sam"
    convert.write(weights, *convert.convert_state(official.state_dict()))
    predictor = segment_anything.SamPredictor(official)
    for name, size in SAM_PHOTOS.items():
        photo, path, output = sam_reference.photo(size), comparison.folder / f"{name}.png", comparison.folder / f"masks_{name}"
        photo.save(path)
        boxes = sam_reference.photo_boxes(size)
        given = [argument for box in boxes.tolist() for argument in ("--box", ",".join(map(str, box)))]
        comparison.call("segment", path, *given, "--weights", weights, "--output", output)
        logits, scores = sam_reference.photo_masks(predictor, photo, boxes)
        record, = records(output / "results.jsonl")
        for at, (truth, score, ours) in enumerate(zip(logits, scores, record["masks"], strict=True)):
            compare_mask(comparison, f"{name} {size[0]}×{size[1]}, box {at}", truth, score.item(), output / ours["file"], ours["iou"])


def compare_mask(comparison, name, logits, score, path, iou):
    """Logits `[h, w]` and the score of the official code against a PNG and an estimate."""
    mask = torch.from_numpy(np.array(Image.open(path)))
    assert mask.shape == logits.shape, f"{name}: the mask is {tuple(mask.shape)}, expected {tuple(logits.shape)}"
    assert set(mask.unique().tolist()) <= {0, 255}, f"{name}: values besides 0 and 255"
    decided = logits.abs() > SAM_UNDECIDED
    wrong = ((mask > 0) != (logits > 0)) & decided
    print(f"{name}: {(logits > 0).double().mean():.3f} inside, {(~decided).sum()} pixels undecided")
    comparison.report(f"{name}, mask", wrong.sum().item(), "wrong pixels", 0)
    comparison.report(f"{name}, score", abs(iou - score), "difference", SAM_IOU_LIMIT)


def dino(comparison, name):
    """Stages of GroundingDINO with the reference's queries, then the whole network with queries of its own."""
    model = dino_reference.build(dino_reference.published_config(name))
    pixels, ids = torch.randn(1, 3, *DINO_SIZE), dino_reference.caption(DINO_PHRASES, model.config.text_config.vocab_size)
    truth = dino_reference.forward(model, pixels, ids)
    weights = comparison.folder / name
    model.half().save_pretrained(weights)
    inputs = {"pixel_values": pixels, "input_ids": ids}
    rows, scores = truth.pop("query_rows"), truth.pop("query_scores")
    ours = comparison.forward("grounding-dino-stages", weights, inputs | {"query_rows": rows})
    comparison.outputs(ours, truth, DINO_LIMIT)
    ours = comparison.forward("grounding-dino", weights, inputs)
    # Cells whose scores nearly tie swap their ranks, and with them the content that is learnt for a rank: the reference computes again from
    # our order, once that is seen to be one of scores that are equal but for rounding.
    own = ours.pop("query_rows").long()
    swapped = (own != rows).sum().item()
    gap = (scores.gather(1, own) - scores.gather(1, rows)).abs().max() / scores.std()
    print(f"{name}: {swapped} of {own.shape[1]} queries at another rank", flush=True)
    comparison.report(f"{name}, scores of these", gap.item(), "largest difference in standard deviations", DINO_LIMIT)
    truth = dino_reference.forward(model.float(), pixels, ids, query_rows=own)
    # With random weights up to nine in ten probabilities are 1 but for a thousandth, and hide what logits show.
    print(f"{name}: {(truth['logits'].sigmoid() > 0.999).double().mean():.2f} of the probabilities above 0.999", flush=True)
    comparison.outputs({"logits": ours["logits"][..., :ids.shape[1]]}, {"logits": truth["logits"]}, DINO_LIMIT)
    found, expected = [torch.cat([one["logits"].sigmoid(), one["pred_boxes"]], 2)[0] for one in (ours, truth)]
    distances = (found - expected).abs().amax(1)
    beyond = (distances > DINO_QUERY_LIMIT).double().mean().item()
    comparison.report(f"{name}, queries", beyond, f"share beyond {DINO_QUERY_LIMIT}", DINO_BEYOND)
    comparison.report(f"{name}, queries", distances.median().item(), "median difference", DINO_MEDIAN_LIMIT)


def dino_python():
    """The interpreter that has groundingdino-py."""
    return os.environ.get("ZSAS_DINO_PYTHON") or sys.exit("set ZSAS_DINO_PYTHON to the interpreter of tools/requirements_dino.txt")


def dino_original(comparison, backbone):
    """GroundingDINO against the original code, whose checkpoint tools/convert.py rewrites; `$ZSAS_DINO_PYTHON` runs that code."""
    script = Path(__file__).parent / "dino_original.py"
    subprocess.run([dino_python(), script, comparison.folder, backbone, *map(str, DINO_SIZE), DINO_CAPTION], check=True, stderr=subprocess.DEVNULL)
    truth = load_file(comparison.folder / "truth.safetensors")
    weights = comparison.folder / "snapshot"
    convert.convert(comparison.folder / "official.pth", weights)
    del truth["query_scores"]
    ours = comparison.forward("grounding-dino-stages", weights, {name: truth.pop(name) for name in ("pixel_values", "input_ids", "query_rows")})
    comparison.outputs(ours, truth, DINO_LIMIT)


def bert(comparison):
    """The text backbone of GroundingDINO on a caption of four phrases."""
    model = dino_reference.build(dino_reference.published_config("tiny"))
    ids = dino_reference.caption(DINO_PHRASES, model.config.text_config.vocab_size)
    truth = dino_reference.forward(model, torch.randn(1, 3, *DINO_SIZE), ids)
    weights = comparison.folder / "bert"
    model.half().save_pretrained(weights)
    ours = comparison.forward("bert", weights, {"input_ids": ids})
    comparison.outputs(ours, {"last_hidden_state": truth["last_hidden_state"]})


def saa(comparison, sam_name, objects="one", detector="transformers"):
    """The map of SAA+ for a photo, from the prompts of a class to 400²; `$ZSAS_DINO_PYTHON` runs the original detector."""
    folder, output = comparison.folder, comparison.folder / "results"
    if detector == "original":
        subprocess.run([dino_python(), parity_saa.__file__, "make", folder, sam_name, objects, detector], check=True, stderr=subprocess.DEVNULL)
    else:
        parity_saa.make(folder, sam_name, objects, detector)
    comparison.call("infer", folder / "photo.png", "--method", "saa+", "--profile", folder / "profile.toml", "--weights", folder / "weights",
                    "--save", "map", "--output", output, "--overwrite")
    record, = records(output / "results.jsonl")
    largest, share = parity_saa.compare(folder, output / record["map"]["file"])
    print(f"map: largest difference {largest:.2e}")
    comparison.report("map", 1 - share, f"share of pixels beyond {parity_saa.PIXEL_LIMIT}", 1 - parity_saa.LEAST_SHARE)


def records(path):
    """The records of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


PARTS = {
    "wide-resnet": wide_resnet,
    "clip": lambda comparison: clip_forward(comparison, "ViT-B-16-plus-240"),
    "clip-quick": lambda comparison: clip_forward(comparison, "ViT-B-16-quickgelu"),
    "winclip": winclip,
    "patchcore": lambda comparison: feature_method(comparison, "patchcore"),
    "padim": lambda comparison: feature_method(comparison, "padim"),
    "spade": lambda comparison: feature_method(comparison, "spade"),
    "utad": lambda comparison: feature_method(comparison, "utad"),
    "sam": lambda comparison: sam_forward(comparison, "vit_b"),
    "sam-large": lambda comparison: sam_forward(comparison, "vit_l"),
    "sam-huge": lambda comparison: sam_forward(comparison, "vit_h"),
    "sam-masks": sam_masks,
    "bert": bert,
    "grounding-dino": lambda comparison: dino(comparison, "tiny"),
    "grounding-dino-base": lambda comparison: dino(comparison, "base"),
    "grounding-dino-original": lambda comparison: dino_original(comparison, "swin_T_224_1k"),
    "grounding-dino-original-base": lambda comparison: dino_original(comparison, "swin_B_384_22k"),
    "saa": lambda comparison: saa(comparison, "vit_b"),
    "saa-huge": lambda comparison: saa(comparison, "vit_h"),
    "saa-many": lambda comparison: saa(comparison, "vit_b", "many"),
    "saa-original": lambda comparison: saa(comparison, "vit_b", detector="original"),
}


def main():
    program, device = Path(sys.argv[1]).resolve(), sys.argv[2] if len(sys.argv) > 2 else "auto"
    failed = False
    for part in sys.argv[3:] or ["wide-resnet"]:
        name, _, precision = part.partition(":")
        torch.manual_seed(SEED)
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(program, device, Path(folder), precision or "f32")
            PARTS[name](comparison)
        failed |= comparison.failed
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
