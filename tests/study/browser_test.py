"""The pages in Chromium: play, answer, reload, two at once, a killed server."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.fakes import study_sites
from v2meow_jax.study import answers
from v2meow_jax.study import pages
from v2meow_jax.study import protocol
from v2meow_jax.study import storage

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
FLAGS = (
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
)
CLIP_SECONDS = 0.5  # Each of which is waited for.
SERVE = 'import sys; from v2meow_jax.cli import main; sys.exit(main.main(sys.argv[1:]))'
PHONE = {
  'viewport': {'width': 390, 'height': 844},
  'is_mobile': True,
  'has_touch': True,
}


@pytest.fixture(scope='module')
def chromium():
  sync_api = pytest.importorskip('playwright.sync_api')
  if CHROMIUM is None:
    pytest.skip('no chromium on the path')
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=CHROMIUM, args=list(FLAGS)
    )
    yield browser
    browser.close()


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  root = tmp_path_factory.mktemp('study')
  return study_sites.build(
    root, num_comparisons=3, num_checks=1, seconds=CLIP_SECONDS
  )[0]


@pytest.fixture
def site(made, tmp_path):
  return shutil.copytree(made, tmp_path / 'site')


class Server:
  """`v2meow study serve` in a process of its own."""

  def __init__(self, site, root):
    with socket.socket() as free:
      free.bind(('127.0.0.1', 0))
      self.port = free.getsockname()[1]
    self.url = f'http://127.0.0.1:{self.port}/'
    self.site, self.root = site, root
    self.start()

  def start(self):
    command = ('study', 'serve', str(self.site), '--port', str(self.port))
    self.process = subprocess.Popen(
      [sys.executable, '-c', SERVE, *command], cwd=self.root
    )
    for _ in range(600):
      with contextlib.suppress(OSError):
        urllib.request.urlopen(self.url).close()
        return
      assert self.process.poll() is None, 'the server ended'
      time.sleep(0.1)
    raise AssertionError('the server does not answer')

  def kill(self):
    self.process.send_signal(signal.SIGKILL)
    self.process.wait()


@pytest.fixture
def server(site, root):
  server = Server(site, root)
  yield server
  server.kill()


@pytest.fixture
def browse(chromium):
  """Opens pages, each in a browser of its own; nothing may go wrong there."""
  errors, contexts = [], []

  def open_page(url, **options):
    context = chromium.new_context(**options)
    context.set_default_timeout(60_000)
    contexts.append(context)
    page = context.new_page()
    page.on('pageerror', lambda e: errors.append(str(e)))
    page.on(
      'request',
      lambda r: (
        r.url.startswith((url.rpartition('/')[0], 'data:', 'blob:'))
        or errors.append(f'asked for {r.url}')
      ),
    )
    page.goto(url)
    return page

  yield open_page
  for context in contexts:
    context.close()
  assert errors == []


def slow_down(page, path, seconds=1):
  """Answers of the server at this path come this much later."""

  def wait(route):
    page.wait_for_timeout(1000 * seconds)
    route.continue_()

  page.route(f'**/{path}', wait)


def play_slowly(page):
  """A clip of this page is not over before the test looks at it."""
  page.locator('video').evaluate_all(
    'videos => videos.forEach((v) => { v.playbackRate = 0.1; })'
  )


def wait_until_heard(page, letter):
  clip = page.get_by_label(f'Clip {letter}', exact=True).element_handle()
  page.wait_for_function('v => v.played.length && v.currentTime > 0', arg=clip)


def playing(page):
  """Letters of the clips that play."""
  return [
    letter
    for letter in 'AB'
    if not page.get_by_label(f'Clip {letter}', exact=True).evaluate(
      'v => v.paused'
    )
  ]


def join(page):
  page.locator('#agree').check()
  page.get_by_role('button', name='Take part').click()
  page.get_by_role('button', name='Start').click()
  wait_for(page, 1)


def wait_for(page, number):
  page.get_by_role('heading', name=f'Comparison {number} of').wait_for()


def play(page):
  for letter in 'AB':
    page.get_by_role('button', name=f'Play {letter}').click()
    page.get_by_role('button', name=f'Replay {letter}').wait_for()


def choose(page, value=1):
  for question in protocol.QUESTIONS:
    box = page.locator(f'input[name={question}][value="{value}"]')
    box.locator('..').click()


def answer(page, value=1):
  play(page)
  choose(page, value)
  page.get_by_role('button', name='Next').click()


def raters(site):
  return storage.Storage(site / storage.FILE_NAME, protocol.load(site)).raters()


def given(site):
  return sorted([a.relevance for a in r.answers] for r in raters(site))


def test_a_participant_plays_answers_reloads_and_goes_on(server, browse, site):
  page = browse(server.url)
  join(page)
  button = page.get_by_role('radio').first
  assert button.is_disabled()
  page.get_by_role('button', name='Play A').click()
  page.get_by_role('button', name='Replay A').wait_for()
  assert button.is_disabled()
  page.get_by_role('button', name='Play B').click()
  page.get_by_role('button', name='Replay B').wait_for()
  assert button.is_enabled()
  choose(page, -2)
  page.get_by_role('button', name='Next').click()
  wait_for(page, 2)
  page.reload()
  wait_for(page, 2)
  for number in (2, 3, 4):
    wait_for(page, number)
    answer(page)
  page.get_by_role('heading', name='You have finished').wait_for()
  code = page.locator('#code').inner_text()
  page.reload()
  page.get_by_role('heading', name='You have finished').wait_for()
  (rater,) = raters(site)
  assert (rater.code, given(site)) == (code, [[-2, 1, 1, 1]])
  assert min(min(a.played) for a in rater.answers) >= 0.9 * CLIP_SECONDS


def test_only_one_clip_plays_at_a_time(server, browse):
  page = browse(server.url)
  join(page)
  play_slowly(page)
  page.get_by_role('button', name='Play A').click()
  page.get_by_role('button', name='Pause A').wait_for()
  wait_until_heard(page, 'A')
  assert playing(page) == ['A']
  page.get_by_role('button', name='Play B').click()
  page.get_by_role('button', name='Pause B').wait_for()
  wait_until_heard(page, 'B')
  page.get_by_role('button', name='Go on with A').wait_for()
  assert playing(page) == ['B']


def test_a_press_on_the_picture_plays_and_pauses(server, browse):
  page = browse(server.url)
  join(page)
  play_slowly(page)
  page.get_by_label('Clip B', exact=True).click()
  page.get_by_role('button', name='Pause B').wait_for()
  wait_until_heard(page, 'B')
  assert playing(page) == ['B']
  page.get_by_label('Clip B', exact=True).click()
  page.get_by_role('button', name='Go on with B').wait_for()
  assert playing(page) == []


@pytest.mark.parametrize('options', [{}, PHONE], ids=['desktop', 'phone'])
def test_a_picture_fills_its_frame(server, browse, options):
  page = browse(server.url, **options)
  join(page)
  box = page.locator('video').first.bounding_box()
  assert box is not None
  assert box['width'] / box['height'] == pytest.approx(16 / 9, rel=0.005)


def test_two_answer_at_once(server, browse, site):
  one, two = browse(server.url), browse(server.url)
  join(one)
  join(two)
  for page in (one, two):
    play(page)
  choose(one, -1)
  choose(two, 2)
  for page in (one, two):
    page.get_by_role('button', name='Next').dblclick()
  for page in (one, two):
    wait_for(page, 2)
  assert given(site) == [[-1], [2]]


def test_a_killed_server_loses_nothing_and_the_page_goes_on(
  server, browse, site
):
  page = browse(server.url)
  join(page)
  answer(page, 2)
  wait_for(page, 2)
  play(page)
  choose(page, -1)
  server.kill()
  page.get_by_role('button', name='Next').click()
  page.get_by_role('alert').filter(has_text='nothing is lost').wait_for()
  assert given(site) == [[2]]
  server.start()
  page.get_by_role('button', name='Next').click()
  wait_for(page, 3)
  assert given(site) == [[2, -1]]


def test_the_keyboard_is_enough(server, browse, site):
  page = browse(server.url)

  def press_on(label, key='Enter'):
    """Goes to what has this label by Tab alone, and presses a key there."""
    for _ in range(20):
      page.keyboard.press('Tab')
      focused = page.evaluate(
        '() => { const e = document.activeElement;'
        ' return [e.innerText || e.parentElement.innerText,'
        ' getComputedStyle(e).outlineWidth,'
        ' e.nextElementSibling &&'
        ' getComputedStyle(e.nextElementSibling).outlineWidth]; }'
      )
      if label in focused[0]:
        assert '3px' in focused[1:], 'the focus is not seen'
        page.keyboard.press(key)
        return
    raise AssertionError(f'Tab does not lead to {label!r}')

  def wait_for_focus(heading):
    page.get_by_role('heading', name=heading).and_(
      page.locator(':focus')
    ).wait_for()

  slow_down(page, 'join')
  wait_for_focus('About this study')
  press_on('I agree', 'Space')
  press_on('Take part')
  wait_for_focus('How it works')
  press_on('Start')
  wait_for(page, 1)
  for letter in 'AB':
    press_on(f'Play {letter}')
    page.get_by_role('button', name=f'Replay {letter}').wait_for()
  press_on('strongly', 'Space')
  page.keyboard.press('ArrowRight')
  press_on('strongly', 'Space')
  page.keyboard.press('ArrowLeft')
  press_on('Next')
  wait_for(page, 2)
  ((first,),) = [r.answers for r in raters(site)]
  assert (first.relevance, first.preference) == (-1, 2)


def test_a_phone_shows_all_without_scrolling_sideways(server, browse):
  page = browse(server.url, **PHONE)
  join(page)
  play(page)
  choose(page)
  width = '() => document.documentElement.scrollWidth'
  assert page.evaluate(width) == 390
  for part in page.locator('button:visible, .scale label, video').all():
    box = part.bounding_box()
    assert box is not None
    assert box['x'] >= 0
    assert box['x'] + box['width'] <= 390
    assert box['height'] >= 44
  page.get_by_role('button', name='Next').tap()
  wait_for(page, 2)


def test_everything_that_can_be_pressed_has_a_name(server, browse):
  page = browse(server.url)
  join(page)
  play(page)
  for letter in 'AB':
    assert page.get_by_label(f'Clip {letter}', exact=True).count() == 1
  for question in ('goes best with the video', 'would you rather hear'):
    group = page.get_by_role('group', name=question)
    names = ('A strongly', 'A slightly', 'No preference')
    for name in (*names, 'B slightly', 'B strongly'):
      assert group.get_by_role('radio', name=name).count() == 1
  assert page.get_by_role('progressbar', name='Comparisons answered').count()


def test_a_link_goes_on_in_another_browser(server, browse, site):
  page = browse(server.url)
  join(page)
  answer(page)
  wait_for(page, 2)
  page.get_by_text('Continue later').click()
  link = page.get_by_role('link', name='your link').evaluate('a => a.href')
  other = browse(server.url)
  other.goto(link)
  wait_for(other, 2)
  answer(other, -1)
  wait_for(other, 3)
  assert given(site) == [[1, -1]]  # One participant, who is the same.


@pytest.mark.parametrize('home', ['disk', 'web'])
def test_a_copy_keeps_answers_and_saves_them_as_a_file(
  browse, site, tmp_path, home
):
  out = pages.export(site, tmp_path / 'out').parent
  with contextlib.ExitStack() as stack:
    url = f'{out.as_uri()}/index.html'
    if home == 'web':
      url = stack.enter_context(web_host(out))
    start = time.monotonic()
    page = browse(f'{url}?p=3')
    join(page)
    answer(page, -1)
    wait_for(page, 2)
    page.reload()
    for number in (2, 3, 4):
      wait_for(page, number)
      answer(page)
    with page.expect_download() as download:
      page.get_by_role('button', name='Save my answers').click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
  took = time.monotonic() - start
  fields = json.loads(path.read_text())
  assert fields['booklet'] == 2
  assert path.name == f'answers_{fields["code"]}.json'
  rater = answers.read_file(
    path, protocol.load(site), pages.read_booklets(site)
  )
  assert [a.relevance for a in rater.answers] == [-1, 1, 1, 1]
  # Two clips are heard whole, within what the test took.
  assert min(a.seconds for a in rater.answers) >= 0.9 * 2 * CLIP_SECONDS
  assert sum(a.seconds for a in rater.answers) <= took


@contextlib.contextmanager
def web_host(folder):
  """A plain web server over a folder."""
  code = (
    'import http.server as s, functools, sys;'
    'h = s.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial('
    's.SimpleHTTPRequestHandler, directory=sys.argv[1]));'
    'print(h.server_port, flush=True); h.serve_forever()'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', code, str(folder)],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
    env=dict(os.environ),
  )
  assert process.stdout is not None
  try:
    yield f'http://127.0.0.1:{process.stdout.readline().strip()}/index.html'
  finally:
    process.kill()
    process.wait()
