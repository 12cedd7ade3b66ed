"""Writes `tests/golden/grounding_dino/`: a tiny GroundingDINO with random weights, and what transformers computes with it.

    python tools/golden_dino.py

`tiny/` is a snapshot as transformers saves it, its tensors in f16. `stages.safetensors` holds cases, by letter: `a` has a caption of three
phrases, `b` the same image with a caption of one, `c` an image whose sides are no whole patches, `d` one so wide that outer cells are no
proposals, with given queries that are such cells, too: their boxes depend on whose logit is taken.
"""

import copy

import torch
from safetensors.torch import save_file

import dino_reference as reference
from golden import GOLDEN

SEED, SIZE, ODD_SIZE = 5, (50, 74), (49, 73)
# Its finest level is 3×52 cells, and centres nearer to the border than a hundredth of the image are no proposals.
WIDE_SIZE, WIDE_CELLS = (10, 206), 3 * 52
PHRASES = {"a": [2, 1, 3], "b": [2], "c": [1, 4]}


def rounding(model, pixels, ids, stages):
    """Prints how far each stage in f32 is from itself in f64, for `ROUNDING` of the tests, and how it spreads."""
    exact = reference.forward(copy.deepcopy(model).double(), pixels.double(), ids, query_rows=stages["query_rows"])
    for name, value in stages.items():
        if name != "query_rows":
            spread = f"{value.mean():.2f} ± {value.std():.2f}, {value.min():.2f} … {value.max():.2f}"
            print(f"{name}: {((value.double() - exact[name]).norm() / exact[name].norm()).item():.1e}, {spread}")


def wide_case(model):
    """An image of which cells that are no proposals become queries."""
    pixels, ids = torch.randn(1, 3, *WIDE_SIZE).half().float(), reference.caption([2, 1], model.config.text_config.vocab_size)
    rows = torch.linspace(0, WIDE_CELLS - 1, model.config.num_queries).round().long()[None]
    stages = reference.forward(model, pixels, ids, query_rows=rows)
    rounding(model, pixels, ids, {name: stages[name] for name in ("query_rows", "logits", "pred_boxes")})
    boxes = reference.forward(model, pixels, ids, "transformers", rows)["pred_boxes"]
    apart = (boxes - stages["pred_boxes"]).norm() / boxes.norm()
    assert apart > 1e-3, f"boxes by either logit are {apart:.1e} from each other"
    return {"pixel_values": pixels.half(), "input_ids": ids, "query_rows": rows, "logits": stages["logits"],
            "pred_boxes": stages["pred_boxes"], "transformers_boxes": boxes}


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
    tensors |= {f"d.{name}": value.contiguous() for name, value in wide_case(model).items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "stages.safetensors", {"seed": str(SEED)})
    model.half().save_pretrained(folder / "tiny")


if __name__ == "__main__":
    main()
