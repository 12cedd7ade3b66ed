"""Reference of Segment Anything by transformers and by the official code, with random weights, for comparison with `zsas-gpu`."""

import re
from functools import partial

import numpy as np
import torch
import transformers
from PIL import Image, ImageOps
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from golden import GOLDEN

# Width, blocks, heads and blocks of global attention of the published networks.
PUBLISHED = {
    "vit_b": (768, 12, 12, [2, 5, 8, 11]),
    "vit_l": (1024, 24, 16, [5, 11, 17, 23]),
    "vit_h": (1280, 32, 16, [7, 15, 23, 31]),
}
# Corners of boxes as shares of a photo.
BOX_SHARES = torch.tensor([[0.1, 0.15, 0.55, 0.8], [0.03, 0.02, 0.97, 0.985], [0.601, 0.403, 0.73, 0.52]])
# Positions and tokens: they enter as they are.
TOKENS = re.compile(r"(_tokens?|_embed(dings)?(\.\d)?)\.weight$|pos_embed$")


def published_config(name):
    """transformers' configuration of a published network."""
    width, blocks, heads, global_blocks = PUBLISHED[name]
    vision = {"hidden_size": width, "num_hidden_layers": blocks, "num_attention_heads": heads, "global_attn_indexes": global_blocks}
    return transformers.SamConfig(vision_config=vision)


def tiny_config(patch=4, blocks=4, window=7):
    """Sizes of a network of the same build: windows on a grid of 9×9, every other block global, heads of 8 in the encoder.

    In the decoder, heads of 8 attend among tokens and heads of 4 across. Masks have four cells along a patch, whatever the patch: with
    patches of 4 pixels they are as large as the frame.
    """
    size = {"image_size": 9 * patch, "patch_size": patch}
    vision = size | {"hidden_size": 16, "output_channels": 32, "num_hidden_layers": blocks, "num_attention_heads": 2, "mlp_ratio": 2.0,
                     "window_size": window, "global_attn_indexes": list(range(1, blocks, 2)), "num_pos_feats": 16}
    prompt = size | {"hidden_size": 32, "mask_input_channels": 16}
    decoder = {"hidden_size": 32, "mlp_dim": 40, "num_attention_heads": 4, "iou_head_hidden_dim": 24}
    return transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)


def official(config):
    """The official code at the sizes of a configuration of transformers'."""
    vision, prompt, decoder = config.vision_config, config.prompt_encoder_config, config.mask_decoder_config
    grid, width = prompt.image_embedding_size, prompt.hidden_size
    encoder = ImageEncoderViT(
        img_size=vision.image_size, patch_size=vision.patch_size, embed_dim=vision.hidden_size, depth=vision.num_hidden_layers,
        num_heads=vision.num_attention_heads, mlp_ratio=vision.mlp_ratio, out_chans=width, use_rel_pos=True, window_size=vision.window_size,
        global_attn_indexes=vision.global_attn_indexes, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
    prompts = PromptEncoder(embed_dim=width, image_embedding_size=(grid, grid), input_image_size=(vision.image_size,) * 2,
                            mask_in_chans=prompt.mask_input_channels)
    two_way = TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=decoder.mlp_dim, num_heads=decoder.num_attention_heads)
    masks = MaskDecoder(transformer_dim=width, transformer=two_way, iou_head_hidden_dim=decoder.iou_head_hidden_dim)
    return Sam(encoder, prompts, masks)


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


@torch.no_grad()
def official_outputs(model, embeddings, prompt, several):
    """Mask logits `[1, n, k, h, w]` and scores `[1, n, k]` of the official code; `prompt` as transformers takes it."""
    points = (prompt["input_points"][0], prompt["input_labels"][0]) if "input_points" in prompt else None
    boxes = prompt["input_boxes"][0] if "input_boxes" in prompt else None
    sparse, dense = model.prompt_encoder(points=points, boxes=boxes, masks=prompt.get("input_masks"))
    outputs = model.mask_decoder(image_embeddings=embeddings, image_pe=model.prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sparse,
                                 dense_prompt_embeddings=dense, multimask_output=several)
    return [output[None] for output in outputs]


def photo(size):
    """The textile in false colours, cut to an aspect ratio and resized."""
    textile = Image.open(GOLDEN / "methods" / "textile.png").convert("L")
    return ImageOps.fit(ImageOps.colorize(textile, (30, 0, 60), (255, 240, 150), (150, 100, 90)), size, Image.Resampling.BICUBIC)


def photo_boxes(size):
    """`BOX_SHARES` in pixels of a photo of a width and height: quarters of a pixel, exact as text."""
    return ((BOX_SHARES * torch.tensor(size * 2)) * 4).round() / 4


def photo_masks(predictor, photo, boxes):
    """Logits `[n, h, w]` at the photo's own size and scores `[n]` of the official predictor; `boxes` `[n, 4]` in pixels of the photo."""
    predictor.set_image(np.array(photo))
    frame = predictor.transform.apply_boxes_torch(boxes, photo.size[::-1])
    logits, scores, _ = predictor.predict_torch(None, None, frame, multimask_output=False, return_logits=True)
    return logits[:, 0], scores[:, 0]
