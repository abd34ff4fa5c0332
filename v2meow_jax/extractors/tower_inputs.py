"""Makes the inputs of `models.towers`: a spectrogram, and bytes."""

import numpy as np

from v2meow_jax import media
from v2meow_jax.pretrained.audio import mel
from v2meow_jax.pretrained.text_music import segments

SAMPLE_RATE_HZ = 16_000
NUM_BANDS = 128
NUM_FRAMES = 1000  # 10 ms each, in a segment of 10 s.
_HOP, _WINDOW = 160, 1024  # No band of 128 is empty with 64 ms.

PAD_ID, START_ID, FIRST_BYTE_ID = 0, 1, 2
NUM_IDS = FIRST_BYTE_ID + 256


def log_mel(waveform: np.ndarray) -> np.ndarray:
  """Computes a log mel spectrogram, standardised, whatever the gain.

  Args:
    waveform: float32[160000], 10 s at `SAMPLE_RATE_HZ`.

  Returns:
    float32[NUM_FRAMES, NUM_BANDS]; zeros for silence.
  """
  # Before the logarithm, whose floor would treat soft music otherwise.
  even = waveform / (np.sqrt(np.mean(waveform**2)) + 1e-6)
  bands = mel.log_mel(even, SAMPLE_RATE_HZ, _HOP, _WINDOW, NUM_BANDS)
  return (bands - bands.mean()) / (bands.std() + 1e-3)


def text_ids(text: str, length: int) -> np.ndarray:
  """Encodes text as a start id, then UTF-8 bytes, then padding.

  Args:
    text: Any string; bytes that do not fit are left out.
    length: Number of ids.

  Returns:
    int32[length], in [0, NUM_IDS).
  """
  content = text.encode('utf-8', 'replace')[: length - 1]
  ids = np.full(length, PAD_ID, np.int32)
  ids[0] = START_ID
  ids[1 : 1 + len(content)] = np.frombuffer(content, np.uint8)
  ids[1 : 1 + len(content)] += FIRST_BYTE_ID
  return ids


def text(ids: np.ndarray) -> str:
  """Decodes the beginning of a text that `text_ids` encoded.

  >>> text(text_ids('calm piano', 8))
  'calm pi'
  """
  content = ids[ids >= FIRST_BYTE_ID] - FIRST_BYTE_ID
  return content.astype(np.uint8).tobytes().decode('utf-8', 'ignore')


def rows(
  audio: media.Audio, caption: str, text_length: int
) -> dict[str, np.ndarray]:
  """Makes one row of a batch of `models.towers.ContrastiveModel`.

  Args:
    audio: Music of any rate; its first 10 s count.
    caption: Description of the music.
    text_length: Number of ids of a caption.

  Returns:
    'log_mel' float32[NUM_FRAMES, NUM_BANDS], 'text_ids' int32[text_length].
  """
  waveform = next(segments.waveforms(audio, SAMPLE_RATE_HZ))
  return {
    'log_mel': log_mel(waveform),
    'text_ids': text_ids(caption, text_length),
  }
