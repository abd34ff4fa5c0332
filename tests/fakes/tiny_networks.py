"""Sizes of published networks that a test can afford."""

from v2meow_jax.pretrained.audio import conformer
from v2meow_jax.pretrained.audio import musicfm
from v2meow_jax.pretrained.audio import panns
from v2meow_jax.pretrained.audio import vggish_weights
from v2meow_jax.pretrained.vision import dinov2
from v2meow_jax.pretrained.vision import hiera
from v2meow_jax.pretrained.vision import i3d
from v2meow_jax.pretrained.vision import videomae
from v2meow_jax.pretrained.vision import vit_vqgan
from v2meow_jax.pretrained.vision import vqgan

I3D = i3d.I3DConfig(
  stem=(4, 3, 6),
  blocks=tuple(
    (name, (2, 3, 4, 2, 3, 1)) for name, _ in i3d.I3DConfig().blocks
  ),
)
DINOV2 = dinov2.Dinov2Config(
  image_size=28,
  trained_size=49,
  patch_size=7,
  emb_dim=16,
  num_layers=2,
  num_heads=2,
  artefact='dinov2-base',
)
HIERA = hiera.HieraConfig(
  image_size=64,
  first_dim=8,
  first_heads=1,
  layers=(1, 2, 2, 2),
  artefact='hiera-base',
)
VIDEOMAE = videomae.VideoMaeConfig(
  num_frames=8,
  image_size=28,
  patch_size=7,
  emb_dim=16,
  num_layers=2,
  num_heads=2,
  artefact='videomae2-base',
)
VIT_VQGAN = vit_vqgan.VitVqganConfig(
  image_size=32,
  patch_size=8,
  emb_dim=24,
  num_layers=2,
  num_heads=3,
  head_dim=8,
  mlp_dim=40,
  code_dim=6,
  codebook_size=50,
)
VQGAN = vqgan.VqganConfig(
  image_size=32,
  filters=8,
  channel_multipliers=(1, 2, 2),
  num_res_blocks=1,
  code_dim=6,
  codebook_size=40,
  num_groups=4,
)
VGGISH = vggish_weights.VggishConfig(
  channels=((2,), (3,), (4, 5), (3, 4)), hidden=(12, 9), dim=8
)
PANNS = panns.Cnn14Config(channels=(3, 4, 5, 4, 6, 8), num_classes=7)
MUSICFM = musicfm.MusicFMConfig(
  num_bands=16,
  conv_channels=6,
  conformer=conformer.ConformerConfig(
    emb_dim=24, num_layers=3, num_heads=2, mlp_dim=40, kernel_size=7
  ),
)
