"""Reference of GroundingDINO by transformers, held to the original code, with random weights, for comparison with `zsas-gpu`."""

import contextlib
import re

import torch
import transformers
from transformers.models.grounding_dino import modeling_grounding_dino as modeling

# [CLS], [SEP], full stop, question mark.
SPECIAL = (101, 102, 1012, 1029)
# Width, blocks, heads, window, side of training images of the backbones of the published networks. Known from the official code, which builds
# backbones by name, and from transformers' script that made the published folders; those folders were not at hand. All else is assumed to be
# what transformers has where a configuration is silent, which is Swin-T's network; the two official configurations differ in the backbone alone.
PUBLISHED = {
    "tiny": (96, [2, 2, 6, 2], [3, 6, 12, 24], 7, 224),
    "base": (128, [2, 2, 18, 2], [4, 8, 16, 32], 12, 384),
}
# Least distance from 0 and 1 of coordinates whose logit is taken, by whose code.
LOGIT_EPS = {"original": 1e-3, "transformers": 1e-5}
# Tables that enter as they are.
TABLES = re.compile(r"(_embeddings\.weight|level_embed|query_position_embeddings\.weight)$")


def published_config(name):
    """transformers' configuration of a published network."""
    width, depths, heads, window, side = PUBLISHED[name]
    backbone = transformers.SwinConfig(embed_dim=width, depths=depths, num_heads=heads, window_size=window, image_size=side,
                                       out_indices=[2, 3, 4])
    return transformers.GroundingDinoConfig(backbone_config=backbone, text_config=transformers.BertConfig(), disable_custom_kernels=True)


def tiny_config():
    """Sizes of a network of the same build: windows of 3 on odd grids, shifted in two stages, patches of 2 pixels."""
    backbone = transformers.SwinConfig(embed_dim=8, depths=[1, 2, 2, 1], num_heads=[1, 2, 2, 4], window_size=3, patch_size=2, mlp_ratio=2.0,
                                       image_size=32, out_indices=[2, 3, 4])
    text = transformers.BertConfig(vocab_size=1100, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
                                   max_position_embeddings=64)
    return transformers.GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, num_queries=20, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=64,
        decoder_ffn_dim=48, encoder_attention_heads=4, decoder_attention_heads=4, disable_custom_kernels=True)


def redraw(model):
    """Draws every parameter anew, exact in f16: fresh networks have no offsets, no boxes and trivial norms.

    Matrices have variance 1 / fan-in, tables and biases of relative positions spread by 0.5, scales of norms lie in 0.5…1.5, factors of
    residual sums in 0.25…0.75, biases spread by 0.1, those of sampling offsets by two cells. The last layers of box heads are small, so that
    six refinements stay inside the image.
    """
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn_like(value)
            if "sampling_offsets.bias" in name:
                drawn = 2 * noise
            elif re.search(r"bbox_embed\.(\d+\.)?layers\.2\.", name):
                drawn = 0.3 * noise * (value[0].numel() ** -0.5 if value.dim() > 1 else 1)
            elif TABLES.search(name) or "relative_position_bias_table" in name:
                drawn = 0.5 * noise
            elif name.endswith(("vision_param", "text_param")):
                drawn = 0.25 + 0.5 * torch.rand_like(value)
            elif value.dim() > 1:
                drawn = noise * value[0].numel() ** -0.5
            elif name.endswith("weight"):
                drawn = 0.5 + torch.rand_like(value)
            else:
                drawn = 0.1 * noise
            value.copy_(drawn.half())
    return model.eval()


def build(config):
    """A network with random weights whose layers share a box head, as published."""
    model = redraw(transformers.GroundingDinoForObjectDetection(config))
    for head in model.bbox_embed[1:]:
        head.load_state_dict(model.bbox_embed[0].state_dict())
    return model


def sub_sentences(ids):
    """Which tokens attend to which `[1, t, t]`, and their positions `[1, t]`, as the original code has them; `ids` `[1, t]`.

    transformers 5.17 gives a full stop position 0 instead of the one after its phrase: it takes the special token itself for the one before.
    """
    count = ids.shape[1]
    mask, positions, start = torch.eye(count, dtype=torch.bool)[None], torch.zeros(1, count, dtype=torch.long), 0
    for at in range(count):
        if ids[0, at].item() in SPECIAL:
            if 0 < at < count - 1:
                mask[0, start:at + 1, start:at + 1] = True
                positions[0, start:at + 1] = torch.arange(at + 1 - start)
            start = at + 1
    return mask, positions


def token_sines(positions, num_pos_feats, **_):
    """Sine positions `[1, t, d]` of whole positions `[1, t, 1]`, in f32.

    transformers 5.17 computes them in the type of the positions, which are whole numbers, and cuts the fractions off.
    """
    if positions.is_floating_point():
        return ORIGINAL_SINES(positions, num_pos_feats=num_pos_feats, **_)
    feature = torch.arange(num_pos_feats, dtype=torch.float32)
    period = 10000 ** (2 * torch.div(feature, 2, rounding_mode="floor") / num_pos_feats)
    angle = positions.float() * (2 * torch.pi) / period
    return torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)


ORIGINAL_SINES = modeling.encode_sinusoidal_position_embedding


@contextlib.contextmanager
def patched(semantics, query_rows):
    """transformers' code with the positions of the original, its logit by `semantics`, and, where given, the selection of queries."""
    saved = (modeling.generate_masks_with_special_tokens_and_transfer_map, modeling.encode_sinusoidal_position_embedding,
             torch.special.logit, torch.topk)
    eps = LOGIT_EPS[semantics]

    def select(values, count, **options):
        return (None, query_rows) if query_rows is not None else saved[3](values, count, **options)

    modeling.generate_masks_with_special_tokens_and_transfer_map = sub_sentences
    modeling.encode_sinusoidal_position_embedding = token_sines
    torch.special.logit = lambda x, **_: torch.log(x.clamp(eps) / (1 - x).clamp(eps))
    torch.topk = select
    try:
        yield
    finally:
        (modeling.generate_masks_with_special_tokens_and_transfer_map, modeling.encode_sinusoidal_position_embedding,
         torch.special.logit, torch.topk) = saved


@torch.no_grad()
def forward(model, pixels, ids, semantics="original", query_rows=None):
    """What each stage computes, under the names of `forward grounding-dino-stages`, and `query_scores`, by which cells become queries: `pixels` `[1, 3, h, w]`, `ids` `[1, t]`."""
    stages = {}

    def keep(name, take):
        return lambda _module, _inputs, outputs: stages.__setitem__(name, take(outputs))

    backbone = model.model.backbone.conv_encoder.model
    selection, scores = [], []
    hooks = [
        model.model.text_backbone.register_forward_hook(keep("last_hidden_state", lambda outputs: outputs[0])),
        backbone.register_forward_hook(lambda _m, _i, outputs: stages.update(zip(("stage2", "stage3", "stage4"), outputs.feature_maps))),
        model.model.encoder.register_forward_hook(keep("encoder_vision", lambda outputs: outputs.last_hidden_state_vision)),
    ]
    with patched(semantics, query_rows):
        topk = torch.topk

        def noted(*values, **options):
            chosen = topk(*values, **options)
            selection.append(chosen[1])
            scores.append(values[0])
            return chosen

        torch.topk = noted
        outputs = model(pixel_values=pixels, input_ids=ids)
    for hook in hooks:
        hook.remove()
    stages["encoder_text"] = outputs.encoder_last_hidden_state_text
    stages["query_rows"], stages["query_scores"] = selection[0], scores[0]
    for at, queries in enumerate(outputs.intermediate_hidden_states.unbind(1), 1):
        stages[f"decoder_{at}"] = queries
    stages["logits"] = outputs.logits[..., :ids.shape[1]]
    stages["pred_boxes"] = outputs.pred_boxes
    return stages


def caption(phrases, vocabulary):
    """Random ids `[1, t]` of a caption whose phrases have these numbers of words."""
    ids = [101]
    for words in phrases:
        ids += torch.randint(1030, vocabulary, (words,)).tolist() + [1012]
    return torch.tensor([ids + [102]])
