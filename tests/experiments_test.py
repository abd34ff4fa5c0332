"""The inventory: every experiment of the paper, at its full size."""

import json
import pathlib

import pytest

from v2meow_jax import experiments
from v2meow_jax import gin_config
from v2meow_jax.cli import main

pytestmark = pytest.mark.data

ROOT = pathlib.Path(__file__).resolve().parents[1]
RECIPES = experiments.recipes((str(ROOT / 'gin'),))
STAGE_ONE = [r for r in RECIPES if 'semantic' in r]
STAGE_TWO = [r for r in RECIPES if 'coarse' in r]


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
  monkeypatch.chdir(ROOT)
  monkeypatch.syspath_prepend(str(ROOT))
  yield
  import gin

  gin.clear_config()


def inputs(recipe):
  model = experiments.load_model(['runs/train.gin', recipe], [], ['gin'])
  return frozenset(s.name for s in model.spec.inputs)


def test_stage_one_has_five_pairs_of_features_with_and_without_style():
  clip, flow, picture = {'clip'}, {'flow'}, {'vit_vqgan'}
  seen = [clip, flow, picture, picture | flow, clip | flow]
  wanted = {frozenset(s | style) for s in seen for style in ({'style'}, set())}
  # MaskGIT's tokens are ours, besides those of the paper.
  of_paper = [recipe for recipe in STAGE_ONE if 'maskgit' not in recipe]
  assert len(of_paper) == 10
  assert {inputs(recipe) for recipe in of_paper} == wanted


def test_stage_two_has_no_sight_or_any_or_no_semantic_tokens():
  semantic = {'semantic'}
  seen = [
    set(), {'clip'}, {'flow'}, {'vit_vqgan'}, {'vit_vqgan', 'flow'},
    {'clip', 'flow'},
  ]  # fmt: skip
  wanted = {frozenset(semantic | s) for s in seen}
  wanted |= {frozenset({'clip'}), frozenset({'clip', 'style'})}
  assert {inputs(recipe) for recipe in STAGE_TWO} == wanted


def test_the_fine_tuned_stage_shares_the_ids_of_the_one_it_begins_with():
  blind, seeing = (
    experiments.load_model(
      ['runs/train.gin', f'stages/{name}.gin'], [], ['gin']
    )
    for name in ('coarse', 'coarse_fine_tuned')
  )
  assert blind.spec.token_streams == seeing.spec.token_streams
  for size in ('emb_dim', 'num_decoder_layers', 'relative_num_buckets'):
    assert getattr(blind.network, size) == getattr(seeing.network, size)


def test_vmas_and_each_of_its_ablations_is_listed():
  names = {r.removeprefix('systems/vmas/') for r in RECIPES if 'vmas' in r}
  assert names == {
    'music.gin',
    *(
      f'ablations/{name}.gin'
      for name in ('no_alignment', 'no_contrast', 'slow', 'full_attention')
    ),
  }


@pytest.mark.parametrize(
  'name, changed, wanted',
  [
    ('no_contrast', lambda model: model.objective.weight, 0),
    ('no_alignment', lambda model: model.network.modulates, False),
    (
      'no_alignment',
      lambda model: (
        model.objective.alignment.accent_weight
        + model.objective.alignment.onset_weight
      ),
      0,
    ),
    ('slow', lambda model: model.spec.inputs[0].rate_hz, 1),
    ('full_attention', lambda model: model.network.window_frames, None),
  ],
)
def test_an_ablation_of_vmas_holds_under_the_tiny_sizes(name, changed, wanted):
  def model(recipe):
    files = ('runs/train.gin', f'systems/vmas/{recipe}.gin')
    files = (*files, 'systems/vmas/tiny.gin')
    return experiments.load_model(files, (), ('gin',))

  assert changed(model(f'ablations/{name}')) == wanted
  assert changed(model('music')) != wanted


def test_every_recipe_trains_in_a_folder_of_its_own():
  import gin

  folders = []
  for recipe in RECIPES:
    gin_config.parse(['runs/train.gin', recipe])
    folders.append(gin.query_parameter('%MODEL_DIR'))
  assert len(set(folders)) == len(folders)


@pytest.mark.slow
def test_every_recipe_builds_at_full_size():
  wrong = {}
  for recipe in (r for r in RECIPES if r.startswith('stages/')):
    experiment = experiments.build(recipe)
    has_encoder = experiment.layout in ('encoder-decoder', 'delay')
    # Twelve gated layers have 201 M, as many in each half 453 M; then
    # embeddings.
    layers = 453e6 if has_encoder else 201e6
    if experiment.layout == 'parallel':
      layers = 390e6  # Two gated blocks and a convolution in each layer.
    elif experiment.layout == 'delay':
      # Half of the layers see, and four or so encode a stream of patches.
      layers = 201e6 + 6 * 4.2e6 + 4 * 16.8e6
    # Two for each parameter at each position, three times, and attention.
    flops = 6 * 201e6 * experiment.decoder_tokens
    if (
      has_encoder != bool(experiment.encoder_tokens)
      or not layers < experiment.num_parameters < layers + 40e6
      or experiment.train_flops <= flops
    ):
      wrong[recipe] = experiment
  assert RECIPES and not wrong, wrong


@pytest.mark.slow
def test_muvi_builds_at_the_sizes_of_its_paper():
  # Of the paper 85, 150 and 330 M; a map of the time and the adaptor besides.
  sizes = {'dit_small': 85e6, 'dit_base': 150e6, 'dit_large': 330e6}
  for size, wanted in sizes.items():
    built = experiments.build('systems/muvi/music.gin', [f'models/{size}.gin'])
    assert wanted < built.num_parameters < 1.1 * wanted
    assert built.target_tokens == 1000 and built.encoder_tokens == 0
  parameters = {
    recipe: experiments.build(recipe).num_parameters
    for recipe in RECIPES
    if recipe.startswith('systems/muvi/adaptors/')
  }
  assert len(parameters) == 4  # And softmax, which is that of music.gin.
  (others,) = {n for r, n in parameters.items() if r.endswith(('average.gin',))}
  # A gate for each channel, and for each head; two maps besides.
  assert parameters['systems/muvi/adaptors/sigmoid.gin'] == others + 1024
  heads, maps = 8 * 1024, 2 * 1024**2
  attention = parameters['systems/muvi/adaptors/attention.gin']
  assert attention == others + heads + maps
  # No places of 16 cells.
  assert parameters['systems/muvi/adaptors/cls.gin'] == others - 16 * 1024


def test_parameters_of_the_first_stage_are_those_of_a_t5_of_its_size():
  layers = ('NUM_LAYERS = 2',)
  built = experiments.build('stages/semantic.gin', bindings=layers)
  square, mlp = 1024 * 1024, 3 * 1024 * 4096
  encoder = 4 * square + mlp + 2 * 1024
  decoder = 8 * square + mlp + 3 * 1024
  vectors = 2 * 1152 * 1024 + (768 + 1024 + 512 + 3) * 1024
  biases = 16 * (32 + 32 + 33) + 2 * 1024
  wanted = 2 * (encoder + decoder) + vectors + biases
  assert built.num_parameters == wanted
  assert built.encoder_tokens == 21
  assert built.decoder_tokens == built.target_tokens == 250
  assert built.command.endswith("stages/semantic.gin '--gin.NUM_LAYERS = 2'")


def test_the_table_and_its_json_tell_the_same(capsys, tmp_path):
  (tmp_path / 'stages').mkdir()
  (tmp_path / 'stages' / 'mine.gin').write_text("include 'stages/fine.gin'\n")
  argv = [
    'experiments', f'--gin_search_paths={tmp_path},gin', '--gin_file=tiny.gin',
    '--gin.NUM_LAYERS=1', '--gin.EMB_DIM=8', '--gin.MLP_DIM=16',
  ]  # fmt: skip
  # The recipes of the repository would take their time.
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(experiments, 'recipes', lambda paths: ['stages/mine.gin'])
    assert main.main(argv) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert main.main([*argv, '--json']) == 0
  (found,) = json.loads(capsys.readouterr().out)
  assert found['inputs'] == ['coarse']
  assert found['command'] in row
  assert f'{found["num_parameters"] / 1e6:.1f}' in row


def test_a_folder_without_recipes_is_named(tmp_path):
  with pytest.raises(gin_config.ConfigError, match='gin_search_paths'):
    experiments.recipes([str(tmp_path)])
