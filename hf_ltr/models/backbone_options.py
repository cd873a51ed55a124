"""
Which arguments of `timm.create_model` a config may hold. A config comes with a checkpoint, and a checkpoint is data:
it says how a network is built, never which file is read, what is downloaded or which code runs.
"""

from __future__ import annotations

import re
from typing import Any

from ..naming import shown, unknown_name
from ..validation import mapping, plain
from .size_limits import MOST_BLOCKS, WIDEST

# A name of timm's registry and, maybe, the tag of its weights. (`hf-hub:`, `local-dir:`, paths and addresses have
# other characters.)
BACKBONE_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_-]+)?")
_WORD = re.compile(r"[A-Za-z0-9_]{0,64}")

# Numbers of blocks, whose sum is the depth of a network.
_DEPTHS = (
    "cls_attn_layers depth depth_list depth_token_only depths layers num_blocks num_blocks_list num_rnn_layers "
    "num_vit parallel_depth serial_depths stage_depths stages levels k_sec transformer_depths block_config"
).split()
# Arguments of the networks of timm that are facts of an architecture, by what they hold. Left out on purpose: what
# names files, weights or their record (`checkpoint_path`, `pretrained*`, `cache_dir`), what changes the kind of the
# result (`features_only`, `num_classes`, `scriptable`), tables of blocks (`cfg`), devices, classes.
BACKBONE_OPTIONS = frozenset(
    _DEPTHS
    + """
    aa_layer act_layer attn_act_layer attn_layer attn_type downsample embed_norm_layer fc_act_layer mlp_layer
    norm_layer norm_layer_cl pad_type rope_grid_indexing rope_type se_layer stem_type pos_embed

    base_dim base_dims base_width bottle_ratio bottleneck_width_ratio cardinality channels channel_multiplier dim dims
    embed_dim embed_dims expand_ratio expansion_ratio feature_dim final_chs growth_rate growth_rates head_dim
    head_hidden_size head_widths hidden_sizes init_channels initial_chs inner_dim inplanes intermediate_size key_dim
    mlp_ratio mlp_ratios neck_chans num_features num_heads num_heads_inner num_heads_outer num_init_features
    num_kv_heads heads attn_ratio attn_mlp_ratio stage_dims stem_chs stem_hidden_dim stem_size stem_width widths width
    width_factor width_list width_mult widen_factor deepen_factor depth_mult swiglu_align_to

    img_size patch_size patch_sizes patch_kernel patch_padding patch_stride window_size window_sizes window_ratio
    kernel_size kernel_sizes stem_kernel_size down_kernel_size down_patch_size downsample_kernel_size local_conv_size
    output_stride pool_size stem_stride sr_ratios strides pos_embed_grid_size ref_feat_shape reg_tokens
    num_reg_tokens num_levels focal_levels focal_windows mask_unit_size q_stride q_pool reduction reduce_first
    block_reduce_first groups attn_groups global_att_blocks pretrained_window_sizes

    class_token distilled distillation no_embed_class dynamic_img_size dynamic_img_pad strict_img_size fc_norm
    final_norm pre_norm head_norm_first use_fc_norm qkv_bias qkv_fused qk_norm proj_bias mlp_bias conv_bias conv_mlp
    head_bias patch_norm avg_down replace_stem_pool preact use_abs_pos use_abs_pos_emb use_pos_emb use_pos_embed
    use_rel_pos use_rel_pos_bias use_shared_rel_pos_bias use_rot_pos_emb use_rope rope_rotate_half
    use_post_norm use_layer_scale use_grn scale_mlp scale_attn_norm scale_attn_inner swiglu_mlp zero_init_last
    sep_pos_embed always_partition downsamples fix_stem memory_efficient

    block_args global_pool pool_include_prefix pool_type weight_init fix_init

    bn_size w0 wa wm group_size group_min_ratio se_ratio linear_out aa_stem_only basic bias attn_head_dim_reduction
    attn_pool_mlp_ratio attn_pool_num_heads attn_only_layer_scale ch_div cls_ratio conv_init conv_ratio crop_scale
    d2_scales dim_mul head_mul head_norm down_pad down_stride downsample_block downsample_padding downsample_ratio
    expand_groups extra_norm_period extra_norm_stage ffn_ratio first_stride global_attn_indexes global_block_counts
    global_pos_size group hidden_size inc_sec input_3x3 is_downsample_block k_r kernels layerscale_value legacy
    local_up_to_layer locality_strength mask_unit_attn mbconv_expand_ratio merge_size mix_block_ratio
    mlp_ratio_token_only multi_conv n_div nlhb normalize_modulator partial_dim pooling_scale qk_dim rel_pos_dim
    rel_pos_type repmixer_kernel_size res_scale_init_values scale scale_mlp_norm se_downsamples sequential_attn
    shared_rel_pos shortcut_root small spatial_conv stem_norm stem_bias stem_expand_ratio stem_mid_norm stride
    tokens_norm transition_compression_ratio use_conv use_expand_proj use_lab use_mlp_head use_overlap_down
    use_post_norm_in_modulation use_post_transformer_norm use_pre_transformer_norm window_spec

    attn_drop_rate drop_block_rate drop_path_rate drop_rate patch_drop_rate pos_drop_rate proj_drop_rate
    head_init_scale init_values layer_scale_init_value layer_scale_init_values ls_init_value norm_eps bn_eps
    bn_momentum rope_temperature rope_theta
    """.split()
)
# Arguments of timm that have a field of their own.
_FIELDS = {"in_chans": "num_channels", "num_classes": "num_labels", "dtype": "dtype"}
_FORBIDDEN = re.compile(r"pretrained(_(?!window_sizes$).*)?|checkpoint.*|cache_dir|.*(file|path|url|hub).*")


def check_backbone_options(options: Any) -> dict[str, Any]:
    """
    A copy of `config.backbone_kwargs`.

    Raises:
        `ValueError`: for an argument that is not in `BACKBONE_OPTIONS`, a value that is no plain number, word or list
            of those, or a size that no network has.
    """
    options = plain(mapping("backbone_kwargs", options))
    for name, value in options.items():
        if name not in BACKBONE_OPTIONS:
            raise _refusal(name)
        for inner, one in value.items() if name == "block_args" and isinstance(value, dict) else [("", value)]:
            _check_value(f"backbone_kwargs[{name!r}]{inner and f'[{inner!r}]'}", one)
        if name in _DEPTHS and _total(value) > MOST_BLOCKS:
            raise ValueError(
                f"backbone_kwargs[{name!r}] is {shown(value)}, but no network has more than {MOST_BLOCKS:,} blocks"
            )
    return options


def _refusal(name: str) -> ValueError:
    if name in _FIELDS:
        return ValueError(f"backbone_kwargs may not hold {name!r}: set {_FIELDS[name]} of the config")
    if _FORBIDDEN.fullmatch(name):
        return ValueError(
            f"backbone_kwargs may not hold {name!r}: a config describes an architecture and reads no files. Load "
            "published weights with backbone_pretrained=True, and weights of a file into model.backbone yourself, "
            "with torch.load(file, weights_only=True)."
        )
    return unknown_name(
        "argument in backbone_kwargs",
        name,
        BACKBONE_OPTIONS,
        "Only plain facts of an architecture are taken; hf_ltr.models.backbone_options.BACKBONE_OPTIONS lists them.",
    )


def _check_value(name: str, value: Any, nested: int = 0) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int | float):
        if not -WIDEST <= value <= WIDEST:  # also refuses NaN
            raise ValueError(f"{name} is {shown(value)}, but sizes of a network are at most {WIDEST:,}")
    elif isinstance(value, str):
        if value.lower() in ("yes", "no", "on", "off", "true", "false"):
            # Of YAML 1.1, or in quotes; as text each of them would count as true.
            raise ValueError(f"{name} is the text {value!r}; write true or false, without quotes")
        if not _WORD.fullmatch(value):
            raise ValueError(f"{name} must be a number or the name of a layer, not {shown(value)}")
    elif isinstance(value, list | tuple) and nested < 2:
        if len(value) > MOST_BLOCKS:
            raise ValueError(f"{name} has {len(value):,} values, but no network has more than {MOST_BLOCKS:,} blocks")
        for item in value:
            _check_value(name, item, nested + 1)
    else:
        raise ValueError(f"{name} must be a plain value (number, word, list of those), not {shown(value)}")


def _total(value: Any) -> float:
    if isinstance(value, list | tuple):
        return sum(_total(item) for item in value)
    return value if isinstance(value, int | float) else 0
