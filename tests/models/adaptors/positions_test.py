"""The order of the encoder's positions."""

import numpy as np

from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.models.adaptors import linear
from v2meow_jax.models.adaptors import positions


def test_paper_features_are_interleaved_per_frame_and_the_style_is_last():
  layout = positions.encoder_layout(stages.semantic())
  # clip 0-9, flow 10-19, style 20: clip, flow, clip, flow, ..., style.
  pairs = [i for frame in range(10) for i in (frame, 10 + frame)]
  assert layout.order.tolist() == [*pairs, 20]
  seconds = np.repeat(np.arange(10) + 0.5, 2)
  np.testing.assert_allclose(layout.times[:-1], seconds)
  assert np.isnan(layout.times[-1])


def test_streams_of_different_rates_are_in_order_of_time():
  streams = (
    specs.FeatureSpec(name='style', dim=2, rate_hz=0.0),
    specs.FeatureSpec(name='appearance', dim=2, rate_hz=1.0),
    specs.FeatureSpec(name='motion', dim=2, rate_hz=12.5),
  )
  spec = specs.StageSpec(
    name='s',
    inputs=streams,
    target=stages.semantic().target,
    crop_seconds=10.0,
  )
  layout = positions.encoder_layout(spec)
  assert sorted(layout.order) == list(range(1 + 10 + 125))
  # The style is first among the continuous streams end to end, and still last.
  assert layout.order[-1] == 0
  assert np.all(np.diff(layout.times[:-1]) >= 0)
  # Motion at 0.04, 0.12, ..., 0.44 s comes before appearance at 0.5 s.
  assert layout.order[:8].tolist() == [11, 12, 13, 14, 15, 16, 1, 17]


def test_tokens_come_first_and_each_level_has_the_time_of_its_frame():
  spec = specs.StageSpec(
    name='s',
    inputs=(
      specs.FeatureSpec(name='picture', dim=3, rate_hz=1.0),
      specs.TokenSpec(name='a', codebook_size=4, rate_hz=2.0, num_codebooks=2),
    ),
    target=specs.TokenSpec(name='b', codebook_size=4, rate_hz=2.0),
    crop_seconds=2.0,
  )
  layout = positions.encoder_layout(spec)
  assert layout.order.tolist() == list(range(10))
  seconds = [0.25, 0.25, 0.75, 0.75, 1.25, 1.25, 1.75, 1.75, 0.5, 1.5]
  np.testing.assert_allclose(layout.times, seconds)
  levels = positions.token_levels(spec, spec.token_streams)
  assert levels.tolist() == [0, 1] * 4 + [2] * 4


def test_a_picture_in_tokens_stands_before_the_flow_of_its_second():
  stage = stages.coarse(inputs=('semantic', 'vit_vqgan', 'flow'))
  layout = positions.encoder_layout(stage)
  # semantic 0-249, ten pictures of 256 cells from 250, flow from 2,810.
  seconds = [
    [*range(250 + 256 * s, 250 + 256 * (s + 1)), 2_810 + s] for s in range(10)
  ]
  assert layout.order.tolist() == [*range(250), *sum(seconds, [])]
  times = np.repeat(np.arange(10) + 0.5, 257)
  np.testing.assert_allclose(layout.times[250:], times)
  levels = positions.token_levels(stage, stage.token_inputs)
  assert levels.tolist() == [0] * 250 + [1] * 2_560


def test_the_length_of_a_style_vector_does_not_matter():
  style = np.random.default_rng(0).normal(size=(3, 1, 64)).astype(np.float32)
  long, short = linear.unit_rms(style * 9), linear.unit_rms(style / 8)
  np.testing.assert_allclose(long, short, atol=1e-5)
  np.testing.assert_allclose(np.square(long).mean(-1), 1, atol=1e-4)
  assert not np.any(linear.unit_rms(0 * style))
