"""Recipes that prepare data record what the stages that read it want."""

import dataclasses
import importlib
import pathlib

import pytest

import gin
from tasks import datasets
from v2meow_jax import gin_config
from v2meow_jax.pretrained import ledger
from v2meow_jax.pretrained.vision import vit_vqgan

pytestmark = pytest.mark.data

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture
def prepared(monkeypatch):
  """Reads recipes and gives what they prepare, before any weights are read."""
  monkeypatch.chdir(ROOT)

  def parse(*files):
    gin_config.parse([*files])
    return gin.get_configurable('PARTS/macro')()

  yield parse
  gin.clear_config()


def cells(preparation):
  """Cells of a picture: of the network, and of the stream."""
  row = zip(preparation.parts, preparation.streams, strict=True)
  part, stream = next((p, s) for p, s in row if p.kind == 'vit_vqgan')
  config = vit_vqgan.VitVqganConfig(**part.settings.get('config', {}))
  return config.side**2, stream.num_positions


def test_a_picture_has_256_tokens_and_1024_as_an_option(prepared):
  recipe = 'prepare/pictures.gin'
  assert cells(prepared(recipe)) == (256, 256)
  larger = prepared(recipe, 'networks/vit_vqgan_1024.gin')
  assert cells(larger) == (1024, 1024)


def test_music_alone_is_recorded_for_all_stages_that_read_it(prepared):
  music = prepared('prepare/music_only.gin')
  assert {part.reads for part in music.parts} == {'audio'}
  read = {
    stream.name
    for stage in datasets.get('music_only').stages
    for stream in (*stage.inputs, stage.target)
  }
  levels = {'coarse', 'fine'}  # of the codec's stream
  assert read - levels | {'acoustic'} == {s.name for s in music.streams}


@pytest.mark.parametrize('recipe', ['muvi', 'vmas'])
@pytest.mark.parametrize(
  'network, replaced, dim',
  [
    ('dinov2', {'patches', 'slow_patches'}, 1024),
    ('hiera', {'patches', 'slow_patches'}, 768),
    ('videomae', {'patches'}, 1024),
  ],
)
def test_another_network_takes_the_place_of_clips_patches(
  prepared, recipe, network, replaced, dim
):
  own = prepared(f'prepare/{recipe}.gin')
  other = prepared(f'prepare/{recipe}.gin', f'networks/{network}_patches.gin')
  wanted = {
    p.stream: f'{network}_patches' if p.stream in replaced else p.kind
    for p in own.parts
  }
  assert {p.stream: p.kind for p in other.parts} == wanted
  # Other streams are as they were, and so are stages where no width changes.
  assert [
    dataclasses.replace(s, dim=dim) if s.name.endswith('patches') else s
    for s in own.streams
  ] == list(other.streams)
  # The weights that the recipe names are of that width.
  part = next(p for p in other.parts if p.stream == 'patches')
  module = importlib.import_module(
    ledger.find(part.weights).reader.rpartition('.')[0]
  )
  sizes = {c.artefact: c.emb_dim for c in (module.BASE, module.LARGE)}
  assert sizes[part.weights] == dim
