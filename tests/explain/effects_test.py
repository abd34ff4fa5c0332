"""What was planted in a stage is found at its stream and second."""

import collections
import functools

import jax
import numpy as np
import pytest

from tests.fakes import planted_stage
from tests.fakes import token_stage
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax.explain import effects
from v2meow_jax.explain import influence
from v2meow_jax.inference import pipeline
from v2meow_jax.inference import restore
from v2meow_jax.inference import system
from v2meow_jax.models import transformer
from v2meow_jax.models.sampling import options
from v2meow_jax.synthetic import render
from v2meow_jax.synthetic import scene as scene_lib

pytestmark = pytest.mark.slow

NEAR, FAR, STYLE = planted_stage.NEAR, planted_stage.FAR, planted_stage.STYLE
PICTURE = planted_stage.PICTURE
MARK = planted_stage.MARK
SECONDS = 7.0
# Windows of 4 s at 0 and 3 s; second 3 is in both.
WINDOWS = options.Windows(prefix_seconds=1.0)


def measure(stage, streams, seconds=SECONDS, windows=WINDOWS, **settings):
  return effects.measure(
    stage,
    streams,
    seconds=seconds,
    windows=windows,
    settings=influence.Settings(**settings),
  )


@functools.cache
def planted_model(deaf):
  return restore.ModelStage(
    *planted_stage.encoder_decoder(NEAR, FAR, STYLE, deaf=deaf)
  )


def planted(deaf=False):
  """Until 4 s the music looks at NEAR's second 3, then at FAR's."""
  stage = planted_model(deaf)
  near, far = np.zeros((14, 2), np.float32), np.zeros((7, 2), np.float32)
  near[7, 0] = far[3, 1] = MARK
  codes = np.zeros((28, 1), np.int32)
  # The first code of second 4 reads the last of second 3.
  codes[15:] = 1
  style = np.ones((1, 2), np.float32)
  return stage, {'near': near, 'far': far, 'style': style, 'music': codes}


def test_planted_attention_is_found_at_its_stream_and_second():
  found = measure(*planted())
  wanted = np.zeros((7, 7))
  wanted[:4, 3] = 1
  np.testing.assert_allclose(found.attention['near'], wanted, atol=1e-6)
  np.testing.assert_allclose(found.attention['far'][4:, 3], 1, atol=1e-6)
  assert found.attention['style'].shape == (7, 1)
  total = sum(x.sum(1) for x in found.attention.values())
  np.testing.assert_allclose(total, 1, atol=1e-6)


def test_passes_are_shares_of_all_and_none_is_made_where_nothing_changes(
  monkeypatch,
):
  stage, streams = planted()
  count, shares = collections.Counter(), []
  predict = restore.ModelStage.log_probabilities

  def counted(*args):
    count['passes'] += 1
    return predict(*args)

  monkeypatch.setattr(restore.ModelStage, 'log_probabilities', counted)
  effects.measure(
    stage,
    streams,
    seconds=SECONDS,
    windows=WINDOWS,
    settings=influence.Settings(),
    on_pass=shares.append,
  )
  assert sum(shares) == pytest.approx(1)
  # Of two windows of four seconds: attention apart, all, and what is marked of
  # three streams. Second 3 is in both; FAR's and NEAR's other seconds are blank.
  assert count['passes'] == 2 * (1 + 3 + 2)
  assert len(shares) == 2 * (1 + 1 + 3 + 4 + 4)


def test_a_stream_that_is_copied_has_influence_where_it_is_looked_at():
  found = measure(*planted())
  near, far = found.without_bin['near'], found.without_bin['far']
  assert (near[:4, 3] > 1).all()
  assert (far[4:, 3] > 1).all()
  near[:4, 3] = far[4:, 3] = 0
  assert not near.any()
  assert not far.any()
  assert (found.without_stream['near'][:4] > 1).all()
  assert not found.without_stream['near'][4:].any()


def test_a_stream_that_is_ignored_has_attention_but_no_influence():
  found = measure(*planted(deaf=True))
  np.testing.assert_allclose(found.attention['near'][:4, 3], 1, atol=1e-6)
  for lost in (found.without_stream, found.without_bin):
    assert not any(x.any() for x in lost.values())


def test_a_code_counts_in_the_window_that_drew_it_and_no_other():
  stage, streams = planted()
  streams['music'] = np.ones((28, 1), np.int32)
  found = measure(stage, streams)
  # The second window does not know what stood before it, the first does.
  np.testing.assert_allclose(found.attention['far'][1:, 3], 1, atol=1e-6)
  assert found.attention['far'][0, 3] == pytest.approx(3 / 4)


def test_mirrored_frames_count_to_their_own_time():
  stage, streams = planted()
  # The second window shows 3 to 5 s, and those again backwards.
  streams['near'], streams['far'] = streams['near'][:10], streams['far'][:5]
  found = measure(stage, streams, seconds=5.0)
  assert found.attention['near'].shape == (5, 5)
  np.testing.assert_allclose(found.attention['far'][4, 3], 1, atol=1e-6)
  assert found.without_bin['far'][4, 3] > 1


def test_longer_bins_are_means_of_shorter_ones():
  stage, streams = planted()
  fine = measure(stage, streams, bin_seconds=0.5)
  coarse = measure(stage, streams, bin_seconds=1.0)
  table = fine.attention['near'].reshape(7, 2, 7, 2).sum(3).mean(1)
  np.testing.assert_allclose(coarse.attention['near'], table, atol=1e-6)
  assert fine.attention['near'][0, 7] == pytest.approx(1)


def test_the_mean_of_a_constant_stream_is_no_loss():
  stage, streams = planted()
  streams['near'] = np.full((14, 2), MARK, np.float32)
  assert measure(stage, streams).without_stream['near'][:4].min() > 1
  found = measure(stage, streams, blank='mean')
  assert not found.without_stream['near'].any()


def test_a_marked_cell_of_a_picture_is_the_hot_one():
  stage = restore.ModelStage(
    *planted_stage.encoder_decoder(PICTURE, NEAR, STYLE)
  )
  cells = np.zeros((7, 16), np.int32)
  cells[3, 6] = planted_stage.MARKED_CODE
  streams = {
    'picture': cells,
    'near': np.zeros((14, 2), np.float32),
    'style': np.zeros((1, 2), np.float32),
    'music': np.zeros((28, 1), np.int32),
  }
  found = measure(stage, streams)
  wanted = np.zeros((7, 16))
  wanted[3, 6] = 1
  np.testing.assert_allclose(found.cells['picture'], wanted, atol=1e-6)
  # Blank is the commonest code of each cell: without its mark.
  assert (found.without_bin['picture'][:, 3] > 1).all()


def test_attention_of_a_decoder_alone_is_to_its_prefix():
  melody = specs.TokenSpec(name='melody', codebook_size=4, rate_hz=4.0)
  stage = restore.ModelStage(*planted_stage.decoder_only(melody))
  heard = np.zeros((28, 1), np.int32)
  heard[14] = planted_stage.MARKED_CODE
  streams = {'melody': heard, 'music': np.zeros((28, 1), np.int32)}
  found = measure(stage, streams)
  np.testing.assert_allclose(found.attention['melody'][:, 3], 1, atol=1e-6)


@pytest.mark.slow
def test_cells_of_a_random_model_hold_all_attention_to_the_picture():
  spec = specs.StageSpec(
    name='semantic',
    inputs=(PICTURE, NEAR),
    target=planted_stage.TARGET,
    crop_seconds=4.0,
  )
  config = transformer.TransformerConfig(
    emb_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=16,
    num_encoder_layers=1,
    num_decoder_layers=2,
    time_bias=True,
  )
  model = token_stage.make(spec, config)
  variables = model.init(jax.random.key(0), model.example_batch(1))
  params = jax.tree.map(
    lambda x: getattr(x, 'value', x),
    variables['params'],
    is_leaf=lambda x: hasattr(x, 'value'),
  )
  rng = np.random.default_rng(0)
  streams = {
    'picture': rng.integers(0, 4, (7, 16)),
    'near': rng.normal(size=(14, 2)).astype(np.float32),
    'music': rng.integers(0, 4, (28, 1)),
  }
  stage = restore.ModelStage(model, params)
  found = measure(stage, streams)
  assert found.cells['picture'].shape == (7, 16)
  table = found.attention['picture']
  assert found.cells['picture'].sum() == pytest.approx(table.sum(1).mean())
  np.testing.assert_allclose(
    found.cells['picture'].sum(1), table.mean(0), atol=1e-6
  )
  layers = [measure(stage, streams, layer=n).attention['near'] for n in (0, 1)]
  assert np.abs(layers[0] - layers[1]).max() > 1e-3
  np.testing.assert_allclose(
    np.mean(layers, 0), found.attention['near'], atol=1e-6
  )


def test_a_window_that_wrote_nothing_of_the_clip_counts_nothing():
  stage, streams = planted()
  # The second window goes on at 4 s, where half a code is left.
  found = measure(stage, streams, seconds=4.1)
  whole = measure(stage, streams, seconds=4.0)
  assert found.attention['near'].shape == (4, 4)
  np.testing.assert_allclose(
    found.attention['near'], whole.attention['near'], atol=1e-6
  )


@pytest.mark.parametrize('layer', [-1, 1])
def test_a_layer_that_is_not_there_is_refused(layer):
  with pytest.raises(ValueError, match='layers 0 to 0'):
    measure(*planted(), layer=layer)


def test_another_kind_of_blank_is_refused():
  with pytest.raises(ValueError, match="'zero' or 'mean'"):
    influence.Settings(blank='noise')


@pytest.mark.slow
def test_the_embedded_system_looks_at_the_motion_of_the_moment():
  scene = scene_lib.sample(5, 0, 10.0)
  frames = np.stack(list(render.frames(scene)))
  whole = system.load('tiny')
  stage, windows = whole.stages[0], whole.windows[0]
  streams = {
    name: whole.extractors[name](
      media.Video(
        frames=frames,
        times=np.arange(len(frames)) / float(scene.rate_hz),
        seconds=10.0,
      )
    )
    for name in ('appearance', 'motion')
  }
  streams['style'] = np.zeros((1, 64), np.float32)
  # Without a plan motion alone tells the time.
  streams['plan'] = np.zeros((250, 28), np.float32)
  clip = pipeline.ClipStreams(streams=streams, seconds=10.0, seed=0)
  (streams['semantic'],) = pipeline.sample_stage(
    stage,
    [clip],
    sampling=options.Sampling(temperature=1.0),
    windows=windows,
  )
  found = measure(stage, streams, seconds=10.0, windows=windows)
  for table in (found.attention['motion'], found.without_bin['motion']):
    share, chance = influence.near_share(table)
    assert share > chance + 0.3
