"""Tests tools/convert.py: converts checkpoints with random weights, runs them in transformers, and compares with the official code.

    python tools/check_convert.py [clip] [tiny] [vit_b] [vit_l] [vit_h] [grounding-dino-small] [grounding-dino] [grounding-dino-base]

Without names: clip and tiny. Needs the package segment-anything. Besides boxes, points and masks are prompted, so that every tensor is used.
GroundingDINO is Swin-T's, `-base` Swin-B's, `-small` that of `dino_original.SMALL`; `$ZSAS_DINO_PYTHON` runs its official code.
"""

import collections
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import segment_anything
import torch
import transformers
from safetensors.torch import load_file

import convert
import dino_original
import dino_reference
import sam_reference

SEED = 20261122
# Relative L2 between the official program and transformers, both in f32.
LIMIT = 2e-5
# The official name of a GroundingDINO's backbone, height and width of the image, and the caption. The small one's caption has both kinds of
# separator and words after the last. Its image has 53 cells in a row, the outer of which are no proposals, and as many cells as queries.
DINOS = {
    "grounding-dino-small": ("small", 37, 421, "a crack? broken part. hazelnut shell"),
    "grounding-dino": ("swin_T_224_1k", 320, 416, "crack. broken part. hazelnut shell."),
    "grounding-dino-base": ("swin_B_384_22k", 320, 416, "crack. broken part. hazelnut shell."),
}


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


def check_dino(name):
    """One network: no number lost, and the same outputs of each stage, with the queries that the official code selects."""
    python = os.environ.get("ZSAS_DINO_PYTHON") or sys.exit("set ZSAS_DINO_PYTHON to the interpreter of tools/requirements_dino.txt")
    script = Path(dino_original.__file__)
    with tempfile.TemporaryDirectory() as folder:
        folder, snapshot = Path(folder), Path(folder) / name
        subprocess.run([python, script, folder, *map(str, DINOS[name])], check=True, stderr=subprocess.DEVNULL)
        if name == "grounding-dino-small":
            # Sizes that nobody published are refused.
            convert.write(snapshot, convert.dino_tensors(convert.read(folder / "official.pth")), small_config().to_dict())
        else:
            convert.convert(folder / "official.pth", snapshot)
        state, truth, tensors = convert.read(folder / "official.pth"), load_file(folder / "truth.safetensors"), load_file(snapshot / "model.safetensors")
        model, info = transformers.GroundingDinoForObjectDetection.from_pretrained(snapshot, output_loading_info=True)
        # Its modules have other names than its files.
        model.save_pretrained(folder / "saved")
        saved = load_file(folder / "saved" / "model.safetensors")
    assert not any(info.values()), info
    # Found by value, without the table of names; the outputs below show that each is in its place.
    assert fingerprints(tensors.values()) == fingerprints(official_parts(state))
    # transformers 5 computes the indices of relative positions, and has a norm that nothing passes through.
    read = {key: value for key, value in tensors.items() if not key.endswith("relative_position_index")}
    spare = {f"{convert.SWIN_PUBLISHED}.swin.layernorm.{part}" for part in ("weight", "bias")}
    assert saved.keys() == read.keys() | spare, saved.keys() ^ read.keys()
    assert all(torch.equal(saved[key], value) for key, value in read.items())

    pixels, ids, rows = (truth.pop(key) for key in ("pixel_values", "input_ids", "query_rows"))
    stages = dino_reference.forward(model.eval(), pixels, ids, query_rows=rows)
    selected = stages["query_scores"].topk(rows.shape[1])[1]
    print(f"{name}: {len(tensors)} tensors; {(selected != rows).sum()} of {rows.shape[1]} queries at another rank")
    boxes = dino_reference.forward(model, pixels, ids, "transformers", rows)["pred_boxes"]
    others = ((boxes - truth["pred_boxes"]).abs().amax(2) > LIMIT).sum().item()
    print(f"  {others} boxes differ by whose logit is taken")
    assert others or name != "grounding-dino-small", "no box shows whose logit is taken"
    return max([compare(stage, stages[stage], expected) for stage, expected in truth.items()]) <= LIMIT


def small_config():
    """transformers' configuration of `dino_original.SMALL`."""
    sizes = dino_original.SMALL
    detector = sizes["detector"]
    return transformers.GroundingDinoConfig(
        backbone_config=transformers.SwinConfig(**sizes["backbone"], out_indices=[2, 3, 4]), text_config=transformers.BertConfig(**sizes["text"]),
        num_queries=detector["num_queries"], encoder_layers=detector["enc_layers"], decoder_layers=detector["dec_layers"],
        encoder_ffn_dim=detector["dim_feedforward"], decoder_ffn_dim=detector["dim_feedforward"],
        encoder_attention_heads=detector["nheads"], decoder_attention_heads=detector["nheads"], disable_custom_kernels=True)


def official_parts(state):
    """The official tensors that the network reads, each once, those of query, key and value apart."""
    first = {name: re.sub(r"^(transformer\.decoder\.)?bbox_embed\.\d+", "bbox_embed.0", name) for name in state}
    assert all(torch.equal(value, state[first[name]]) for name, value in state.items())
    for name, value in state.items():
        if first[name] == name and not re.match(r"label_enc\.|bert\.pooler\.|bert\.embeddings\.position_ids", name):
            yield from value.chunk(3) if re.search(r"qkv\.(weight|bias)$|in_proj_(weight|bias)$", name) else [value]


def fingerprints(values):
    """How often each shape and content occurs."""
    return collections.Counter((tuple(value.shape), value.contiguous().numpy().tobytes()) for value in values)


def compare(what, ours, expected):
    assert ours.shape == expected.shape, f"{what}: {tuple(ours.shape)}, expected {tuple(expected.shape)}"
    distance = ((ours - expected).norm() / expected.norm()).item()
    print(f"  {what} {tuple(expected.shape)}: relative L2 {distance:.1e}{'' if distance <= LIMIT else f', more than {LIMIT}'}")
    return distance


def main():
    results = []
    for name in sys.argv[1:] or ["clip", "tiny"]:
        torch.manual_seed(SEED)
        results.append(check_clip() if name == "clip" else check_dino(name) if name in DINOS else check(name))
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
