"""Writes tests/golden/sam/: outputs of transformers and the official code for tiny networks of Segment Anything.

    python tools/golden_sam.py [tiny] [segment]

Weights are seeded and exact in f16; goldens record versions and seed. Snapshots have the names and contents of published ones, in shards.
"""

import json
import sys
import tempfile
from pathlib import Path
from unittest import mock

import torch
import transformers
from PIL import Image
from segment_anything import SamPredictor

import convert
import sam_reference as reference
from golden import GOLDEN, SEED
from golden_clip import report, rounding, save

# Bytes of tensors in a shard; its header comes on top.
SHARD = "48KB"
# In pixels of the frame of 36×36: most of it, one between pixels, one of a single pixel, one that leaves the frame.
BOXES = [[2, 3, 30, 33], [5.25, 10.5, 17.75, 21.125], [20, 8, 21, 9], [-3, 12, 38.5, 40]]
# Width and height of photos to segment, all reduced: the network's frame is 72×72.
PHOTOS = {"landscape": (97, 61), "portrait": (47, 83), "strip": (150, 50)}
# Where a logit is closer to zero, two programs may disagree about the pixel.
UNDECIDED = 1e-3
METADATA = {"script": "tools/golden_sam.py", "transformers": transformers.__version__}


class Recorder:
    """Outputs of modules of a network, under names that we choose."""

    def __init__(self):
        self.found, self.handles = {}, []

    def watch(self, name, module, part=lambda output: output):
        def keep(module, inputs, output):
            self.found[name] = part(output)
        self.handles.append(module.register_forward_hook(keep))

    def stop(self):
        for handle in self.handles:
            handle.remove()


def watch_encoder(recorder, encoder):
    """Tokens with their positions, the output of every block, and of the two halves of the neck."""
    recorder.watch("patches", encoder.patch_embed, lambda patches: patches + encoder.pos_embed)
    for number, layer in enumerate(encoder.layers):
        recorder.watch(f"block_{number}", layer, lambda output: output[0] if isinstance(output, tuple) else output)
    recorder.watch("neck_1", encoder.neck.layer_norm1)


def watch_decoder(recorder, model):
    """Tokens of all boxes; of box 0, tokens and image keys after each two-way layer and what its mask is the product of."""
    transformer, decoder = model.mask_decoder.transformer, model.mask_decoder
    recorder.watch("box_tokens", model.prompt_encoder, lambda output: output[0][0])               # [n, 2, d]
    for number, layer in enumerate(transformer.layers):
        recorder.watch(f"self_attention_{number}", layer.layer_norm1, lambda tokens: tokens[0, 0])  # [7, d]
        recorder.watch(f"tokens_{number}", layer, lambda output: output[0][0, 0])                 # [7, d]
        recorder.watch(f"keys_{number}", layer, lambda output: output[1].flatten(0, 1)[0])        # [grid², d]
    recorder.watch("tokens", transformer, lambda output: output[0][0, 0])                         # [7, d]
    recorder.watch("hyper", decoder.output_hypernetworks_mlps[0], lambda x: x[0, 0])              # [d / 8]
    recorder.watch("upscaled", decoder.upscale_conv2, lambda x: decoder.activation(x)[0])         # [d / 8, 4·grid, 4·grid]


def describe(tensors):
    for key, value in tensors.items():
        print(f"  {key} {tuple(value.shape)}: {value.min():.3f} … {value.max():.3f}")


def tiny():
    """The snapshot, its outputs, and its stages."""
    config = reference.tiny_config()
    model = reference.redraw(transformers.SamModel(config))
    folder = GOLDEN / "sam" / "tiny"
    model.half().save_pretrained(folder, max_shard_size=SHARD)
    for path in sorted(folder.iterdir()):
        report(path)
    model = transformers.SamModel.from_pretrained(folder, dtype=torch.float32).eval()

    side = config.vision_config.image_size
    inputs = {"pixel_values": torch.randn(1, 3, side, side), "input_boxes": torch.tensor([BOXES])}
    encoder, decoder = Recorder(), Recorder()
    watch_encoder(encoder, model.vision_encoder)
    watch_decoder(decoder, model)
    outputs = reference.forward(model, *inputs.values())
    for recorder in (encoder, decoder):
        recorder.stop()
    decoder.found["image_positions"] = model.get_image_wide_positional_embeddings().detach()
    stages = {"encoder_stages": encoder.found, "decoder_stages": decoder.found}
    for name, tensors in {"forward": inputs | outputs, **stages}.items():
        save(f"sam/{name}", {key: value.detach() for key, value in tensors.items()}, METADATA)
        describe(tensors)

    model.double()
    exact = reference.forward(model, *(value.double() for value in inputs.values()))
    for key, value in outputs.items():
        print(f"  {key}: off by {rounding(value, exact[key]):.1e}")
        assert value.std() > 0.1, f"{key} is flat"
    for at, mask in enumerate(outputs["pred_masks"][0, :, 0]):
        share = (mask > 0).float().mean()
        print(f"  box {at}: {share:.2f} of the mask above zero")


def official_snapshot(official, heads):
    """Writes the official network as tools/convert.py names it, in shards of f16; transformers must make the same of it."""
    folder = GOLDEN / "sam" / "official"
    with tempfile.TemporaryDirectory() as converted:
        convert.write(Path(converted), *convert.convert_state(official.state_dict(), heads))
        transformers.SamModel.from_pretrained(converted, dtype=torch.float16).save_pretrained(folder, max_shard_size=SHARD)
    for path in sorted(folder.iterdir()):
        report(path)
    assert json.loads((folder / "config.json").read_text())["mask_decoder_config"]["layer_norm_eps"] == convert.SAM_DECODER_EPS

    model = transformers.SamModel.from_pretrained(folder, dtype=torch.float32).eval()
    side = official.image_encoder.img_size
    pixels, boxes = torch.randn(1, 3, side, side), reference.photo_boxes((side, side))[None]
    found = reference.forward(model, pixels, boxes)
    with torch.no_grad():
        embeddings = official.image_encoder(pixels)
    masks, scores = reference.official_outputs(official, embeddings, {"input_boxes": boxes}, False)
    for key, exact in {"image_embeddings": embeddings, "pred_masks": masks, "iou_scores": scores}.items():
        off = rounding(found[key], exact)
        print(f"  {key}: transformers off by {off:.1e}")
        assert off < 1e-5, f"the snapshot is another network: {key}"


def segment():
    """Masks of the official code for photos at their own sizes, and the network as a snapshot.

    Masks have half the side of the frame: the first of the two resizes enlarges them, the second fits them to the photo.
    """
    config = reference.tiny_config(patch=8, blocks=2, window=5)
    official = reference.redraw(reference.official(config))
    official_snapshot(official, config.mask_decoder_config.num_attention_heads)
    results = {}
    for name, size in PHOTOS.items():
        photo, boxes = reference.photo(size), reference.photo_boxes(size)
        results[name] = photo, boxes, *reference.photo_masks(SamPredictor(official), photo, boxes)
    official.double()
    for name, (photo, boxes, logits, scores) in results.items():
        save_masks(name, photo, logits)
        save(f"sam/segment_{name}", {"boxes": boxes, "iou": scores, "logits": logits[:, ::5, ::5]}, METADATA)
        # The official code casts coordinates to `torch.float`.
        with mock.patch.multiple(torch, float=torch.float64, float32=torch.float64):
            exact, exact_scores = reference.photo_masks(SamPredictor(official), photo, boxes)
        describe({"logits": logits, "iou": scores})
        worst = max(rounding(ours, truth) for ours, truth in zip(logits, exact))
        print(f"  spread {logits.std():.3f}; logits of a box off by up to {worst:.1e}, iou by {(scores - exact_scores).abs().max():.1e}")


def save_masks(name, photo, logits):
    """Writes a photo and its masks: 255 inside, 0 outside, 128 where the logit does not decide."""
    undecided = logits.abs() < UNDECIDED
    levels = (255 * (logits > 0)).masked_fill(undecided, 128).byte()
    pictures = {name: photo} | {f"{name}_{number}": Image.fromarray(mask.numpy()) for number, mask in enumerate(levels, 1)}
    for stem, picture in pictures.items():
        path = GOLDEN / "sam" / f"{stem}.png"
        picture.save(path, optimize=True)
        report(path)
    for number, (mask, doubtful) in enumerate(zip(logits, undecided), 1):
        share = (mask > 0).float().mean()
        print(f"  box {number}: {share:.3f} of the photo inside, {doubtful.sum()} pixels undecided")
        assert 0.02 < share < 0.98, "the mask is trivial"


def main():
    parts = {"tiny": tiny, "segment": segment}
    for name in sys.argv[1:] or parts:
        torch.manual_seed(SEED)
        parts[name]()


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
