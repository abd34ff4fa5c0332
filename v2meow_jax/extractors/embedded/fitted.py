"""Fits the tiny system's extractors to clips, and reads their parameters."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import os
from typing import Any

from etils import epath
import numpy as np

from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.clusters import standardize
from v2meow_jax.extractors import vocabulary
from v2meow_jax.extractors.embedded import color_motion
from v2meow_jax.extractors.embedded import joint_embedding
from v2meow_jax.extractors.embedded import semantic_tokens
from v2meow_jax.extractors.embedded import style_features
from v2meow_jax.files import paths
from v2meow_jax.files import tensors
from v2meow_jax.pretrained.text_music import segments
from v2meow_jax.synthetic.songs.words import song_prompts

# Arrays of the clips of `fit`, which centre the style embedding.
EXAMPLES = ('text_features', 'music_features')


def read(
  stream: str, path: os.PathLike
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Reads flat parameters of one stream's extractor; its settings are {}.

  Raises:
    ValueError: The file has none of this stream.
  """
  trees = tensors.read(path)
  if stream not in trees:
    raise ValueError(
      f'{path} holds no parameters of stream {stream!r}, but of'
      f' {sorted(trees)}; fit them with v2meow data fit.'
    )
  return tensors.flatten(trees[stream]), {}


def read_style(
  stream: str,
  path: epath.PathLike,
  *,
  features: str | None = None,
  synonyms: bool = False,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
  """Reads the parameters of the style embedding; it has no settings.

  Args:
    stream: Name of its stream.
    path: MODEL_DIR of its run; without `features`, a released system's file.
    features: File that `v2meow data fit` wrote, on which it was trained.
    synonyms: Whether the run was one of `style_synonyms.gin`, which knows the
      words of prompts too.

  Returns:
    Flat parameters of `joint_embedding.extractors`, and {}.
  """
  if features is None:
    return read(stream, path)
  from v2meow_jax.training.checkpoints import checkpoints  # pylint: disable=g-import-not-at-top

  flat = tensors.flatten(tensors.read(paths.path(features)))
  variables, _ = checkpoints.restore_variables(path)
  example = {k: flat[f'example/{k}'] for k in EXAMPLES}
  if synonyms:
    words = vocabulary.of_texts(song_prompts.phrases())
    flat['style/vocabulary'] = np.union1d(flat['style/vocabulary'], words)
  return _under(with_style(flat, variables['params'], example), 'style'), {}


def _under(
  params: Mapping[str, np.ndarray], stream: str
) -> dict[str, np.ndarray]:
  """The parameters of one stream, without its name."""
  prefix = stream + '/'
  return {
    name.removeprefix(prefix): x
    for name, x in params.items()
    if name.startswith(prefix)
  }


def _named(
  stream: str, params: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  return {f'{stream}/{name}': np.asarray(x) for name, x in params.items()}


def fit(
  videos: Iterable[media.Video],
  audios: Iterable[media.Audio],
  streams: Mapping[str, specs.Stream],
  *,
  seed: int,
  progress: Callable[[str, int], None] = lambda part, count: None,
) -> dict[str, np.ndarray]:
  """Fits standardisations and clusters on example clips, one at a time.

  Args:
    videos: Clips, read once; a couple of hundred are enough.
    audios: Music at 16 kHz, read once.
    streams: Must hold 'appearance', 'motion', 'style' and 'semantic'.
    seed: Seed of the clusterings.
    progress: Called with ('videos' or 'audios', clips done) after each.

  Returns:
    Flat float32 arrays, '<stream>/<name>'; style's networks are trained
    separately and join by `with_style`.
  """
  appearance, motion = [], []
  for count, video in enumerate(videos, 1):
    appearance.append(
      color_motion.appearance_frames(video, streams['appearance'])
    )
    motion.append(color_motion.motion_frames(video, streams['motion']))
    progress('videos', count)
  sound, harmony, style = [], [], []
  rate_hz = streams['semantic'].rate_hz
  for count, audio in enumerate(audios, 1):
    sound.append(semantic_tokens.sound_features(audio, rate_hz))
    harmony.append(semantic_tokens.harmony_features(audio, rate_hz))
    style += [
      style_features.music_features(s) for s in segments.of_audio(audio)
    ]
    progress('audios', count)
  semantic = semantic_tokens.fit(
    np.concatenate(sound),
    np.concatenate(harmony),
    streams['semantic'].codebook_size,
    seed=seed,
  )
  return {
    **_named('appearance', standardize.fit(np.concatenate(appearance))),
    **_named('motion', standardize.fit(np.concatenate(motion))),
    **_named('style', standardize.fit(np.stack(style))),
    **_named('semantic', semantic),
  }


def clip_features(
  params: Mapping[str, np.ndarray], audio: media.Audio, caption: str
) -> dict[str, np.ndarray]:
  """Makes one row of a batch of `joint_embedding.JointEmbeddingModel`.

  Args:
    params: Parameters from `fit`; 'style/mean' and 'style/std' are used.
    audio: A clip of music at 16 kHz; its first 10 s count.
    caption: Description of the music.

  Returns:
    'text_features' float32[2048] and 'music_features' float32[233].
  """
  features = style_features.music_features(segments.of_audio(audio)[0])
  return {
    'text_features': style_features.text_features(caption),
    'music_features': standardize.apply(features, _under(params, 'style')),
  }


def with_style(
  params: Mapping[str, np.ndarray],
  towers_params: Mapping[str, object],
  batch: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Adds the trained towers of the style embedding to `params`.

  Args:
    params: Parameters from `fit`.
    towers_params: 'params' of a trained `JointEmbeddingModel`.
    batch: 'text_features' and 'music_features' of many training clips, whose
      means become the centres of the two modalities.

  Returns:
    Parameters of every extractor, flat.
  """
  frozen = joint_embedding.freeze(
    towers_params,
    _under(params, 'style'),
    batch['text_features'],
    batch['music_features'],
  )
  return {**params, **_named('style', frozen)}
