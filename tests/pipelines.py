"""Tiny pipelines of other people's families with random weights, built here and saved as their repositories are.

Their pictures are noise, but follow from prompt, seed, steps and guidance as those of the large ones do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    PriorTransformer,
    SanaPipeline,
    SanaTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UnCLIPPipeline,
    UnCLIPScheduler,
    UNet2DConditionModel,
    UNet2DModel,
)
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def clip_tokenizer() -> CLIPTokenizer:
    """Every letter a token, 77 at most."""
    pieces = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({piece: place for place, piece in enumerate(pieces)}, [], model_max_length=77)


def t5_tokenizer() -> T5Tokenizer:
    pieces = ["<pad>", "</s>", "<unk>", "▁", *LETTERS]
    return T5Tokenizer([(piece, -float(place)) for place, piece in enumerate(pieces)], extra_ids=0, model_max_length=64)


def clip_text(projected: bool = False, dim: int = 32) -> CLIPTextModel | CLIPTextModelWithProjection:
    count = len(clip_tokenizer())
    config = CLIPTextConfig(
        vocab_size=count,
        hidden_size=dim,
        intermediate_size=37,
        projection_dim=dim,
        num_attention_heads=4,
        num_hidden_layers=2,
        bos_token_id=count - 2,
        eos_token_id=count - 1,
        pad_token_id=count - 1,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5_text(dim: int = 32) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(t5_tokenizer()), d_model=dim, d_kv=8, d_ff=37, num_layers=2, num_heads=4, is_encoder_decoder=False)
    )


def kl_vae(latent_channels: int = 4) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 64),
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        norm_num_groups=16,
        shift_factor=0.0,
    )


def unet(**more: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **({"cross_attention_dim": 32} | more),
    )


def stable_diffusion() -> StableDiffusionPipeline:
    """With a sampler that draws noise at every step."""
    return StableDiffusionPipeline(
        vae=kl_vae(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=unet(),
        scheduler=EulerAncestralDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_diffusion_xl() -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline(
        vae=kl_vae(),
        text_encoder=clip_text(),
        text_encoder_2=clip_text(projected=True),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet(
            cross_attention_dim=64,
            attention_head_dim=(2, 4),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 1),
            projection_class_embeddings_input_dim=80,
        ),
        scheduler=DDIMScheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def pixart() -> PixArtAlphaPipeline:
    return PixArtAlphaPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5_text(),
        vae=kl_vae(),
        transformer=PixArtTransformer2DModel(
            sample_size=32,
            num_layers=2,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=3,
            caption_channels=32,
            in_channels=4,
            cross_attention_dim=24,
            out_channels=8,
            use_additional_conditions=False,
        ),
        scheduler=DPMSolverMultistepScheduler(),
    )


def flux() -> FluxPipeline:
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=kl_vae(1),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5_text(),
        tokenizer_2=t5_tokenizer(),
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=4,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=(4, 4, 8),
        ),
    )


def unclip() -> UnCLIPPipeline:
    """Three diffusion models in a row, as Karlo: image embedding, small picture, larger picture; none takes embeddings by name."""
    dim, time_dim, cross = 32, 32 * 4, 32

    def upsampler() -> UNet2DModel:
        return UNet2DModel(
            sample_size=64,
            layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D",) * 2,
            up_block_types=("ResnetUpsampleBlock2D",) * 2,
            block_out_channels=(32, 64),
            in_channels=6,
            out_channels=3,
        )

    return UnCLIPPipeline(
        prior=PriorTransformer(
            num_attention_heads=2,
            attention_head_dim=12,
            embedding_dim=dim,
            num_layers=1,
            num_embeddings=77,
            additional_embeddings=4,
        ),
        decoder=UNet2DConditionModel(
            sample_size=32,
            in_channels=3,
            out_channels=6,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            block_out_channels=(32, 64),
            layers_per_block=1,
            cross_attention_dim=cross,
            attention_head_dim=4,
            resnet_time_scale_shift="scale_shift",
            class_embed_type="identity",
        ),
        text_encoder=clip_text(projected=True, dim=dim),
        tokenizer=clip_tokenizer(),
        text_proj=UnCLIPTextProjModel(
            clip_embeddings_dim=dim, time_embed_dim=time_dim, cross_attention_dim=cross, clip_extra_context_tokens=4
        ),
        super_res_first=upsampler(),
        super_res_last=upsampler(),
        prior_scheduler=UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0),
        decoder_scheduler=UnCLIPScheduler(variance_type="learned_range", prediction_type="epsilon"),
        super_res_scheduler=UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="epsilon"),
    )


def sana() -> SanaPipeline:
    """Its text encoder is a language model, and its call puts an instruction before every prompt."""
    from transformers import Gemma2Config, Gemma2Model

    tokenizer = t5_tokenizer()
    return SanaPipeline(
        tokenizer=tokenizer,
        text_encoder=Gemma2Model(
            Gemma2Config(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=37,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=8,
                max_position_embeddings=512,
            )
        ),
        vae=AutoencoderDC(
            in_channels=3,
            latent_channels=4,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
            scaling_factor=0.41407,
        ),
        transformer=SanaTransformer2DModel(
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            num_attention_heads=2,
            attention_head_dim=4,
            num_cross_attention_heads=2,
            cross_attention_head_dim=4,
            cross_attention_dim=8,
            caption_channels=32,
            sample_size=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "stable-diffusion": stable_diffusion,
    "stable-diffusion-xl": stable_diffusion_xl,
    "pixart": pixart,
    "sana": sana,
    "flux": flux,
    "unclip": unclip,
}


def save(family: str, folder: Path, seed: int = 0) -> Path:
    """Builds a pipeline of a family, gives every weight an effect, and saves it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = FAMILIES[family]()
        for part in pipeline.components.values():
            for weight in part.parameters() if isinstance(part, torch.nn.Module) else ():
                if not weight.any():
                    torch.nn.init.normal_(weight, std=0.05)
    pipeline.save_pretrained(folder)
    if family == "unclip":  # as Karlo's index says; diffusers has moved the class since
        index = folder / "model_index.json"
        index.write_text(
            index.read_text().replace('"diffusers",\n    "UnCLIPTextProjModel"', '"unclip",\n    "UnCLIPTextProjModel"')
        )
        assert '"unclip"' in index.read_text()
    return folder
