"""Writes `tests/golden/methods/few_shot.safetensors`: PatchCore, PaDiM and SPADE by plain PyTorch in f64 on the tiny network of
`tests/golden/wide_resnet`, beside what plausible mistakes would compute.

    python tools/golden_few_shot.py
"""

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import few_shot_reference as reference
import golden

PHOTOS = golden.GOLDEN / "methods"
STEP = 5


def network():
    """The tiny network in f64: pixels → its four layers."""
    model = golden.Trunk(4, [(2, 4, 8), (1, 4, 8), (2, 7, 12), (1, 4, 16)])
    missing, unexpected = model.load_state_dict(load_file(golden.GOLDEN / "wide_resnet" / "tiny.safetensors"), strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    model.eval().double()

    def layers(pixels):
        with torch.no_grad():
            return model(pixels.double())

    return layers


def photo(name):
    return Image.open(PHOTOS / f"{name}.png").convert("RGB")


def rolled(image, shift):
    """Columns moved to the right in a circle."""
    return Image.fromarray(np.roll(np.array(image), shift, axis=1))


def main():
    layers, query, wide = network(), photo("textile"), photo("wide")
    few = [photo(f"reference_{number}") for number in range(1, 5)]
    # The last is the photo itself upside down.
    six = [*few, wide, query.transpose(Image.ROTATE_180)]
    # More than the 28 channels.
    many = [rolled(query, 7 * at) for at in range(1, 33)]
    written = {}

    def keep(name, found):
        written[f"{name}_map"] = found[0].float()[::STEP, ::STEP].contiguous()
        written[f"{name}_score"] = torch.as_tensor(found[1]).float().reshape(1)
        print(f"{name}: map {found[0].min():.4g} … {found[0].max():.4g}, score {found[1]:.6g}")

    for count in (1, 2, 4, 6):
        found = reference.patchcore(layers, query, six[:count])
        keep(f"patchcore_{count}", found)
        keep(f"padim_{count}", reference.padim(layers, query, six[:count]))
        keep(f"spade_{count}", reference.spade(layers, query, six[:count]))
    written["patchcore_6_rows"] = torch.tensor(found[2]).float()
    print(f"coreset: smallest lead {found[3]:.2e}")
    written["spade_6_neighbours"] = reference.spade(layers, query, six)[2].float()
    keep("padim_32", reference.padim(layers, query, many))
    keep("patchcore_wide", reference.patchcore(layers, wide, few[:1]))
    keep("padim_wide", reference.padim(layers, wide, few[:2]))
    keep("spade_wide", reference.spade(layers, wide, few[:2]))

    # Mistakes.
    keep("wrong_patchcore_plain", reference.patchcore(layers, query, few, squared=False))
    keep("wrong_patchcore_padding", reference.patchcore(layers, query, few, padding="replicate"))
    keep("wrong_patchcore_bins", reference.patchcore(layers, query, few, pool=reference.floor_pool))
    keep("wrong_patchcore_order", reference.patchcore(layers, query, few, resized="layers"))
    keep("wrong_padim_ddof", reference.padim(layers, query, few, ddof=0))
    keep("wrong_padim_regularization", reference.padim(layers, query, few, regularization=0.011))
    keep("wrong_padim_filter", reference.padim(layers, query, few, resampling=Image.BILINEAR))
    keep("wrong_padim_channels", reference.padim(layers, query, few, channels=list(range(27))))
    keep("wrong_spade_joined", reference.spade(layers, query, six, joined=True))
    keep("wrong_spade_nearest", reference.spade(layers, query, six, nearest=4))
    keep("wrong_spade_filter", reference.spade(layers, query, six, resampling=Image.BILINEAR))

    # Rows of a line of numbers, of which the choice of each is clear.
    torch.manual_seed(1)
    rows = torch.randn(300, 16)
    farness = torch.cdist(rows.double(), rows[:10].double()).mean(1)
    chosen = []
    for _ in range(60):
        chosen.append(int(farness.argmax()))
        farness = torch.minimum(farness, (rows.double() - rows[chosen[-1]].double()).norm(dim=1))
    written |= {"coreset_input": rows, "coreset_rows": torch.tensor(chosen).float()}
    save_file(written, golden.GOLDEN / "methods" / "few_shot.safetensors", {"torch": torch.__version__})


if __name__ == "__main__":
    main()
