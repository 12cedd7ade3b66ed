"""Tests tools/convert.py: converts checkpoints with random weights, runs them in transformers, and compares with the official code.

    python tools/check_convert.py [clip] [tiny] [vit_b] [vit_l] [vit_h]

Without names: clip and tiny. Needs the package segment-anything. Besides boxes, points and masks are prompted, so that every tensor is used.
"""

import json
import sys
import tempfile
from pathlib import Path

import segment_anything
import torch
import transformers
from safetensors.torch import load_file

import convert
import sam_reference

SEED = 20261122
# Relative L2 between the official program and transformers, both in f32.
LIMIT = 2e-5


def prompts(side, mask_side):
    """Kinds of prompt as transformers takes them, and whether three masks are asked for."""
    boxes = torch.tensor([[[0.1, 0.2, 0.7, 0.9], [0.3, 0.35, 0.5, 0.4]]]) * side
    points, labels = torch.tensor([[[[0.5, 0.6], [0.2, 0.8]], [[0.4, 0.4], [0.9, 0.1]]]]) * side, torch.tensor([[[1, 0], [0, 1]]])
    return {
        "boxes": ({"input_boxes": boxes}, False),
        "points": ({"input_points": points, "input_labels": labels}, True),
        "points and boxes": ({"input_points": points, "input_labels": labels, "input_boxes": boxes}, True),
        "a box and a mask": ({"input_boxes": boxes[:, :1], "input_masks": torch.randn(1, 1, mask_side, mask_side)}, False),
    }


def check_clip():
    """CLIP's own names stay: both libraries' checkpoints, one of them as a training run writes it, hold the same tensors and configuration."""
    hub = Path(__file__).parent.parent / "tests" / "cases" / "clip_hub"
    for file, config in (("open_clip_model.safetensors", "open_clip_config.json"), ("model.safetensors", "config.json")):
        expected = load_file(hub / file)
        for state in (expected, {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in expected.items()}}):
            with tempfile.TemporaryDirectory() as folder:
                source, snapshot = Path(folder) / "checkpoint.pt", Path(folder) / "snapshot"
                torch.save(state, source)
                (source.parent / config).write_text((hub / config).read_text())
                convert.convert(source, snapshot)
                found = load_file(snapshot / file)
                assert json.loads((snapshot / config).read_text()) == json.loads((hub / config).read_text())
            assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    return True


def check(name):
    """One network: every tensor kept, under a name that transformers knows, and the same outputs."""
    fresh = sam_reference.official(sam_reference.tiny_config()) if name == "tiny" else segment_anything.sam_model_registry[name]()
    official = sam_reference.redraw(fresh)
    state = official.state_dict()
    with tempfile.TemporaryDirectory() as folder:
        source, snapshot = Path(folder) / f"{name}.pth", Path(folder) / name
        torch.save(state, source)
        convert.convert(source, snapshot, official.mask_decoder.transformer.layers[0].self_attn.num_heads)
        tensors = load_file(snapshot / "model.safetensors")
        model, info = transformers.SamModel.from_pretrained(snapshot, output_loading_info=True)
    assert not any(info.values()), info
    for (ours, _), (theirs, expected) in zip(convert.renamed(state, convert.SAM_NAMES).items(), state.items(), strict=True):
        assert torch.equal(tensors[ours], expected), f"{theirs} → {ours}"
    alias = {"prompt_encoder.shared_embedding.positional_embedding"}
    loaded = model.state_dict()
    assert loaded.keys() == tensors.keys() | alias, loaded.keys() ^ tensors.keys()
    assert all(torch.equal(loaded[key], value) for key, value in tensors.items())

    side = model.config.vision_config.image_size
    pixels = torch.randn(1, 3, side, side)
    with torch.no_grad():
        embeddings = official.image_encoder(pixels)
    worst = compare("image_embeddings", model.get_image_embeddings(pixels), embeddings)
    mask_side = 4 * model.config.prompt_encoder_config.image_embedding_size
    for kind, (prompt, several) in prompts(side, mask_side).items():
        with torch.no_grad():
            ours = model(image_embeddings=embeddings, multimask_output=several, **prompt)
        masks, scores = sam_reference.official_outputs(official, embeddings, prompt, several)
        worst = max(worst, compare(f"{kind}: masks", ours.pred_masks, masks), compare(f"{kind}: scores", ours.iou_scores, scores))
    return worst <= LIMIT


def compare(what, ours, expected):
    assert ours.shape == expected.shape, f"{what}: {tuple(ours.shape)}, expected {tuple(expected.shape)}"
    distance = ((ours - expected).norm() / expected.norm()).item()
    print(f"  {what} {tuple(expected.shape)}: relative L2 {distance:.1e}{'' if distance <= LIMIT else f', more than {LIMIT}'}")
    return distance


def main():
    results = []
    for name in sys.argv[1:] or ["clip", "tiny"]:
        torch.manual_seed(SEED)
        results.append(check_clip() if name == "clip" else check(name))
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
