"""Smaller types of weights and of computing leave a system what it is."""

import importlib
import json

from flax.core import meta
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.fakes import jaxprs
from tests.fakes import parallel_stage
from tests.fakes import small_system
from tests.fakes import tiny_transformer
from v2meow_jax.cli import main
from v2meow_jax.files import atomic
from v2meow_jax.files import released
from v2meow_jax.files import tensors
from v2meow_jax.inference import export
from v2meow_jax.inference import loading
from v2meow_jax.inference import restore
from v2meow_jax.inference import system
from v2meow_jax.models.sampling import options
from v2meow_jax.synthetic import held_out

number_types = importlib.import_module('benchmarks.number_types')

pytestmark = pytest.mark.slow

SECONDS = 10.0
STAGES = ('semantic', 'coarse', 'fine')


@pytest.fixture(scope='module')
def packed(tmp_path_factory):
  """The tiny system with kernels in int8, as the command packs it."""
  out = tmp_path_factory.mktemp('packed') / 'small'
  main.main(['export', str(out), '--system', 'tiny', '--weights', 'int8'])
  return out


def sizes(folder):
  return {name: (folder / f'{name}.safetensors').stat().st_size
          for name in STAGES}  # fmt: skip


def test_files_are_a_quarter_of_float32_and_half_of_float16(packed, tmp_path):
  whole = export.export_again(
    str(tmp_path / 'whole'), system.SHIPPED['tiny'], weights='float32'
  )
  half, small = sizes(system.SHIPPED['tiny']), sizes(packed)
  for name, size in sizes(whole).items():
    # Embeddings, which stay in float16, are 3 to 6 % of these networks.
    assert small[name] < 0.275 * size
    assert small[name] < 0.55 * half[name]


def test_the_config_says_the_type_and_keeps_the_rest(packed):
  config = released.read_config(packed)
  assert config['format'] == 3
  assert [row['weights'] for row in config['stages']] == ['int8'] * 3
  before = loading.upgraded(released.read_config(system.SHIPPED['tiny']))
  for name in ('name', 'licences', 'networks', 'visual', 'sound'):
    assert config[name] == before[name], name
  for row, old in zip(config['stages'], before['stages'], strict=True):
    assert row['trained_steps'] == old['trained_steps']
    old_model, model = map(restore.build_model, (old['model'], row['model']))
    assert model.describe() == old_model.describe()
  for name in ('codec.safetensors', 'extractors.safetensors'):
    ours = tensors.flatten(tensors.read(packed / name))
    theirs = tensors.flatten(tensors.read(system.SHIPPED['tiny'] / name))
    assert set(ours) == set(theirs)
    for key, value in ours.items():
      np.testing.assert_array_equal(value, theirs[key])
  card = 'MODEL_CARD.md'
  assert (packed / card).read_text() == (
    system.SHIPPED['tiny'] / card
  ).read_text()


def test_float16_and_float32_keep_every_bit(tmp_path):
  out = tmp_path / 'again'
  export.export_again(
    str(out), system.SHIPPED['tiny'], weights='float32', name='b'
  )
  export.export_again(str(out), out)  # In its own place.
  assert released.read_config(out)['name'] == 'b'
  for name in STAGES:
    file = f'{name}.safetensors'
    assert (out / file).read_bytes() == (
      system.SHIPPED['tiny'] / file
    ).read_bytes()


def nats(stages, clips):
  """Nats of a code by stage; those of a guess are log(codebook_size)."""
  return {
    stage.spec.name: number_types.nats_per_code(stage, clips, SECONDS)
    for stage in stages
  }


def test_held_out_codes_are_as_likely_to_one_percent(packed):
  loaded = system.load('tiny')
  (scene,) = held_out.scenes(7, 1, SECONDS)
  clips = [number_types.streams_of(loaded, scene)]
  exact = nats(loaded.stages, clips)
  # There is something to lose.
  assert exact['semantic'] < 0.6 * np.log(512)
  assert exact['coarse'] < 0.6 * np.log(256)
  half = nats(system.load('tiny', dtype='bfloat16').stages, clips)
  # The same programs, which need no tracing again.
  for stage, other in zip(
    loaded.stages, system.load(packed).stages, strict=True
  ):
    stage._params = other._params
  for others in (half, nats(loaded.stages, clips)):
    for name, found in others.items():
      assert 0 < abs(found / exact[name] - 1) < 0.01, name


def test_a_clip_is_made_whole_and_again_by_what_its_sidecar_says(tmp_path):
  whole = small_system.pack(tmp_path / 'whole', small_system.CHAINS['one'])
  small = tmp_path / 'small'
  export.export_again(str(small), whole, weights='int8')
  (scene,) = held_out.scenes(7, 1, 2.0)
  video = str(held_out.write_video(scene, tmp_path, blank=False))

  def generate(dtype):
    out = tmp_path / 'out.wav'
    flags = ('--system', str(small), '--dtype', dtype, '--no_plan')
    assert main.main(['generate', video, '-o', str(out), *flags]) == 0
    facts = json.loads(out.with_name('out.wav.json').read_text())
    assert facts['seconds'] == pytest.approx(2.0)
    assert facts['dtype'] == dtype
    assert facts['system_sha256'] == atomic.sha256(small / 'config.json')
    return out.read_bytes(), facts

  first, facts = generate('bfloat16')
  assert generate(facts['dtype'])[0] == first


def test_the_device_chooses_the_type_once(monkeypatch):
  assert restore.device_dtype() == 'float32'
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  for dtype, wanted in ((None, 'bfloat16'), ('float32', 'float32')):
    loaded = loading.load(system.SHIPPED['tiny'], dtype)
    assert loaded.dtype == wanted
    for stage in loaded.stages:
      assert stage.model.network.dtype == wanted
  with pytest.raises(ValueError, match="'float16'; wanted one of"):
    system.load(dtype='float16')


def test_in_bfloat16_softmax_and_draws_are_float32():
  sampling = options.Sampling(temperature=0.9, top_k=4)
  rngs = jax.random.split(jax.random.key(0), 2)
  for model in (tiny_transformer.make()[0], parallel_stage.make()):
    model = restore.build_model(model.describe(), 'bfloat16')
    shapes = jax.eval_shape(
      model.init, jax.random.key(0), model.example_batch(1)
    )
    jaxpr = jax.make_jaxpr(model.sample_batch)(
      meta.unbox(shapes)['params'], model.example_inputs(2), rngs, sampling
    )
    types = jaxprs.operand_types(jaxpr.jaxpr)
    for name in ('exp', 'argmax', 'top_k'):
      assert set(types[name]) == {jnp.dtype('float32')}, name
    assert set(types['dot_general']) == {jnp.dtype('bfloat16')}


def test_kernels_are_held_in_the_type_in_which_a_network_uses_them():
  model, params = tiny_transformer.make(
    tiny_transformer.TOKENS, tiny_transformer.DECODER_ONLY
  )
  model = restore.build_model(model.describe(), 'bfloat16')
  stage = restore.ModelStage(model, params)
  batch = tiny_transformer.random_batch(model, 1)
  held = stage._params
  assert held['decoder_0']['mlp']['wo'].dtype == jnp.bfloat16
  assert held['decoder_norm']['scale'].dtype == jnp.float32
  np.testing.assert_array_equal(
    tiny_transformer.logits(model, params, batch),
    tiny_transformer.logits(model, held, batch),
  )


def test_weights_of_no_known_type_are_refused_by_name(packed, tmp_path, capsys):
  with pytest.raises(ValueError, match="'int4'; wanted one of"):
    export.export_again(str(tmp_path / 'x'), packed, weights='int4')
  file = packed.parent / 'broken' / 'fine.safetensors'
  export.export_again(str(file.parent), packed, weights='int8')
  tree = tensors.read(file)
  tree['logits']['scale'] = tree['logits']['scale'][:-1]
  tensors.write(file, tree, None)
  config = released.read_config_alone(file.parent)
  released.write_config(file.parent, config)
  with pytest.raises(released.DamagedSystem, match='fine.* logits holds'):
    system.load(file.parent)
  capsys.readouterr()
  assert main.main(['export', 'out', '--system', 'tiny', '--stages', 'a'])
  assert 'give one of the two' in capsys.readouterr().err
