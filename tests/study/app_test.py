"""The server: answers are kept once, strangers and strange input are refused."""

import dataclasses
import json

import pytest

from tests.fakes import study_sites
from v2meow_jax.study import app
from v2meow_jax.study import protocol

pytestmark = pytest.mark.slow

testclient = pytest.importorskip('fastapi.testclient')
pytest.importorskip('httpx')


@pytest.fixture
def make(site):
  """Makes clients of one server, each a browser of its own."""
  study = dataclasses.replace(
    protocol.load(site), num_comparisons=2, num_checks=1
  )
  (site / 'study.json').write_text(protocol.to_json(study))
  served = app.create_app(site)
  return lambda: testclient.TestClient(served, follow_redirects=False)


@pytest.fixture
def client(make):
  return make()


def consent(client):
  page = client.get('/').text
  return page.partition('data-consent="')[2].partition('"')[0]


def join(client):
  reply = client.post('/join', json={'consent': consent(client)})
  assert reply.status_code == 200, reply.text
  return reply.json()


def answer(client, number, value=1, **changes):
  fields = study_sites.fields(value, value, (1.0, 1.0))
  sent = {'position': number, **fields, **changes}
  return client.post('/answer', json=sent)


def test_a_participant_answers_all_and_comes_back_where_they_stopped(client):
  assert client.get('/state').json() == {'joined': False}
  state = join(client)
  assert (state['position'], state['total']) == (0, 3)
  for position in range(3):
    assert client.get('/state').json() == state
    state = answer(client, position).json()
  assert state['trial'] is None
  assert client.get('/state').json() == state


def test_a_double_click_is_one_answer(client):
  join(client)
  replies = [answer(client, 0, value).json() for value in (1, 1, -2)]
  assert replies[0] == replies[1] == replies[2]
  assert replies[0]['position'] == 1


def test_joining_twice_is_joining_once(client):
  first = join(client)
  assert join(client)['code'] == first['code']


def test_two_browsers_are_two_participants(make):
  one, two = make(), make()
  assert join(one)['code'] != join(two)['code']
  answer(one, 0)
  assert one.get('/state').json()['position'] == 1
  assert two.get('/state').json()['position'] == 0


def test_the_link_goes_on_in_another_browser(make):
  one, two = make(), make()
  link = join(one)['link']
  answer(one, 0)
  reply = two.get(f'/{link}')
  assert (reply.status_code, reply.headers['location']) == (303, '..')
  assert two.get('/state').json()['position'] == 1
  assert two.get('/continue/somebody').status_code == 404


def test_answers_outlive_the_server(site, client):
  code = join(client)['code']
  answer(client, 0)
  again = testclient.TestClient(app.create_app(site))
  again.cookies = client.cookies
  state = again.get('/state').json()
  assert (state['code'], state['position']) == (code, 1)


def test_one_cookie_that_scripts_cannot_read(client):
  reply = client.post('/join', json={'consent': consent(client)})
  (cookie,) = reply.headers.get_list('set-cookie')
  assert 'HttpOnly' in cookie
  assert 'SameSite=lax' in cookie
  assert 'Secure' not in cookie  # Over plain http, as here.
  assert client.get('/').headers.get('set-cookie') is None


@pytest.mark.parametrize('path', ['/', '/study.css', '/study.js', '/state'])
def test_every_reply_forbids_what_the_page_does_not_need(client, path):
  headers = client.get(path).headers
  assert "default-src 'none'" in headers['content-security-policy']
  assert headers['x-content-type-options'] == 'nosniff'
  assert headers['referrer-policy'] == 'no-referrer'
  assert headers['cache-control'] == 'no-store'


def test_nothing_that_is_served_says_who_made_what(client):
  texts = [client.get(p).text for p in ('/', '/study.js', '/study.css')]
  texts.append(json.dumps(join(client)))
  for position in range(3):
    texts.append(answer(client, position).text)
  for text in texts:
    for word in (*study_sites.SYSTEMS, 'clip_0', 'clip_1', protocol.SILENCE):
      assert word not in text


def test_clips_are_served_in_parts(client, site):
  trial = join(client)['trial']
  whole = (site / trial['left']).read_bytes()
  reply = client.get(f'/{trial["left"]}', headers={'Range': 'bytes=10-19'})
  assert (reply.status_code, reply.content) == (206, whole[10:20])
  assert reply.headers['content-type'] == 'video/mp4'
  assert client.get(f'/{trial["right"]}').status_code == 200


@pytest.mark.parametrize(
  'path',
  [
    '/study.json',
    '/answers.sqlite',
    '/media/',
    '/media/x.mp4',
    '/media/..%2Fstudy.json',
    '/media/%2E%2E/study.json',
    '/pages/consent.txt',
    '/docs',
    '/openapi.json',
  ],
)
def test_nothing_else_is_served(client, path):
  assert client.get(path).status_code == 404


def test_a_stranger_cannot_answer(client):
  assert answer(client, 0).status_code == 401
  client.cookies.set('participant', 'x' * 5000)
  assert client.get('/state').json() == {'joined': False}


@pytest.mark.parametrize(
  'changes',
  [
    {'relevance': 3},
    {'preference': '1'},
    {'played': [1.0, 0.2]},
    {'position': None},
    {'position': True},
    {'more': 1},
  ],
)
def test_what_is_no_answer_is_refused(client, changes):
  join(client)
  reply = answer(client, 0, **changes)
  assert reply.status_code == 422
  assert client.get('/state').json()['position'] == 0


@pytest.mark.parametrize('position', [1, -1, 99, 10**30])
def test_what_was_not_asked_is_refused(client, position):
  join(client)
  assert answer(client, position).status_code == 409


@pytest.mark.parametrize(
  'content,kind,status',
  [
    (b'{', 'application/json', 400),
    (b'[' * 4000, 'application/json', 400),
    (b'[]', 'application/json', 400),
    (b'\xff', 'application/json', 400),
    (b'{}' + b' ' * 5000, 'application/json', 413),
    (b'{}', 'text/plain', 415),
    (b'consent=yes', 'application/x-www-form-urlencoded', 415),
  ],
)
@pytest.mark.parametrize('path', ['/join', '/answer'])
def test_a_strange_body_is_refused(client, path, content, kind, status):
  reply = client.post(path, content=content, headers={'Content-Type': kind})
  assert reply.status_code == status


def test_nobody_joins_without_the_consent_that_is_shown(client):
  for given in ({}, {'consent': ''}, {'consent': None}, {'yes': 1}):
    assert client.post('/join', json=given).status_code == 409


def test_a_rush_is_slowed_down(site, monkeypatch):
  monkeypatch.setattr(app, '_MAX_JOINS', 2)
  served = app.create_app(site)
  replies = []
  for _ in range(3):
    client = testclient.TestClient(served)
    given = {'consent': consent(client)}
    replies.append(client.post('/join', json=given))
  assert [r.status_code for r in replies] == [200, 200, 429]
  assert replies[2].headers['retry-after'] == '60'


def test_a_minute_later_others_may_join(monkeypatch):
  monkeypatch.setattr(app, '_MAX_JOINS', 2)
  limit = app._JoinLimit()
  assert [limit.allows(t) for t in (0, 30, 59, 60, 61, 90)] == [
    *(True, True, False),
    *(True, False, True),
  ]


def test_a_full_study_says_so(site):
  full = app.create_app(site, max_participants=1)
  join(testclient.TestClient(full))
  late = testclient.TestClient(full)
  reply = late.post('/join', json={'consent': consent(late)})
  assert reply.status_code == 503
  assert 'all participants' in reply.json()['detail']


def test_a_folder_that_is_no_study_is_refused(tmp_path):
  with pytest.raises(protocol.StudyError, match='no such file'):
    app.create_app(tmp_path)


def test_without_its_extra_the_command_says_what_to_install(site, monkeypatch):
  find_spec = app.pages.importlib.util.find_spec
  monkeypatch.setattr(
    app.pages.importlib.util,
    'find_spec',
    lambda name: None if name == 'uvicorn' else find_spec(name),
  )
  with pytest.raises(ImportError, match=r'uvicorn.*\.\[study\]'):
    app.create_app(site)
