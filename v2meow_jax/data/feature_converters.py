"""Features of a task -> the arrays a model reads, for SeqIO and for T5X.

A batch holds `encoder_inputs_<stream>` for inputs and T5X's `decoder_*` keys:

    decoder_input_tokens    0  a  b  c      (shifted right; 0 begins)
    decoder_target_tokens   a  b  c  d
    decoder_loss_weights    1  1  1  1
"""

from __future__ import annotations

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
    return _Feature(dtype=tf.float32, rank=2)
  return _Feature(dtype=tf.int32)


class StageFeatureConverter(seqio.FeatureConverter):
  """For an encoder-decoder: every input stream apart, then the target.

  `encoder_inputs_<stream>` is float32[frames, dim] or int32[length]; the
  decoder reads and writes the target's ids alone. Features of the task that
  the stage does not name are left out.
  """

  def __init__(
    self,
    stage: specs.StageSpec,
    *,
    pack: bool = False,
    use_custom_packing_ops: bool = False,
    passthrough_features: Mapping[str, Any] | None = None,
  ):
    """Makes the converter of a stage.

    Args:
      stage: Whose streams and lengths are meant.
      pack: Must be False; T5X passes it.
      use_custom_packing_ops: Must be False; T5X passes it.
      passthrough_features: SeqIO's `FeatureSpec` of each feature of the task that
        is kept as it is.
    """
    if pack or use_custom_packing_ops:
      raise ValueError(
        f'stage {stage.name!r} was asked to pack examples; its targets have one'
        ' length, so packing gains nothing: pass pack=False.'
      )
    self._stage = stage
    streams = (*stage.inputs, stage.target)
    self.TASK_FEATURES = {s.name: _feature(s) for s in streams}
    self.MODEL_FEATURES = {
      **{f'encoder_inputs_{s.name}': _feature(s) for s in self._encoded()},
      **_DECODER,
    }
    self.PACKING_FEATURE_DTYPES = {}
    super().__init__(
      pack=False,
      bos_id=specs.PAD_ID,
      passthrough_features=passthrough_features,
    )

  def _encoded(self) -> tuple[specs.Stream, ...]:
    """Streams that stay inputs of their own."""
    return self._stage.inputs

  def _prefix(self) -> tuple[specs.TokenSpec, ...]:
    """Streams that are laid before the target."""
    return ()

  def _convert_features(
    self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
  ) -> tf.data.Dataset:
    wanted = self._stage.feature_lengths()
    given = {
      name: length
      for name, length in task_feature_lengths.items()
      if name not in self._passthrough_features
    }
    if given != wanted:
      raise ValueError(
        f'stage {self._stage.name!r} has the feature lengths {wanted}, got'
        f' {given}; pass stage.feature_lengths().'
      )
    return ds.map(self._convert, num_parallel_calls=tf.data.AUTOTUNE)

  def _convert(self, features) -> dict[str, tf.Tensor]:
    target = features[self._stage.target.name]
    prefix = [features[s.name] for s in self._prefix()]
    ids = tf.concat([*prefix, target], 0)
    weights = [tf.zeros(p.shape) for p in prefix] + [tf.ones(target.shape)]
    inputs = {
      f'encoder_inputs_{s.name}': features[s.name] for s in self._encoded()
    }
    kept = {name: features[name] for name in self._passthrough_features}
    return {
      **kept,
      **inputs,
      'decoder_input_tokens': tf.concat([[self.bos_id], ids[:-1]], 0),
      'decoder_target_tokens': ids,
      'decoder_loss_weights': tf.concat(weights, 0),
    }

  def get_model_feature_lengths(
    self, task_feature_lengths: Mapping[str, int]
  ) -> Mapping[str, int]:
    """Lengths of the batch's arrays, from those of the task's features."""
    lengths = {
      name: task_feature_lengths[name] for name in self._passthrough_features
    }
    for s in self._encoded():
      lengths[f'encoder_inputs_{s.name}'] = task_feature_lengths[s.name]
    length = sum(
      task_feature_lengths[s.name]
      for s in (*self._prefix(), self._stage.target)
    )
    return {**lengths, **dict.fromkeys(_DECODER, length)}


class PrefixFeatureConverter(StageFeatureConverter):
  """For a decoder-only model: token inputs are laid before the target.

  With a prefix of P ids and a target of T, `decoder_*` have length P + T, and
  the loss weights are 0 on the prefix, 1 on the target. Continuous inputs stay
  `encoder_inputs_<stream>`.
  """

  def _encoded(self) -> tuple[specs.Stream, ...]:
    return self._stage.feature_inputs

  def _prefix(self) -> tuple[specs.TokenSpec, ...]:
    return self._stage.token_inputs


# Converters by the layout that a stage's model names.
BY_LAYOUT = {
  'encoder-decoder': StageFeatureConverter,
  'prefix': PrefixFeatureConverter,
}
