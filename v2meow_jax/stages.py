"""The streams and the stages of each system: READ THIS FIRST.

A stage is a `StageSpec`: which streams it reads and which one it writes.
V2Meow has three, VMAs and MuVi one each. The papers' streams are `PAPER`; those
of the tiny system, small enough for a laptop, are `TINY`. A stage names its
streams; gin chooses the names.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from v2meow_jax import specs


def _table(*streams: specs.Stream) -> dict[str, specs.Stream]:
  return {s.name: s for s in streams}


# Rates and sizes as in V2Meow (arXiv 2305.06594) or, where it is silent, in
# AudioLM (2209.03143) and MusicLM (2301.11325), which it follows.
PAPER = _table(
  specs.FeatureSpec(name='clip', dim=768, rate_hz=1.0),  # paper: ViT-L/14
  specs.FeatureSpec(name='flow', dim=1024, rate_hz=1.0),  # paper: I3D flow
  specs.FeatureSpec(  # ours, after VMAs: cells of CLIP's patches, ten a second
    name='patches', dim=1024, rate_hz=10.0, num_positions=16
  ),
  specs.FeatureSpec(  # ours: the same once a second, to compare with
    name='slow_patches', dim=1024, rate_hz=1.0, num_positions=16
  ),
  specs.FeatureSpec(name='onsets', dim=1, rate_hz=10.0),  # of the true music
  specs.FeatureSpec(name='accents', dim=1, rate_hz=10.0),  # of the picture
  specs.TokenSpec(  # paper: ViT-VQGAN; ours: 16 x 16 cells, it tells of none
    name='vit_vqgan', codebook_size=8192, rate_hz=1.0, num_positions=256
  ),
  specs.TokenSpec(  # ours: MaskGIT's VQGAN, of as many cells
    name='maskgit_vqgan', codebook_size=1024, rate_hz=1.0, num_positions=256
  ),
  specs.FeatureSpec(  # ours: LAION-CLAP's; MuLan, of 128, is not public
    name='style', dim=512, rate_hz=0.0
  ),
  specs.TokenSpec(  # paper: w2v-BERT k-means, as MusicLM
    name='semantic', codebook_size=1024, rate_hz=25.0
  ),
  specs.TokenSpec(  # paper: SoundStream, levels 1-4 of 12, as AudioLM
    name='coarse',
    codebook_size=1024,
    rate_hz=50.0,
    num_codebooks=4,
    stored_as='acoustic',
  ),
  specs.TokenSpec(  # paper: SoundStream, levels 5-12 of 12
    name='fine',
    codebook_size=1024,
    rate_hz=50.0,
    num_codebooks=8,
    first_codebook=4,
    stored_as='acoustic',
  ),
  specs.FeatureSpec(  # ours: MuVi does not say; DAC without its quantiser
    name='latents', dim=1024, rate_hz=50.0
  ),
)

# ours: half the codec's frame rate and a third of its levels, so that ten seconds
# are 850 sequential steps and train on two cores.
TINY = _table(
  specs.FeatureSpec(name='appearance', dim=96, rate_hz=2.5),
  specs.FeatureSpec(name='motion', dim=32, rate_hz=12.5),
  specs.FeatureSpec(name='plan', dim=28, rate_hz=25.0),
  specs.FeatureSpec(name='patches', dim=12, rate_hz=10.0, num_positions=24),
  specs.FeatureSpec(  # the same once a second, to compare with
    name='slow_patches', dim=12, rate_hz=1.0, num_positions=24
  ),
  specs.FeatureSpec(name='onsets', dim=1, rate_hz=10.0),  # of the true music
  specs.FeatureSpec(name='accents', dim=1, rate_hz=10.0),  # of the picture
  specs.FeatureSpec(name='style', dim=64, rate_hz=0.0),
  specs.TokenSpec(name='semantic', codebook_size=512, rate_hz=25.0),
  specs.TokenSpec(
    name='coarse',
    codebook_size=256,
    rate_hz=25.0,
    num_codebooks=2,
    stored_as='acoustic',
  ),
  specs.TokenSpec(
    name='fine',
    codebook_size=256,
    rate_hz=25.0,
    num_codebooks=2,
    first_codebook=2,
    stored_as='acoustic',
  ),
  specs.FeatureSpec(name='latents', dim=64, rate_hz=25.0),
)


def paper_streams(
  style_dim: int = 512,
  acoustic_rate_hz: float = 50.0,
  acoustic_codebook_size: int = 1024,
  num_coarse_levels: int = 4,
  num_fine_levels: int = 8,
  picture_positions: int = 256,
  latent_dim: int = 1024,
  patch_dim: int = 1024,
  slow_patch_dim: int = 1024,
  class_token: bool = False,
) -> Mapping[str, specs.Stream]:
  """The paper's streams; bind as `streams` of a stage in gin.

  Args:
    style_dim: Width of the joint embedding that stands in for MuLan.
    acoustic_rate_hz: Rate of the codec, where another stands in for SoundStream; a
      whole number, for records are whole seconds.
    acoustic_codebook_size: Codes of each of its levels.
    num_coarse_levels: Number of first levels, which stage 2 writes.
    num_fine_levels: Number of other levels, which stage 3 writes.
    picture_positions: Cells of a picture of ViT-VQGAN.
    latent_dim: Width of the latents of an autoencoder, at the codec's rate.
    patch_dim: Width of what a network sees in each cell of the picture.
    slow_patch_dim: Width of what one sees once a second.
    class_token: Whether the class token of the network precedes the cells of
      what is seen ten times a second.

  Returns:
    The streams by name.

  Raises:
    ValueError: The rate gives no whole number of frames a second.
  """
  check_acoustic_rate(acoustic_rate_hz)
  patches = PAPER['patches']
  num_positions = patches.num_positions + class_token
  codec = {
    'codebook_size': acoustic_codebook_size,
    'rate_hz': acoustic_rate_hz,
    'stored_as': 'acoustic',
  }
  return {
    **PAPER,
    **_table(
      dataclasses.replace(PAPER['vit_vqgan'], num_positions=picture_positions),
      dataclasses.replace(patches, dim=patch_dim, num_positions=num_positions),
      dataclasses.replace(PAPER['slow_patches'], dim=slow_patch_dim),
      specs.FeatureSpec(name='style', dim=style_dim, rate_hz=0.0),
      specs.TokenSpec(name='coarse', num_codebooks=num_coarse_levels, **codec),
      specs.TokenSpec(
        name='fine',
        num_codebooks=num_fine_levels,
        first_codebook=num_coarse_levels,
        **codec,
      ),
      specs.FeatureSpec(
        name='latents', dim=latent_dim, rate_hz=acoustic_rate_hz
      ),
    ),
  }


def check_acoustic_rate(rate_hz: float) -> None:
  """Raises ValueError unless a codec gives whole frames in each second."""
  if rate_hz != round(rate_hz):
    raise ValueError(
      f'a codec at {rate_hz:g} Hz has no crops of whole frames: a record is'
      f' whole seconds, as pictures are, and each has {rate_hz:g} frames. DAC at'
      ' 44.1 kHz is such a one; choose DAC at 16 or 24 kHz, or an EnCodec.'
    )


def tiny_streams(latent_dim: int = 64) -> Mapping[str, specs.Stream]:
  """The tiny system's streams; bind as `streams` of a stage in gin.

  Args:
    latent_dim: Width of the latents of an autoencoder.
  """
  latents = specs.FeatureSpec(name='latents', dim=latent_dim, rate_hz=25.0)
  return {**TINY, 'latents': latents}


def acoustic(streams: Mapping[str, specs.Stream]) -> specs.TokenSpec:
  """All levels of the codec, as records hold them: coarse, then fine."""
  coarse_levels, fine_levels = streams['coarse'], streams['fine']
  return specs.TokenSpec(
    name='acoustic',
    codebook_size=coarse_levels.codebook_size,
    rate_hz=coarse_levels.rate_hz,
    num_codebooks=coarse_levels.num_codebooks + fine_levels.num_codebooks,
  )


def _stage(
  name: str,
  inputs: Sequence[str],
  target: str,
  crop_seconds: float,
  streams: Mapping[str, specs.Stream],
  guides: Sequence[str] = (),
) -> specs.StageSpec:
  for wanted in (*inputs, *guides, target):
    if wanted not in streams:
      raise ValueError(
        f'stage {name!r} names the stream {wanted!r}, which is not one of'
        f' {sorted(streams)}; correct the name or bind other streams.'
      )
  return specs.StageSpec(
    name=name,
    inputs=tuple(streams[i] for i in inputs),
    target=streams[target],
    crop_seconds=crop_seconds,
    guides=tuple(
      s for n in guides if isinstance(s := streams[n], specs.FeatureSpec)
    ),
  )


def semantic(
  inputs: Sequence[str] = ('clip', 'flow', 'style'),
  crop_seconds: float = 10.0,
  streams: Mapping[str, specs.Stream] = PAPER,
) -> specs.StageSpec:
  """Stage 1: visual streams and one style vector -> semantic tokens."""
  return _stage('semantic', inputs, 'semantic', crop_seconds, streams)


def coarse(
  inputs: Sequence[str] = ('semantic',),
  crop_seconds: float = 10.0,
  streams: Mapping[str, specs.Stream] = PAPER,
) -> specs.StageSpec:
  """Stage 2: semantic tokens (and visual streams) -> coarse acoustic tokens."""
  return _stage('coarse', inputs, 'coarse', crop_seconds, streams)


def acoustic_parallel(
  inputs: Sequence[str] = ('semantic',),
  crop_seconds: float = 10.0,
  streams: Mapping[str, specs.Stream] = PAPER,
) -> specs.StageSpec:
  """Semantic tokens -> all levels of the codec, in place of stages 2 and 3.

  Not in the paper: after SoundStorm (https://arxiv.org/abs/2305.09636).
  """
  streams = {**streams, 'acoustic': acoustic(streams)}
  return _stage('acoustic', inputs, 'acoustic', crop_seconds, streams)


def music(
  inputs: Sequence[str] = ('patches', 'style'),
  crop_seconds: float = 10.0,
  streams: Mapping[str, specs.Stream] = PAPER,
  guides: Sequence[str] = ('onsets', 'accents'),
) -> specs.StageSpec:
  """Visual streams and one style vector -> all levels of the codec, at once.

  After VMAs (https://arxiv.org/abs/2409.07450): one stage in place of three.
  Guides tell training when notes begin and when the picture moves suddenly.
  """
  streams = {**streams, 'acoustic': acoustic(streams)}
  return _stage('music', inputs, 'acoustic', crop_seconds, streams, guides)


def fine(
  inputs: Sequence[str] = ('coarse',),
  crop_seconds: float = 3.0,
  streams: Mapping[str, specs.Stream] = PAPER,
) -> specs.StageSpec:
  """Stage 3: coarse -> fine acoustic tokens, in short windows."""
  return _stage('fine', inputs, 'fine', crop_seconds, streams)


def flow_music(
  inputs: Sequence[str] = ('patches',),
  crop_seconds: float = 20.0,
  streams: Mapping[str, specs.Stream] = PAPER,
) -> specs.StageSpec:
  """MuVi's stage: patches of the picture -> latents of music, at once.

  Without inputs it writes music alone, with which its training begins.
  """
  return _stage('music', inputs, 'latents', crop_seconds, streams)
