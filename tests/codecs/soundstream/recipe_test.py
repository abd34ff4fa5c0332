"""The two runs of a small SoundStream, at tiny widths, as commands."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from v2meow_jax import parts
from v2meow_jax.cli import main
from v2meow_jax.codecs import trained
from v2meow_jax.synthetic import world
from v2meow_jax.training.checkpoints import checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.data]

STEPS = 3
TINY = (
  f'TRAIN_STEPS={STEPS}',
  f'loop.train.train_steps={STEPS}',
  'WARMUP_STEPS=1',
  'BATCH_SIZE=2',
  'CROP_SECONDS=0.24',
  'loop.train.tensorboard=False',
  'loop.train.log_every=1',
  'loop.train.eval_batches=None',
  'seanet.SeanetConfig.base_channels=2',
  'seanet.SeanetConfig.latent_dim=8',
  'seanet.SeanetConfig.strides=(8,)',
  'seanet.SeanetConfig.dilations=(1,)',
  'rvq.RvqConfig.num_levels=2',
  'rvq.RvqConfig.codebook_size=4',
  'rvq.RvqConfig.code_dim=8',
  'rvq.RvqConfig.warmup_steps=0',
  # Codebooks that were fitted once stay where they are.
  'rvq.RvqConfig.ema_decay=1.0',
  'rvq.RvqConfig.dead_share=0.0',
)
TINY_OPPONENTS = (
  'adversarial.AdversarialConfig.stft_channels=2',
  'adversarial.AdversarialConfig.stft_num_blocks=2',
  'adversarial.AdversarialConfig.wave_channels=2',
  'adversarial.AdversarialConfig.wave_max_channels=4',
  'adversarial.AdversarialConfig.num_wave_scales=1',
)


def train(recipe, model_dir, *bindings):
  files = ('--gin_file=runs/train.gin', f'--gin_file=codecs/{recipe}.gin')
  bindings = (f"MODEL_DIR='{model_dir}'", *TINY, *bindings)
  assert main.main(['train', *files, *(f'--gin.{b}' for b in bindings)]) == 0
  return checkpoints.restore_variables(model_dir)[0]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """Folders and variables of the run by spectra and of the one after it."""
  folder = tmp_path_factory.mktemp('soundstream')
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(world.__file__.partition('/v2meow_jax/')[0])
    manifest = world.write(str(folder / 'world'), num=1, seed=0, seconds=2)
    data = f"MANIFEST='{manifest}'"
    spectra = train('soundstream_small', folder / 'spectra', data)
    duel = train(
      'soundstream_small_adversarial',
      folder / 'duel',
      data,
      f"WARM_START='{folder / 'spectra'}'",
      *TINY_OPPONENTS,
    )
  return folder, spectra, duel


def test_the_second_run_goes_on_with_the_codebooks_of_the_first(runs):
  _, spectra, duel = runs
  before, after = (
    v['codebooks']['quantizer']['state'] for v in (spectra, duel)
  )
  assert (int(before['age']), int(after['age'])) == (STEPS, 2 * STEPS)
  assert np.any(before['vectors'])
  np.testing.assert_allclose(after['vectors'], before['vectors'], atol=1e-5)
  # The discriminators begin with the run, not where the codec's left off.
  assert int(duel['counters']['step']) == STEPS


def test_only_the_second_run_has_opponents_and_they_learn(runs):
  folder, spectra, duel = runs
  assert set(spectra['params']) == {'generator'}
  assert set(duel['params']) == {'generator', 'discriminator'}
  lines = (folder / 'duel' / 'metrics.jsonl').read_text().splitlines()
  judged = [json.loads(line)['train/discriminator'] for line in lines]
  assert len(judged) == STEPS and 0 < judged[-1] != judged[0]


def test_a_system_can_name_the_second_run(runs):
  part = parts.Part(
    kind='soundstream', stream='acoustic', weights=str(runs[0] / 'duel')
  )
  weights, settings = part.read()
  assert set(weights['params']) == {'encoder', 'decoder', 'quantizer'}
  codec = trained.soundstream(weights, **settings)
  assert codec.decode(jnp.zeros((1, 2, 2), jnp.int32)).shape == (1, 16)
