"""Plays what a model in training writes: `on_eval` of the training loop."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import numpy as np

from v2meow_jax import media
from v2meow_jax import parts
from v2meow_jax import tokens
from v2meow_jax.codecs import trained
from v2meow_jax.inference import sound
from v2meow_jax.inference import system
from v2meow_jax.models import stage_model
from v2meow_jax.models.sampling import options
from v2meow_jax.pretrained.audio import mel

Batches = Callable[[int], Iterator[Mapping[str, np.ndarray]]]
Item = media.Audio | np.ndarray  # A sound or a picture.

_NUM_BANDS = 128
_HOP_SECONDS = 0.01
_RANGE_DB = 80.0


class StageSounds:
  """Samples a stage on the first held-out crops, beside what is true there.

  For stages that write codes of the codec: the levels that come before theirs
  are taken from the stage's input, so a fine stage is heard on true coarse
  codes.
  """

  def __init__(
    self,
    model: stage_model.StageModel,
    batches: Batches,
    *,
    codec: epath.PathLike | None = None,
    num: int = 2,
    seed: int = 0,
    sampling: options.Sampling = options.AS_TRAINED,
  ):
    """Reads nothing but the codec yet.

    Args:
      model: Model of the stage.
      batches: Held-out data of the stage.
      codec: MODEL_DIR of the codec that the records were made with; None: that
        of the tiny system.
      num: Number of crops.
      seed: Seed of every draw: each evaluation draws the same way.
      sampling: Options of the sampler.

    Raises:
      ValueError: The stage writes no codes of the codec.
    """
    spec = model.spec
    if codec is None:
      self._codec = system.load('tiny').codec
    else:
      self._codec = parts.Part(
        kind=trained.kind(codec), stream='acoustic', weights=str(codec)
      ).network()
    recorded = self._codec.stream.name
    try:
      self._streams = sound.levels(recorded, spec.token_streams)
    except ValueError:
      self._streams = ()
    if spec.target not in self._streams:
      raise ValueError(
        f'stage {spec.name!r} cannot be heard: it writes {spec.target.name!r}'
        f' and reads {[s.name for s in spec.inputs]}, which are not the codes'
        f' of {recorded!r} from level 0 on. Leave on_eval unbound.'
      )
    self._model = model
    self._batches = batches
    self._num = num
    self._seed = seed
    self._sampling = sampling
    self._sample: Callable[..., jax.Array] | None = None

  def __call__(
    self, step: int, variables: Mapping[str, Any]
  ) -> dict[str, Item]:
    """{'sampled/<i>', 'true/<i>': a crop of sound}, each with its spectrogram."""
    del step
    batch = {k: v[: self._num] for k, v in next(self._batches(0)).items()}
    ids = self._ids(batch)
    spec = self._model.spec
    inputs = {
      f'encoder_inputs_{s.name}': ids[s.name] for s in spec.token_inputs
    }
    for s in spec.feature_inputs:
      inputs[f'encoder_inputs_{s.name}'] = batch[f'encoder_inputs_{s.name}']
    drawn = self._draw(variables['params'], inputs)
    return {
      **self._sounds('sampled', {**ids, spec.target.name: drawn}),
      **self._sounds('true', ids),
    }

  def _draw(self, params: Any, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """int32[num, length], ids of the target."""
    if self._sample is None:
      mesh = jax.tree.leaves(params)[0].sharding.mesh
      self._sample = jax.jit(
        self._model.sample_batch,
        out_shardings=jax.sharding.NamedSharding(
          mesh, jax.sharding.PartitionSpec()
        ),
      )
    rngs = jax.random.split(jax.random.key(self._seed), self._num)
    return np.asarray(self._sample(params, inputs, rngs, self._sampling))

  def _ids(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Ids of every token stream, from either kind of batch."""
    spec = self._model.spec
    ids = {}
    end = batch['decoder_target_tokens'].shape[1]
    for stream in (spec.target, *reversed(spec.token_inputs)):
      name = f'encoder_inputs_{stream.name}'
      if name in batch:
        ids[stream.name] = batch[name]
        continue
      length = stream.length(spec.crop_seconds)
      ids[stream.name] = batch['decoder_target_tokens'][:, end - length : end]
      end -= length
    return ids

  def _sounds(
    self, kind: str, ids: Mapping[str, np.ndarray]
  ) -> dict[str, Item]:
    spec = self._model.spec
    codes = [
      tokens.IdSpace(spec).ids_to_codes(ids[s.name], s) for s in self._streams
    ]
    waves = self._codec.decode(jnp.asarray(np.concatenate(codes, -1)))
    return _named(kind, np.asarray(waves), self._codec.sample_rate_hz)


def _named(kind: str, waves: np.ndarray, rate_hz: int) -> dict[str, Item]:
  items: dict[str, Item] = {}
  for i, wave in enumerate(waves):
    audio = media.Audio(samples=wave, rate_hz=rate_hz)
    items[f'{kind}/{i}'] = audio
    items[f'{kind}/{i}/spectrogram'] = spectrogram(audio)
  return items


def spectrogram(audio: media.Audio) -> np.ndarray:
  """Draws log mel energy, low below, 80 dB from black: uint8[bands, frames, 1]."""
  hop = round(audio.rate_hz * _HOP_SECONDS)
  energy = mel.log_mel(audio.samples, audio.rate_hz, hop, 4 * hop, _NUM_BANDS)
  db = 10 / np.log(10) * energy
  scaled = (db - db.max()) / _RANGE_DB + 1
  return np.uint8(255 * np.clip(scaled, 0, 1)).T[::-1, :, None]
