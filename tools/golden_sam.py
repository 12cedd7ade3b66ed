"""Writes tests/golden/sam/: what transformers makes of a tiny Segment Anything.

    python tools/golden_sam.py

Weights are seeded and exact in f16; goldens record versions and seed. The snapshot has the names and contents of published ones, in shards.
"""

import torch
import transformers

import sam_reference as reference
from golden import GOLDEN, SEED
from golden_clip import report, rounding, save

# Bytes of tensors in a shard; its header comes on top.
SHARD = "48KB"
# In pixels of the frame of 36×36: most of it, one between pixels, one of a single pixel, one that leaves the frame.
BOXES = [[2, 3, 30, 33], [5.25, 10.5, 17.75, 21.125], [20, 8, 21, 9], [-3, 12, 38.5, 40]]
METADATA = {"script": "tools/golden_sam.py", "transformers": transformers.__version__}


class Recorder:
    """What modules of a network return, by a name of our own."""

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


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(SEED)
    tiny()
