"""Writes `tests/golden/grounding_dino/`: a tiny GroundingDINO with random weights, and what transformers computes with it.

    python tools/golden_dino.py

`tiny/` is a snapshot as transformers saves it, its tensors in f16. `stages.safetensors` holds cases, by letter: `a` has a caption of three
phrases, `b` the same image with a caption of one, `c` an image whose sides are no whole patches.
"""

import copy

import torch
from safetensors.torch import save_file

import dino_reference as reference
from golden import GOLDEN

SEED, SIZE, ODD_SIZE = 5, (50, 74), (49, 73)
PHRASES = {"a": [2, 1, 3], "b": [2], "c": [1, 4]}


def rounding(model, pixels, ids, stages):
    """Prints how far each stage in f32 is from itself in f64, for `ROUNDING` of the tests."""
    exact = reference.forward(copy.deepcopy(model).double(), pixels.double(), ids, query_rows=stages["query_rows"])
    for name, value in stages.items():
        if name != "query_rows":
            print(f"{name}: {((value.double() - exact[name]).norm() / exact[name].norm()).item():.1e}")


def main():
    torch.manual_seed(SEED)
    folder = GOLDEN / "grounding_dino"
    model = reference.build(reference.tiny_config())
    pixels = torch.randn(1, 3, *SIZE).half().float()
    odd = torch.randn(1, 3, *ODD_SIZE).half().float()
    tensors = {}
    for case, phrases in PHRASES.items():
        image, ids = odd if case == "c" else pixels, reference.caption(phrases, model.config.text_config.vocab_size)
        stages = reference.forward(model, image, ids)
        del stages["query_scores"]
        if case == "a":
            rounding(model, image, ids, stages)
            stages |= {"transformers_boxes": reference.forward(model, image, ids, "transformers")["pred_boxes"]}
        if case != "b":
            stages["pixel_values"] = image.half()
        stages["input_ids"] = ids
        # The second caption shows the whole network alone.
        kept = stages if case == "a" else {name: stages[name] for name in stages if name in ("pixel_values", "input_ids", "logits", "pred_boxes")}
        tensors |= {f"{case}.{name}": value.contiguous() for name, value in kept.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "stages.safetensors", {"seed": str(SEED)})
    model.half().save_pretrained(folder / "tiny")


if __name__ == "__main__":
    main()
