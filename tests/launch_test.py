"""Launches: what a machine's own tools say of them, and what they start."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.fakes import small_batch
from v2meow_jax.cli import main
from v2meow_jax.jobs.generate import job as job_lib
from v2meow_jax.training.monitoring import health
from v2meow_jax.training.monitoring import preemption

ROOT = pathlib.Path(__file__).resolve().parents[1]
LAUNCH = ROOT / 'launch'
SCRIPTS = sorted(LAUNCH.rglob('*.sh'))
JOBSETS = sorted((LAUNCH / 'gke').glob('*_jobset.yaml'))
AGAIN = preemption.Preempted.exit_code


def name(path):
  return str(path.relative_to(LAUNCH))


@pytest.mark.parametrize('script', SCRIPTS, ids=name)
def test_bash_can_parse_it(script):
  done = subprocess.run(['bash', '-n', script], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('script', SCRIPTS, ids=name)
def test_shellcheck_finds_nothing(script):
  if not shutil.which('shellcheck'):
    pytest.skip('shellcheck is not installed (apt-get install shellcheck)')
  command = ['shellcheck', '-x', script]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 0, done.stdout


def edited(path):
  lines = [s for s in path.read_text().splitlines() if '# EDIT' in s]
  return [re.split('[=:]', line.strip())[0] for line in lines]


@pytest.mark.parametrize(
  'path',
  [
    p
    for p in SCRIPTS + JOBSETS
    if p.name == 'train.sh' or p.parent.name == 'gke' or 'work' in p.name
  ],
  ids=name,
)
def test_a_user_edits_two_lines(path):
  assert edited(path) == ['MODEL_DIR', 'STAGE']


# What scripts start. A program that stands in for another writes a line of its
# arguments and ends with the next of its exit codes.


def stand_in(folder, program, codes=(0,)):
  path = folder / program
  path.write_text(
    '#!/usr/bin/env bash\n'
    f'echo "{program} $*" >>"{folder}/calls"\n'
    f'codes=({" ".join(map(str, codes))})\n'
    f'n=$(grep -c "^{program} " "{folder}/calls")\n'
    'exit "${codes[n - 1]}"\n'
  )
  path.chmod(0o755)


def calls(folder):
  return (folder / 'calls').read_text().splitlines()


def launch(script, folder, *flags, **variables):
  own = {k: v for k, v in os.environ.items() if k != 'V2MEOW_DATA_DIR'}
  return subprocess.Popen(
    ['bash', LAUNCH / script, *flags],
    env={**own, 'PATH': f'{folder}:{own["PATH"]}', **variables},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    cwd=ROOT,
  )


@pytest.mark.parametrize(
  ('codes', 'starts'),
  [
    ((AGAIN, AGAIN, 0), 3),
    ((AGAIN, health.Unhealthy.exit_code), 2),
    ((1,), 1),
  ],
)
def test_a_workstation_starts_again_on_75_alone(tmp_path, codes, starts):
  stand_in(tmp_path, 'v2meow', codes)
  job = launch(
    'workstation.sh', tmp_path, '--gin.FSDP=2', MODEL_DIR='a b', STAGE='s.gin'
  )
  job.communicate(timeout=60)
  assert job.returncode == codes[-1]
  assert calls(tmp_path) == starts * [
    'v2meow train --gin_file=runs/train.gin --gin_file=s.gin'
    " --gin.MODEL_DIR='a b' --gin.FSDP=2"
  ]


def test_a_workstation_that_is_told_to_stop_stops_its_trainer(tmp_path):
  trainer = tmp_path / 'v2meow'
  trainer.write_text(
    '#!/usr/bin/env bash\n'
    f"trap 'echo saved >>{tmp_path}/calls; exit {AGAIN}' TERM\n"
    f'echo started >>{tmp_path}/calls\n'
    'for i in {1..300}; do sleep 0.1; done\n'
  )
  trainer.chmod(0o755)
  job = launch('workstation.sh', tmp_path)
  while not (tmp_path / 'calls').exists():
    time.sleep(0.05)
  job.send_signal(signal.SIGTERM)
  job.communicate(timeout=60)
  assert job.returncode == AGAIN
  assert calls(tmp_path) == ['started', 'saved']


@pytest.mark.parametrize(
  ('code', 'requeued'), [(AGAIN, True), (0, False), (66, False), (137, False)]
)
def test_slurm_requeues_on_75_alone(tmp_path, code, requeued):
  stand_in(tmp_path, 'srun', (code,))
  stand_in(tmp_path, 'scontrol')
  job = launch('slurm/train.sh', tmp_path, SLURM_JOB_ID='7')
  job.communicate(timeout=60)
  assert job.returncode == code
  step, *rest = calls(tmp_path)
  assert 'v2meow train --gin_file=runs/train.gin' in step
  assert rest == (['scontrol requeue 7'] if requeued else [])


@pytest.mark.parametrize('code', [AGAIN, 0, 3, 2])
def test_an_array_of_batches_requeues_a_task_on_75_alone(tmp_path, code):
  srun = tmp_path / 'srun'
  srun.write_text('#!/bin/sh\nshift\nexec "$@"\n')
  srun.chmod(0o755)
  stand_in(tmp_path, 'v2meow', (code,))
  stand_in(tmp_path, 'scontrol')
  job = launch(
    'slurm/batch.sh', tmp_path, '--seed', '3', SLURM_JOB_ID='7',
    MANIFEST='a b.csv', OUT='out',
  )  # fmt: skip
  job.communicate(timeout=60)
  assert job.returncode == code
  step, *rest = calls(tmp_path)
  assert step == 'v2meow batch a b.csv -o out --seed 3'
  assert rest == (['scontrol requeue 7'] if code == AGAIN else [])
  assert edited(LAUNCH / 'slurm/batch.sh') == ['MANIFEST', 'OUT']


@pytest.mark.slow
def test_a_dry_array_of_three_makes_what_one_process_makes(tmp_path):
  manifest = small_batch.write_manifest(tmp_path / 'clips', 8, poison=False)
  assert small_batch.run(manifest, tmp_path / 'whole') == job_lib.EXIT_DONE
  programs = {
    'srun': '#!/bin/sh\nshift\nexec "$@"\n',
    'v2meow': (
      f'#!{sys.executable}\n'
      'import sys\n'
      'from tests.fakes import small_batch\n'
      'from v2meow_jax.jobs import shards\n'
      '_, _, manifest, _, out = sys.argv\n'
      'if __name__ == "__main__":\n'
      '  shard = shards.chosen(None)\n'
      '  sys.exit(small_batch.run(manifest, out, shard=shard))\n'
    ),
  }
  for program, text in programs.items():
    (tmp_path / program).write_text(text)
    (tmp_path / program).chmod(0o755)
  out = tmp_path / 'out'
  tasks = [
    launch(
      'slurm/batch.sh', tmp_path, MANIFEST=str(manifest), OUT=str(out),
      PYTHONPATH=str(ROOT), SLURM_JOB_ID=f'7_{task}',
      SLURM_ARRAY_TASK_ID=str(task), SLURM_ARRAY_TASK_COUNT='3',
      SLURM_ARRAY_TASK_MIN='0', SLURM_ARRAY_TASK_MAX='2',
    )
    for task in range(3)
  ]  # fmt: skip
  said = [task.communicate(timeout=120)[0] for task in tasks]
  assert [task.returncode for task in tasks] == [0, 0, 0], said
  assert all(f'shard {task}-of-3: ' in said[task] for task in range(3))
  whole = small_batch.digests(tmp_path / 'whole')
  assert len(whole) == 8 and small_batch.digests(out) == whole
  assert not (out / '.building').exists()


def test_an_indexed_job_is_made_again_unless_a_person_must_look(tmp_path):
  yaml = pytest.importorskip('yaml')
  path = LAUNCH / 'gke/batch_job.yaml'
  assert edited(path) == ['MANIFEST', 'OUT']
  config, job = yaml.safe_load_all(path.read_text())
  check(job, INDEXED_JOB)
  spec = job['spec']
  assert spec['completionMode'] == 'Indexed'
  ignored, wrong, failures = spec['podFailurePolicy']['rules']
  assert ignored['onPodConditions'] == [{'type': 'DisruptionTarget'}]
  assert wrong['onExitCodes']['values'] == [main._EXIT_USER_ERROR]
  # Kubernetes wants a limit for each index where one may fail alone.
  assert failures['action'] == 'FailIndex' and spec['backoffLimitPerIndex']
  assert failures['onExitCodes']['values'] == [job_lib.EXIT_FAILURES]
  (container,) = spec['template']['spec']['containers']
  variables = {e['name']: e['value'] for e in container['env']}
  assert variables == {'V2MEOW_NUM_SHARDS': str(spec['completions'])}
  stand_in(tmp_path, 'v2meow', (AGAIN,))
  done = subprocess.run(
    [*container['command'], *container['args']],
    env={'PATH': f'{tmp_path}:{os.environ["PATH"]}', **config['data']},
  )
  assert done.returncode == AGAIN
  # The shell has made room for the batch, which gets the signals of the pod.
  assert container['args'][0].startswith('exec ')
  (call,) = calls(tmp_path)
  assert call == (
    'v2meow batch gs://my-bucket/clips.jsonl -o gs://my-bucket/music'
  )


@pytest.mark.parametrize('script', ['train', 'batch'])
def test_slurm_tells_the_tasks_and_not_the_shell(script):
  text = (LAUNCH / f'slurm/{script}.sh').read_text()
  directives, _, code = re.split('((?:MODEL_DIR|MANIFEST)=)', text, maxsplit=1)
  # sbatch stops to read them at the first command.
  assert '#SBATCH' not in code
  options = re.findall(r'(--[\w-]+)(?:=(\S+))?', directives)
  assert dict(options)['--signal'] == 'TERM@300'
  assert '--requeue' in dict(options)


@pytest.mark.slow
def test_a_tpu_vm_worker_gets_a_script_that_bash_can_parse(tmp_path):
  if not (ROOT / '.git').exists():
    pytest.skip('it sends a commit, and this is no git repository')
  stand_in(tmp_path, 'gcloud', (0, 0))
  # Copies what is sent.
  gcloud = tmp_path / 'gcloud'
  gcloud.write_text(
    gcloud.read_text() + f'[ "$4" != scp ] || cp "${{@:5:2}}" "{tmp_path}"\n'
  )
  lines = gcloud.read_text().splitlines()
  lines.insert(1, lines.pop())
  gcloud.write_text('\n'.join(lines))
  job = launch(
    'tpu_vm/train.sh', tmp_path, "--gin.DATASET='x y'", TPU='pod', ZONE='z',
    MODEL_DIR='gs://b/runs/one',
  )  # fmt: skip
  output, _ = job.communicate(timeout=60)
  assert job.returncode == 0, output
  scp, ssh = calls(tmp_path)
  assert scp.endswith('pod: --zone=z --worker=all')
  assert ssh.endswith('--zone=z --worker=all')
  worker = tmp_path / 'v2meow_worker.sh'
  assert subprocess.run(['bash', '-n', worker]).returncode == 0
  text = worker.read_text()
  assert f'RestartForceExitStatus={AGAIN}' in text
  assert '--setenv=V2MEOW_DATA_DIR=gs://b/data' in text
  last = text.partition('bin/v2meow"')[2]
  shown = subprocess.run(
    ['bash', '-c', f'printf "%s\\n" {last}'], capture_output=True, text=True
  )
  assert shown.stdout.splitlines() == [
    'train',
    '--gin_file=runs/train.gin',
    '--gin_file=stages/semantic.gin',
    "--gin.MODEL_DIR='gs://b/runs/one'",
    "--gin.DATASET='x y'",
  ]


# JobSet v1alpha2, the fields in use; a list has elements of one kind. From its
# CustomResourceDefinition: https://github.com/kubernetes-sigs/jobset
EXIT_CODES = {'operator': str, 'values': [int]}
CONTAINER = {
  'name': str,
  'image': str,
  'command': [str],
  'args': [str],
  'envFrom': [{'configMapRef': {'name': str}}],
  'env': [{'name': str, 'value?': str, 'valueFrom?': {
    'fieldRef': {'fieldPath': str}}}],
  'volumeMounts?': [{'name': str, 'mountPath': str}],
  'resources': {'limits': {str: int}},
}  # fmt: skip
POD = {
  'restartPolicy': str,
  'terminationGracePeriodSeconds': int,
  'nodeSelector': {str: str},
  'containers': [CONTAINER],
  'volumes?': [{'name': str, 'emptyDir': {'medium': str}}],
}
JOB = {
  'parallelism': int,
  'completions': int,
  'backoffLimit': int,
  'podFailurePolicy': {'rules': [{'action': str, 'onExitCodes': EXIT_CODES}]},
  'template': {'spec': POD},
}
INDEXED_JOB = {
  'apiVersion': str,
  'kind': str,
  'metadata': {'name': str},
  'spec': {
    'completionMode': str,
    'completions': int,
    'parallelism': int,
    'backoffLimitPerIndex': int,
    'podFailurePolicy': {'rules': [{
      'action': str,
      'onExitCodes?': EXIT_CODES,
      'onPodConditions?': [{'type': str}],
    }]},
    'template': {'spec': POD},
  },
}  # fmt: skip
RULE = {'name': str, 'action': str, 'onJobFailureReasons': [str]}
JOBSET = {
  'apiVersion': str,
  'kind': str,
  'metadata': {'name': str},
  'spec': {
    'coordinator?': {'replicatedJob': str, 'jobIndex': int, 'podIndex': int},
    'failurePolicy': {'maxRestarts': int, 'rules': [RULE]},
    'replicatedJobs': [{'name': str, 'template': {'spec': JOB}}],
  },
}


def check(value, schema, where=''):
  """Raises AssertionError where a value is not as a schema has it."""
  if isinstance(schema, list):
    assert isinstance(value, list) and value, where
    for i, element in enumerate(value):
      check(element, schema[0], f'{where}[{i}]')
  elif isinstance(schema, dict):
    assert isinstance(value, dict), where
    if str in schema:
      schema = dict.fromkeys(value, schema[str])
    known = {key.rstrip('?') for key in schema}
    needed = {key for key in schema if not key.endswith('?')}
    assert needed <= set(value) <= known, (where, set(value) ^ needed)
    for key, element in value.items():
      check(element, schema.get(key, schema.get(f'{key}?')), f'{where}.{key}')
  else:
    assert type(value) is schema, (where, value)


@pytest.fixture(params=JOBSETS, ids=name)
def documents(request):
  yaml = pytest.importorskip('yaml')
  return list(yaml.safe_load_all(request.param.read_text()))


def test_a_jobset_has_the_fields_of_its_kind(documents):
  config, jobset = documents
  check(jobset, JOBSET)
  assert jobset['apiVersion'] == 'jobset.x-k8s.io/v1alpha2'
  check(config, {
    'apiVersion': str, 'kind': str, 'metadata': {'name': str},
    'data': {'MODEL_DIR': str, 'STAGE': str},
  })  # fmt: skip
  with pytest.raises(AssertionError, match='maxRestart'):
    wrong = {'maxRestart': 1, 'rules': [{}]}
    check(
      {**jobset, 'spec': {**jobset['spec'], 'failurePolicy': wrong}}, JOBSET
    )


def test_a_jobset_starts_again_unless_a_person_must_look(documents):
  config, jobset = documents
  job = jobset['spec']['replicatedJobs'][0]['template']['spec']
  (rule,) = job['podFailurePolicy']['rules']
  for_people = [main._EXIT_USER_ERROR, health.Unhealthy.exit_code]
  assert rule == {
    'action': 'FailJob',
    'onExitCodes': {'operator': 'In', 'values': for_people},
  }
  (reaction,) = jobset['spec']['failurePolicy']['rules']
  assert reaction['action'] == 'FailJobSet'
  assert reaction['onJobFailureReasons'] == ['PodFailurePolicy']
  # A policy for pods wants them never to restart by themselves, and a job of
  # several processes restarts as a whole.
  pod = job['template']['spec']
  assert pod['restartPolicy'] == 'Never' and job['backoffLimit'] == 0
  assert job['parallelism'] == job['completions']
  (container,) = pod['containers']
  source = container['envFrom'][0]['configMapRef']['name']
  assert source == config['metadata']['name']
  told = {e['name']: e.get('value') for e in container['env']}
  if told['V2MEOW_COORDINATOR'] != 'auto':
    assert told['V2MEOW_NUM_PROCESSES'] == str(job['parallelism'])


def test_a_jobset_starts_the_trainer_on_its_records(documents, tmp_path):
  config, jobset = documents
  job = jobset['spec']['replicatedJobs'][0]['template']['spec']
  (container,) = job['template']['spec']['containers']
  stand_in(tmp_path, 'v2meow')
  (tmp_path / 'v2meow').write_text(
    '#!/bin/sh\necho "$V2MEOW_DATA_DIR" "$@" $V2MEOW_PROCESS_ID\n'
  )
  done = subprocess.run(
    [*container['command'], *container['args']],
    env={
      'PATH': f'{tmp_path}:{os.environ["PATH"]}',
      'JOB_COMPLETION_INDEX': '1',
      **config['data'],
    },
    capture_output=True,
    text=True,
  )
  assert done.stdout.startswith(
    'gs://my-bucket/data train --gin_file=runs/train.gin'
    " --gin_file=stages/semantic.gin --gin.MODEL_DIR='gs://my-bucket/runs/"
  ), done.stderr


RECIPE = """
from __gin__ import dynamic_registration
import __main__ as planted
from v2meow_jax.training import loop

MODEL = @planted.LinearModel()
TRAIN_BATCHES = @planted.batches
EVAL_BATCHES = @planted.batches
TRAIN_STEPS = 60
LEARNING_RATE = 0.05
WARMUP_STEPS = 5
planted.batches.seconds = 0.1
loop.train:
  tensorboard = False
  log_every = 5
  num_eval_batches = 1
"""


@pytest.mark.slow
def test_slurm_dry_runs_two_processes_that_stop_and_start_again(tmp_path):
  (tmp_path / 'planted.gin').write_text(RECIPE)
  trainer = tmp_path / 'v2meow'
  trainer.write_text(
    '#!/usr/bin/env bash\n'
    f'echo "$$ $SLURM_PROCID" >>"{tmp_path}/calls"\n'
    f'shift\nexec {sys.executable} -m tests.fakes.planted_model "$@"\n'
  )
  trainer.chmod(0o755)
  run = tmp_path / 'run'
  job = launch(
    'slurm/train.sh', tmp_path, '--gin.SEED=1', DRY='1', MODEL_DIR=str(run),
    STAGE=str(tmp_path / 'planted.gin'),
  )  # fmt: skip

  def steps():
    path = run / 'metrics.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    told = map(json.loads, lines)
    return [m['step'] for m in told if 'train/loss' in m]

  while not steps():
    assert job.poll() is None, job.communicate()[0]
    time.sleep(0.1)
  os.kill(int(calls(tmp_path)[-1].split()[0]), signal.SIGTERM)
  output, _ = job.communicate(timeout=240)
  assert job.returncode == 0, output
  processes = [line.split()[1] for line in calls(tmp_path)]
  assert sorted(processes[:2]) == sorted(processes[2:]) == ['0', '1']
  assert output.count('asked to stop') == 2
  assert steps()[-1] == 60 and len(set(steps())) == len(steps())
