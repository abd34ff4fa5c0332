"""Options of a sampler, and the windows that cover a clip."""

import pytest

from v2meow_jax import stages
from v2meow_jax.inference import system
from v2meow_jax.models.sampling import options


@pytest.mark.parametrize(
  ('spec', 'share', 'seconds'),
  [
    (stages.semantic(), 0.2, 2.0),
    (stages.coarse(), 0.25, 2.52),  # Of 25 frames a second.
    # Of one picture.
    (stages.coarse(('semantic', 'clip', 'flow')), 0.25, 3.0),
    (stages.semantic(streams=stages.TINY, inputs=('motion',)), 0.2, 2.0),
    (stages.fine(), 0.0, 0.0),
  ],
)
def test_a_window_begins_on_a_whole_frame_of_every_stream(spec, share, seconds):
  windows = options.windows(spec, share)
  assert windows.prefix_seconds == pytest.approx(seconds)
  hop = spec.crop_seconds - windows.prefix_seconds
  for stream in (*spec.inputs, spec.target):
    assert (hop * stream.rate_hz) % 1 == pytest.approx(0.0, abs=1e-9)


def test_the_embedded_system_has_the_windows_of_its_recipes():
  embedded = system.load('tiny')
  shares = {'semantic': (0.2, 1), 'coarse': (0.25, 1), 'fine': (0.0, 5)}
  for stage, windows in zip(embedded.stages, embedded.windows, strict=True):
    assert windows == options.windows(stage.spec, *shares[stage.spec.name])


@pytest.mark.parametrize('name', ['style_guidance', 'video_guidance'])
@pytest.mark.parametrize('weight', [-1.0, 101.0, 1e30, float('nan')])
def test_a_guidance_that_leaves_no_music_is_refused(name, weight):
  options.Sampling(**{name: 100.0})
  with pytest.raises(ValueError, match=f'{name} is .*; wanted 0 to 100 '):
    options.Sampling(**{name: weight})
