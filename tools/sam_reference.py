"""Segment Anything as transformers computes it, with weights that are drawn anew: what `zsas-gpu` is compared with."""

import re

import torch
import transformers

# Width, blocks, heads and blocks of global attention of the published networks.
PUBLISHED = {
    "vit_b": (768, 12, 12, [2, 5, 8, 11]),
    "vit_l": (1024, 24, 16, [5, 11, 17, 23]),
    "vit_h": (1280, 32, 16, [7, 15, 23, 31]),
}
# Positions and tokens: they enter as they are.
TOKENS = re.compile(r"(_tokens?|_embed(dings)?(\.\d)?)\.weight$|pos_embed$")


def published_config(name):
    """transformers' configuration of a published network."""
    width, blocks, heads, global_blocks = PUBLISHED[name]
    vision = {"hidden_size": width, "num_hidden_layers": blocks, "num_attention_heads": heads, "global_attn_indexes": global_blocks}
    return transformers.SamConfig(vision_config=vision)


def tiny_config():
    """Sizes of a network of the same build: windows of 7×7 on a grid of 9×9, blocks 1 and 3 global, heads of 8 in the encoder.

    In the decoder, heads of 8 attend among tokens and heads of 4 across. Masks have four cells along a patch, whatever the patch: with
    patches of 4 pixels they are as large as the frame.
    """
    size = {"image_size": 36, "patch_size": 4}
    vision = size | {"hidden_size": 16, "output_channels": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "mlp_ratio": 2.0,
                     "window_size": 7, "global_attn_indexes": [1, 3], "num_pos_feats": 16}
    prompt = size | {"hidden_size": 32, "mask_input_channels": 16}
    decoder = {"hidden_size": 32, "mlp_dim": 40, "num_attention_heads": 4, "iou_head_hidden_dim": 24}
    return transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)


def redraw(model):
    """Draws every parameter anew, exact in f16; takes networks under transformers' names and under the official ones.

    Fresh networks have relative positions of zero, trivial norms and zero biases. Matrices have variance 2 / fan-in; relative positions
    shift attention as much as keys do; positions and tokens spread by 0.5; scales of norms lie in 0.5…1.5, biases spread by 0.1.
    """
    with torch.no_grad():
        for name, value in model.state_dict().items():
            noise = torch.randn_like(value)
            if name.endswith(("rel_pos_h", "rel_pos_w")):
                drawn = noise * value.shape[1] ** -0.5
            elif name.endswith(("positional_embedding", "gaussian_matrix")):
                drawn = noise                                          # phases 2π·u·noise: neighbouring patches stay alike
            elif TOKENS.search(name):
                drawn = 0.5 * noise
            elif value.dim() > 1:
                drawn = noise * (2 / value[0].numel()) ** 0.5
            elif name.endswith("weight"):
                drawn = 0.5 + torch.rand_like(value)
            else:
                drawn = 0.1 * noise
            value.copy_(drawn.half())
    return model.eval()


@torch.no_grad()
def forward(model, pixels, boxes):
    """`pixels` `[1, 3, s, s]`, `boxes` `[1, n, 4]` as x0, y0, x1, y1 in pixels of that frame → the outputs of `forward sam`."""
    embeddings = model.get_image_embeddings(pixels)
    outputs = model(image_embeddings=embeddings, input_boxes=boxes, multimask_output=False)
    return {"image_embeddings": embeddings, "pred_masks": outputs.pred_masks, "iou_scores": outputs.iou_scores}
