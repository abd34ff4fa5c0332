"""Networks that judge or encode compute in full float32 on any device.

By default a GPU rounds the factors of a float32 product to 10 bits, so that
distances and codes would depend on the device; on a CPU that cannot be seen in
the results.
"""

import jax
import jax.numpy as jnp
import pytest

from v2meow_jax.codecs import rvq
from v2meow_jax.codecs.soundstream import seanet
from v2meow_jax.codecs.soundstream import soundstream
from v2meow_jax.pretrained.audio import panns
from v2meow_jax.pretrained.audio import vggish
from v2meow_jax.pretrained.audio import vggish_weights

_FULL = (jax.lax.Precision.HIGHEST,) * 2


def products(jaxpr):
  """Every product and convolution, those of inner functions too."""
  for equation in jaxpr.eqns:
    if equation.primitive.name in ('dot_general', 'conv_general_dilated'):
      yield equation
    for value in equation.params.values():
      for inner in value if isinstance(value, tuple | list) else (value,):
        inner = getattr(inner, 'jaxpr', inner)
        if hasattr(inner, 'eqns'):
          yield from products(inner)


def zeros(module, *inputs):
  """Variables of a module, whose values make no difference here."""
  shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
  return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def hears_vggish():
  config = vggish_weights.VggishConfig(
    channels=((2,), (3,)), hidden=(4,), dim=5
  )
  x = jnp.zeros((1, 96, 64))
  params = zeros(vggish.Body(config), x)['params']
  return lambda: vggish.embed(config, params, x)


def hears_panns():
  config = panns.Cnn14Config(channels=(2, 3), num_classes=4)
  x = jnp.zeros((1, 8, 64))
  params = zeros(panns.Cnn14(config), x)['params']
  return lambda: panns.apply(config, params, x)


def encodes_soundstream():
  config = soundstream.CodecConfig(
    ends=seanet.SeanetConfig(
      base_channels=2, latent_dim=4, strides=(2, 4), dilations=(1,)
    ),
    quantizer=rvq.RvqConfig(num_levels=2, codebook_size=8, code_dim=3),
  )
  x = jnp.zeros((1, 32))
  variables = zeros(soundstream.SoundStream(config), x)
  return lambda: soundstream.TrainedCodec(config, variables).encode(x)


@pytest.mark.parametrize(
  'make', [hears_vggish, hears_panns, encodes_soundstream]
)
def test_every_product_is_taken_in_full(make):
  found = list(products(jax.make_jaxpr(make())().jaxpr))
  assert len(found) > 2
  for equation in found:
    assert equation.params['precision'] == _FULL, equation
