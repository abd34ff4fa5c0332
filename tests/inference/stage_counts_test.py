"""A system has as many stages as its sound needs."""

from flax import linen as nn
import jax
import numpy as np
import pytest

from tests.fakes import token_stage
from v2meow_jax import media
from v2meow_jax import specs
from v2meow_jax import stages
from v2meow_jax.files import released
from v2meow_jax.inference import export
from v2meow_jax.inference import loading
from v2meow_jax.inference import restore
from v2meow_jax.inference import system
from v2meow_jax.models import transformer
from v2meow_jax.models.sampling import options

pytestmark = pytest.mark.slow

TINY = stages.TINY
SIZES = transformer.TransformerConfig(
  emb_dim=8,
  num_heads=1,
  head_dim=8,
  mlp_dim=8,
  num_encoder_layers=1,
  num_decoder_layers=1,
)


def levels(name, first, count):
  return specs.TokenSpec(
    name=name,
    codebook_size=256,
    rate_hz=25.0,
    num_codebooks=count,
    first_codebook=first,
    stored_as='acoustic',
  )


def stage(target, *inputs):
  return specs.StageSpec(
    name=target.name, inputs=inputs, target=target, crop_seconds=2.0
  )


MOTION, STYLE, SEMANTIC = TINY['motion'], TINY['style'], TINY['semantic']
COARSE, FINE = TINY['coarse'], levels('fine', 2, 1)
FINEST = levels('finest', 3, 1)
CHAINS = {
  'one': [stage(levels('music', 0, 4), MOTION, STYLE)],
  'two': [stage(SEMANTIC, MOTION, STYLE), stage(COARSE, SEMANTIC)],
  'four': [
    stage(SEMANTIC, MOTION),
    stage(COARSE, SEMANTIC, MOTION),
    stage(FINE, COARSE),
    stage(FINEST, FINE),
  ],
}


def random_stage(spec):
  model = token_stage.make(spec, SIZES)
  variables = model.init(jax.random.key(0), model.example_batch(1))
  params = nn.unbox(variables['params'])
  return restore.released(model.describe()), params, 0


def embedded_parts():
  config = loading.upgraded(released.read_config(system.EMBEDDED))
  return [part for part, _ in loading.read_parts(system.EMBEDDED, config)]


def pack(out, chain):
  return export.pack(
    str(out),
    stages=map(random_stage, chain),
    parts=embedded_parts(),
    name='random',
    dtype='float32',
    licence='random numbers',
  )


@pytest.mark.parametrize(
  ('count', 'depth'), [('one', 4), ('two', 2), ('four', 4)]
)
def test_systems_of_any_number_of_stages_are_exported_and_play(
  count, depth, tmp_path
):
  chain = CHAINS[count]
  names = [spec.name for spec in chain]
  loaded = system.load(pack(tmp_path / 'system', chain))
  video = media.Video(
    frames=np.zeros((20, 32, 32, 3), np.uint8),
    times=np.arange(20) / 5,
    seconds=3.7,
  )
  given = [options.Sampling(temperature=0.1 * i) for i in range(len(chain))]
  soundtrack = loaded.run(video, sampling=given, rows=2)
  assert len(soundtrack.audio.samples) == round(3.7 * 16_000)
  assert soundtrack.codes.shape == (93, depth)
  assert list(soundtrack.settings['sampling']) == names
  assert soundtrack.settings['rows'] == dict.fromkeys(names, 2)
  (alone, again) = loaded.generate_batch([video, video], seeds=[0, 1], rows=2)
  assert len(alone.samples) == len(again.samples)


def test_a_system_without_its_first_levels_is_refused(tmp_path):
  with pytest.raises(ValueError, match="level 2 of the sound 'acoustic'"):
    pack(tmp_path / 'system', [*CHAINS['two'], stage(FINEST, COARSE)])
  assert not any(tmp_path.iterdir())
