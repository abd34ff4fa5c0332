"""Converts features of a task to the arrays of a model, for SeqIO and T5X.

A batch holds `encoder_inputs_<stream>` for inputs, `guide_<stream>` for what only
an objective reads, and T5X's `decoder_*` keys:

    decoder_input_tokens    0  a  b  c      (shifted right; 0 begins)
    decoder_target_tokens   a  b  c  d
    decoder_loss_weights    1  1  1  1      (0 where a recording had ended)
"""

from collections.abc import Mapping
from typing import Any

import seqio
import tensorflow as tf

from v2meow_jax import specs

_Feature = seqio.FeatureConverter.FeatureSpec
_DECODER = {
  'decoder_input_tokens': _Feature(dtype=tf.int32),
  'decoder_target_tokens': _Feature(dtype=tf.int32),
  'decoder_loss_weights': _Feature(dtype=tf.float32),
}


def _feature(stream: specs.Stream) -> _Feature:
  if isinstance(stream, specs.FeatureSpec):
    rank = 1 + len(stream.frame_shape)
    return _Feature(dtype=tf.float32, rank=rank)
  return _Feature(dtype=tf.int32)


class StageFeatureConverter(seqio.FeatureConverter):
  """Lays a batch out for an encoder-decoder: separate inputs, and the target.

  `encoder_inputs_<stream>` is float32[frames, dim] or int32[length]; the
  decoder reads and writes the target's ids alone. Drops features of the task
  that the stage does not use.
  """

  def __init__(
    self,
    stage: specs.StageSpec,
    *,
    pack: bool = False,
    use_custom_packing_ops: bool = False,
    passthrough_features: Mapping[str, Any] | None = None,
  ):
    """Creates the converter of a stage.

    Args:
      stage: Stage of the streams and lengths.
      pack: False, as T5X passes it.
      use_custom_packing_ops: False, as T5X passes it.
      passthrough_features: SeqIO's `FeatureSpec` of each feature of the task to
        pass unchanged.
    """
    if pack or use_custom_packing_ops:
      raise ValueError(
        f'stage {stage.name!r} cannot pack examples; its targets have one length,'
        ' so packing gains nothing: pass pack=False.'
      )
    self._stage = stage
    self.TASK_FEATURES = {s.name: _feature(s) for s in stage.streams}
    self.MODEL_FEATURES = {
      **{key: _feature(s) for key, s in self._whole().items()},
      **self._decoder_features(),
    }
    self.PACKING_FEATURE_DTYPES = {}
    super().__init__(
      pack=False,
      bos_id=specs.PAD_ID,
      passthrough_features=passthrough_features,
    )

  def _decoder_features(self) -> dict[str, _Feature]:
    return _DECODER

  def _encoded(self) -> tuple[specs.Stream, ...]:
    """Returns the streams that stay separate inputs."""
    return self._stage.inputs

  def _whole(self) -> dict[str, specs.Stream]:
    """Returns the streams that enter a batch as they are, by its keys."""
    inputs = {f'encoder_inputs_{s.name}': s for s in self._encoded()}
    return inputs | {f'guide_{s.name}': s for s in self._stage.guides}

  def _prefix(self) -> tuple[specs.TokenSpec, ...]:
    """Returns the streams that precede the target in the decoder."""
    return ()

  def _convert_features(
    self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
  ) -> tf.data.Dataset:
    wanted = self._stage.feature_lengths()
    lengths = {
      name: length
      for name, length in task_feature_lengths.items()
      if name not in self._passthrough_features
    }
    if lengths != wanted:
      raise ValueError(
        f'stage {self._stage.name!r} has the feature lengths {wanted}, got'
        f' {lengths}; pass stage.feature_lengths().'
      )
    return ds.map(self._convert, num_parallel_calls=tf.data.AUTOTUNE)

  def _convert(self, features) -> dict[str, tf.Tensor]:
    return {
      **{name: features[name] for name in self._passthrough_features},
      **{key: features[s.name] for key, s in self._whole().items()},
      **self._decoder(features),
    }

  def _decoder(self, features) -> dict[str, tf.Tensor]:
    target = features[self._stage.target.name]
    prefix = [features[s.name] for s in self._prefix()]
    ids = tf.concat([*prefix, target], 0)
    known = tf.cast(target != specs.PAD_ID, tf.float32)
    weights = [*(tf.zeros(p.shape) for p in prefix), known]
    return {
      'decoder_input_tokens': tf.concat([[self.bos_id], ids[:-1]], 0),
      'decoder_target_tokens': ids,
      'decoder_loss_weights': tf.concat(weights, 0),
    }

  def get_model_feature_lengths(
    self, task_feature_lengths: Mapping[str, int]
  ) -> Mapping[str, int]:
    """Computes lengths of a batch's arrays from those of the task's features."""
    lengths = {
      name: task_feature_lengths[name] for name in self._passthrough_features
    }
    for key, s in self._whole().items():
      lengths[key] = task_feature_lengths[s.name]
    length = sum(
      task_feature_lengths[s.name]
      for s in (*self._prefix(), self._stage.target)
    )
    return {**lengths, **dict.fromkeys(self._decoder_features(), length)}


class PrefixFeatureConverter(StageFeatureConverter):
  """Lays a batch out for a decoder-only model: token inputs precede the target.

  With a prefix of P ids and a target of T, `decoder_*` have length P + T and
  loss weights of 0 on the prefix, 1 on the target. Continuous inputs stay
  `encoder_inputs_<stream>`.
  """

  def _decoder_features(self) -> dict[str, _Feature]:
    return _DECODER

  def _encoded(self) -> tuple[specs.Stream, ...]:
    return self._stage.feature_inputs

  def _prefix(self) -> tuple[specs.TokenSpec, ...]:
    return self._stage.token_inputs


class ParallelFeatureConverter(StageFeatureConverter):
  """For a network that fills in masked ids: it reads its target unshifted."""

  def _decoder_features(self) -> dict[str, _Feature]:
    return _DECODER

  def _decoder(self, features) -> dict[str, tf.Tensor]:
    arrays = super()._decoder(features)
    return {**arrays, 'decoder_input_tokens': arrays['decoder_target_tokens']}


class FramesFeatureConverter(StageFeatureConverter):
  """For a continuous target: inputs apart, and `decoder_target_frames`."""

  def _decoder_features(self) -> dict[str, _Feature]:
    return {
      'decoder_target_frames': _feature(self._stage.target),
      'decoder_loss_weights': _Feature(dtype=tf.float32),
    }

  def _decoder(self, features) -> dict[str, tf.Tensor]:
    frames = features[self._stage.target.name]
    unknown = tf.math.is_nan(frames)
    is_known = ~tf.reduce_any(unknown, range(1, len(frames.shape)))
    return {
      'decoder_target_frames': tf.where(unknown, 0.0, frames),
      'decoder_loss_weights': tf.cast(is_known, tf.float32),
    }


# Converters by the layout that a stage's model names.
BY_LAYOUT = {
  'encoder-decoder': StageFeatureConverter,
  'prefix': PrefixFeatureConverter,
  'parallel': ParallelFeatureConverter,
  'frames': FramesFeatureConverter,
  # A step of the network reads several ids; the batch is the same.
  'delay': StageFeatureConverter,
}
