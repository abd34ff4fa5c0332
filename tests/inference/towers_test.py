"""Towers trained by the recipe know a planted pairing, also when frozen."""

import json
import pathlib

import numpy as np
import pytest

from v2meow_jax import media
from v2meow_jax import parts
from v2meow_jax import specs
from v2meow_jax.data import clips
from v2meow_jax.extractors import text_music

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = pathlib.Path(__file__).resolve().parents[2]
RATE = 16_000
KINDS = {
  'slow low hum': (110.0, 1.0),
  'fast low pulse': (110.0, 8.0),
  'slow high whistle': (1760.0, 1.0),
  'fast high beeps': (1760.0, 8.0),
}
CLIPS_OF_A_KIND = 8
STREAM = specs.FeatureSpec(name='style', dim=16, rate_hz=0.0)
# Of contrastive_tiny.gin, what makes it a matter of a minute.
BINDINGS = [
  'TEXT_LENGTH = 24',
  'BATCH_SIZE = 8',
  'EVAL_BATCH_SIZE = 8',
  'JOINT_DIM = 16',
  'EMB_DIM = 32',
  'NUM_LAYERS = 1',
  'PATCH_FRAMES = 20',
  'PATCH_BANDS = 128',
  'DROPOUT_RATE = 0.0',
  'TRAIN_STEPS = 50',
  'WARMUP_STEPS = 5',
  'clips.CaptionCrops.num_threads = 2',
  'loop.train.num_eval_batches = 1',
  'loop.train.tensorboard = False',
]


@pytest.fixture(autouse=True, scope='module')
def heard_once():
  """Clips that are read again and again are read, and heard, once.

  Crops of ten seconds are the whole of these clips.
  """
  found = {}
  row = clips.CaptionCrops._row

  def known(self, one, place):
    if one.path not in found:
      found[one.path] = row(self, one, place)
    return found[one.path]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(clips.CaptionCrops, '_row', known)
    yield


def clip(kind, seed, seconds=10.0):
  """A tone that is switched on and off, at a pitch and tempo of its kind."""
  pitch, tempo = KINDS[kind]
  rng = np.random.default_rng(seed)
  time = np.arange(round(seconds * RATE)) / RATE + rng.random()
  tone = np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time)
  samples = 0.3 * tone * (time * tempo % 1 < 0.5)
  samples += rng.normal(0, 0.01, len(time))
  return media.Audio(samples=samples.astype(np.float32), rate_hz=RATE)


def write_world(folder, captions):
  """A manifest of clips of each kind; `captions` tells what is said of them."""
  import soundfile

  lines = []
  number = 0
  for split in ('train', 'validation'):
    for _ in range(CLIPS_OF_A_KIND):
      for kind in KINDS:
        soundfile.write(
          folder / f'{number}.wav', clip(kind, number).samples, RATE
        )
        lines.append(
          {
            'id': str(number),
            'path': f'{number}.wav',
            'split': split,
            'caption': captions(kind, number),
          }
        )
        number += 1
  manifest = folder / 'manifest.jsonl'
  manifest.write_text('\n'.join(map(json.dumps, lines)))
  return manifest


def train_and_freeze(folder, captions):
  """Trains as `v2meow train` does, and freezes."""
  import gin
  from v2meow_jax import gin_config
  from v2meow_jax.inference import towers

  manifest = write_world(folder, captions)
  gin_config.parse(
    ('runs/train.gin', 'contrastive_tiny.gin'),
    [
      *BINDINGS,
      f"MANIFEST = '{manifest}'",
      f"MODEL_DIR = '{folder / 'run'}'",
    ],
    [str(ROOT / 'gin')],
  )
  gin.get_configurable('loop.train')()
  batches = gin.get_configurable('TRAIN_BATCHES/macro')()
  rows = batches(0)
  out = towers.export(
    folder / 'run', folder / 'frozen', [next(rows) for _ in range(6)]
  )
  gin.clear_config()
  return _load(out)


def _load(folder):
  return parts.Part(
    kind='towers', stream='style', weights=str(folder)
  ).network()


def retrieval(network):
  """Share of new clips whose own kind is the likeliest of the four texts."""
  pair = text_music.extractors(STREAM, network)
  texts = np.concatenate([pair['style_text'](kind) for kind in KINDS])
  np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-4)
  hits = [
    (texts @ pair['style'](clip(kind, 10_000 + i))[0]).argmax() == j
    for i in range(8)
    for j, kind in enumerate(KINDS)
  ]
  return np.mean(hits)


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  folder = tmp_path_factory.mktemp('paired')
  return train_and_freeze(folder, lambda kind, number: kind), folder


def test_texts_find_their_music(network):
  # Chance is 0.25.
  assert retrieval(network[0]) > 0.9


def test_shuffled_captions_teach_nothing(tmp_path):
  kinds = list(KINDS)
  rng = np.random.default_rng(0)

  def shuffled(kind, number):
    del kind, number
    return kinds[rng.integers(4)]

  assert retrieval(train_and_freeze(tmp_path, shuffled)) < 0.6


def test_words_that_were_not_in_the_captions_are_not_known(network):
  known = [network[0].knows(text) for text in (*KINDS, 'xqzv', '?!')]
  assert known == [True] * len(KINDS) + [False, False]


def test_both_modalities_lie_around_one_centre(network):
  found = network[0]
  texts = found.embed_texts(list(KINDS))
  music = found.embed_music(
    np.stack([clip(k, 500 + i).samples for i in range(4) for k in KINDS])
  )
  assert np.linalg.norm(texts.mean(0)) < 0.4
  assert np.linalg.norm(music.mean(0)) < 0.4


def test_what_is_frozen_says_what_it_is_and_when_it_is_damaged(network):
  from v2meow_jax.files import released
  from v2meow_jax.inference import towers

  folder = network[1] / 'frozen'
  config = json.loads((folder / 'config.json').read_text())
  assert config['model'] == 'ContrastiveModel'
  assert config['trained_steps'] == 50
  file = folder / 'towers.safetensors'
  content = file.read_bytes()
  file.write_bytes(content[:-1] + b'?')
  with pytest.raises(released.DamagedSystem, match='towers.safetensors'):
    _load(folder)
  file.write_bytes(content)
  with pytest.raises(ValueError, match='no batches'):
    towers.export(network[1] / 'run', folder.parent / 'x', [])
  assert not pathlib.Path(folder.parent / 'x').exists()
