"""`v2meow plan` and the flags of `v2meow generate` that follow a plan."""

import pytest

from tests.fakes import pulsing_clips
from v2meow_jax.cli import main
from v2meow_jax.extractors.planning import plan as plan_lib
from v2meow_jax.files import atomic
from v2meow_jax.files import write


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
  path = tmp_path_factory.mktemp('plan') / 'clip.mp4'
  beats = [0.36 + 0.6 * i for i in range(12)]
  video = pulsing_clips.video(7.6, beats=beats)
  write.write_video(path, video.frames, rate_hz=pulsing_clips.RATE_HZ)
  return path


def test_a_video_gets_its_plan_and_a_plot(clip, tmp_path, capsys):
  out, plot = tmp_path / 'plan.json', tmp_path / 'plan.png'
  assert (
    main.main(['plan', str(clip), '-o', str(out), '--plot', str(plot)]) == 0
  )
  assert capsys.readouterr().out.split() == [str(out), str(plot)]
  plan = plan_lib.read(out)
  assert plan.tempo_bpm == pytest.approx(100, rel=0.01)
  assert plan.source == 'picture'
  assert plan.video_sha256 == atomic.sha256(clip)
  assert plot.read_bytes().startswith(b'\x89PNG')


def test_a_tempo_and_a_prompt_are_obeyed(clip, tmp_path):
  out = tmp_path / 'plan.json'
  prompt = ['--prompt', 'calm piano']
  assert (
    main.main(['plan', str(clip), '-o', str(out), '--bpm', '90', *prompt]) == 0
  )
  plan = plan_lib.read(out)
  assert plan.tempo_bpm == 90 and plan.source == 'given'
  assert {section.prompt for section in plan.sections} == {'calm piano'}


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['plan', '{clip}', '-o', '{out}/plan.txt'], 'wanted one of .json'),
    (['plan', '{clip}', '-o', '{out}/plan.json', '--bpm', '1'], 'wanted 50'),
    (['plan', '{out}/none.mp4', '-o', '{out}/plan.json'], 'none.mp4'),
    (['generate', '{clip}', '-o', '{out}/a.wav', '--bpm', 'nan'], 'wanted 50'),
    (['generate', '{clip}', '-o', '{out}/a.wav', '--plan', '{bad}'], 'no plan'),
    (['plan', '{clip}', '-o', '{out}/a.json', '--key', 'X'], "key is 'X'"),
    (
      ['generate', '{clip}', '-o', '{out}/a.wav', '--key', 'C', '--no_plan'],
      'leave out --no_plan.',
    ),
    (
      [
        *('generate', '{clip}', '-o', '{out}/a.wav', '--key', 'C'),
        *('--plan', '{bad}'),
      ],
      'write it into {bad}, as "key".',
    ),
  ],
)
def test_what_cannot_be_planned_is_said_in_a_line(
  clip, tmp_path, capsys, arguments, message
):
  bad = tmp_path / 'bad.json'
  bad.write_text('{"seconds": 1}')
  filled = [a.format(clip=clip, out=tmp_path, bad=bad) for a in arguments]
  assert main.main(filled) == 2
  assert message.format(bad=bad) in capsys.readouterr().err
  assert [p.name for p in tmp_path.iterdir()] == ['bad.json']
