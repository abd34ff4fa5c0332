import jax
import numpy as np
import pytest

from v2meow_jax.codecs.soundstream import seanet


def _noise(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.slow
def test_causal_conv_equals_numpy_at_every_stride_and_dilation():
  x = _noise(1, 12, 1)
  for stride, dilation, kernel in ((1, 1, 3), (1, 3, 3), (2, 1, 4), (4, 1, 8)):
    conv = seanet.CausalConv(1, kernel, stride, dilation)
    variables = conv.init(jax.random.key(0), x)
    taps = variables['params']['Conv_0']['kernel'][:, 0, 0]
    ours = conv.apply(variables, x)[0, :, 0]
    # Output i ends with the last sample of its own stride.
    past = np.concatenate([np.zeros(99), x[0, :, 0]])
    wanted = [
      sum(
        taps[kernel - 1 - k] * past[99 + (i + 1) * stride - 1 - k * dilation]
        for k in range(kernel)
      )
      for i in range(12 // stride)
    ]
    np.testing.assert_allclose(ours, wanted, atol=1e-5)


def test_upsampling_is_a_transposed_convolution():
  x, stride = _noise(1, 5, 2), 4
  layer = seanet.CausalUpsample(3, stride)
  variables = layer.init(jax.random.key(0), x)
  kernel = np.array(variables['params']['CausalConv_0']['Conv_0']['kernel'])
  # [tap, in, stride * out] -> a kernel of 2 * stride steps: a step writes its
  # own place by the last tap and the next step's by the first.
  long = kernel[::-1].reshape(2, 2, stride, 3)
  wanted = np.zeros((6 * stride, 3))
  for t in range(5):
    for tap in range(2):
      start = (t + tap) * stride
      wanted[start : start + stride] += np.einsum(
        'i,iso->so', x[0, t], long[tap]
      )
  ours = layer.apply(variables, x)[0]
  np.testing.assert_allclose(ours, wanted[: 5 * stride], atol=1e-5)


def test_strides_from_json_hash_like_tuples():
  listed = seanet.SeanetConfig(strides=[2, 4, 5, 8])
  assert hash(listed) == hash(seanet.SeanetConfig())
  assert listed.hop_samples == 320


@pytest.mark.parametrize('strides, hop', [((2, 4, 5, 8), 320), ((2, 2), 4)])
def test_the_decoder_undoes_the_encoders_strides(strides, hop):
  config = seanet.SeanetConfig(base_channels=2, latent_dim=4, strides=strides)

  def both(x):
    rng = jax.random.key(0)
    latents, _ = config.encoder().init_with_output(rng, x)
    return latents, config.decoder().init_with_output(rng, latents)[0]

  latents, out = jax.eval_shape(both, _noise(1, 10 * hop))
  assert latents.shape == (1, 10, 4) and out.shape == (1, 10 * hop)
