"""Serves a study over HTTP: the page, its media and the answers."""

# FastAPI evaluates annotations of handlers, and cannot resolve names inside
# a function from text: no `annotations` of the future here.

import asyncio
import collections
import json
import os
import pathlib
import time
from typing import Any

from v2meow_jax.study import pages
from v2meow_jax.study import protocol
from v2meow_jax.study import storage

_COOKIE = 'participant'
_COOKIE_SECONDS = 90 * 24 * 3600
_MAX_BODY_BYTES = 4096  # ours: an answer has about 100.
_BODY_SECONDS = 10.0
_MAX_JOINS = 60  # ours: a minute; more is a script, not a mailing list.
_MAX_CONNECTIONS = 500
_HEADERS = {
  'Content-Security-Policy': pages.POLICY + "; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-store',
}


class _JoinLimit:
  """Limits new participants to `_MAX_JOINS` a minute in all."""

  def __init__(self):
    self._times = collections.deque(maxlen=_MAX_JOINS)

  def allows(self, now: float) -> bool:
    """Checks whether one more may join, and counts it if so."""
    full = len(self._times) == _MAX_JOINS
    if full and now - self._times[0] < 60.0:
      return False
    self._times.append(now)
    return True


def create_app(site: str | os.PathLike, *, max_participants: int = 1000):
  """Makes the application, for any ASGI server.

  Args:
    site: Folder that `study build` made.
    max_participants: Largest number of participants, see
      `storage.Storage.join`.

  Returns:
    A FastAPI application.

  Raises:
    StudyError: The folder is no study, or its answers are of another.
    ImportError: The extra `study` is not installed.
  """
  pages.require_extra()
  import fastapi  # pylint: disable=g-import-not-at-top
  from fastapi import concurrency  # pylint: disable=g-import-not-at-top
  from fastapi import responses  # pylint: disable=g-import-not-at-top

  site = pathlib.Path(os.path.abspath(site))
  study = protocol.load(site)
  texts = pages.read_texts(site)
  consent = pages.consent_digest(texts)
  page = pages.render(study, texts)
  assets = {name: pages.asset(name) for name in pages.ASSETS}
  answers = storage.Storage(site / storage.FILE_NAME, study)
  joins = _JoinLimit()
  # The interactive documentation would load scripts of other hosts.
  app = fastapi.FastAPI(
    docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
  )

  def problem(status: int, text: str, **headers: str):
    return fastapi.HTTPException(status, text, headers or None)

  async def body(request: fastapi.Request) -> dict[str, Any]:
    if not request.headers.get('content-type', '').startswith(
      'application/json'
    ):
      raise problem(415, 'wanted application/json')
    data = b''
    try:
      async with asyncio.timeout(_BODY_SECONDS):
        async for chunk in request.stream():
          data += chunk
          if len(data) > _MAX_BODY_BYTES:
            raise problem(413, f'larger than {_MAX_BODY_BYTES} bytes')
      fields = json.loads(data)
    except TimeoutError as error:
      raise problem(408, 'too slow') from error
    except (ValueError, RecursionError) as error:
      raise problem(400, 'not json') from error
    if not isinstance(fields, dict):
      raise problem(400, 'wanted an object')
    return fields

  def state(token: str, progress: storage.Progress | None) -> dict[str, Any]:
    if progress is None:
      return {'joined': False}
    trial = progress.trial
    return {
      'joined': True,
      'code': progress.code,
      'link': f'continue/{token}',
      'position': progress.position,
      'total': progress.total,
      'trial': None if trial is None else pages.shown(study, trial),
    }

  def remember(request: fastapi.Request, response, token: str) -> None:
    response.set_cookie(
      _COOKIE,
      token,
      max_age=_COOKIE_SECONDS,
      path=request.scope.get('root_path') or '/',
      httponly=True,
      samesite='lax',
      secure=request.url.scheme == 'https',
    )

  @app.middleware('http')
  async def _add_headers(request: fastapi.Request, call_next):
    response = await call_next(request)
    for name, value in _HEADERS.items():
      response.headers.setdefault(name, value)
    return response

  @app.get('/')
  def _page():
    return responses.HTMLResponse(page)

  @app.get('/media/{name}')
  def _media(name: str):
    token = name.removesuffix('.mp4')
    # Only files that the study lists are read.
    if token not in study.files or name == token:
      raise problem(404, 'no such clip')
    return responses.FileResponse(
      site / 'media' / f'{token}.mp4',
      media_type='video/mp4',
      headers={'Cache-Control': 'private, max-age=86400'},
    )

  @app.get('/state')
  def _state(request: fastapi.Request):
    token = request.cookies.get(_COOKIE, '')
    return state(token, answers.progress(token))

  @app.get('/continue/{token}')
  def _continue(request: fastapi.Request, token: str):
    if answers.progress(token) is None:
      raise problem(404, 'This link belongs to no participant.')
    response = responses.RedirectResponse('..', 303)
    remember(request, response, token)
    return response

  @app.post('/join')
  async def _join(request: fastapi.Request, response: fastapi.Response):
    fields = await body(request)
    if fields != {'consent': consent}:
      raise problem(409, 'The text has changed; load the page again.')
    token = request.cookies.get(_COOKIE, '')
    known = await concurrency.run_in_threadpool(answers.progress, token)
    if known is None:
      if not joins.allows(time.monotonic()):
        raise problem(
          429,
          'Many are joining; try again in a minute.',
          **{'Retry-After': '60'},
        )
      try:
        token = await concurrency.run_in_threadpool(
          lambda: answers.join(consent, max_participants=max_participants)
        )
      except storage.StudyFull as error:
        raise problem(
          503, 'The study has all participants that it needs; thank you.'
        ) from error
      known = await concurrency.run_in_threadpool(answers.progress, token)
    remember(request, response, token)
    return state(token, known)

  @app.post('/answer')
  async def _answer(request: fastapi.Request):
    fields = await body(request)
    position = fields.pop('position', None)
    if type(position) is not int:
      raise problem(422, 'position is a whole number')
    token = request.cookies.get(_COOKIE, '')
    try:
      progress = await concurrency.run_in_threadpool(
        answers.answer, token, position, fields
      )
    except storage.NotYetAsked as error:
      raise problem(409, str(error)) from error
    except protocol.StudyError as error:
      raise problem(422, str(error)) from error
    if progress is None:
      raise problem(401, 'This browser has not joined the study.')
    return state(token, progress)

  @app.get('/{name}')
  def _asset(name: str):
    if name not in assets:
      raise problem(404, 'no such page')
    return fastapi.Response(assets[name], media_type=pages.ASSETS[name])

  return app


def serve(
  site: str | os.PathLike, *, host: str, port: int, max_participants: int
) -> None:
  """Serves a study until it is interrupted."""
  app = create_app(site, max_participants=max_participants)
  import uvicorn  # pylint: disable=g-import-not-at-top

  uvicorn.run(
    app,
    host=host,
    port=port,
    # Logs would hold addresses and links with tokens.
    access_log=False,
    log_level='warning',
    server_header=False,
    limit_concurrency=_MAX_CONNECTIONS,
    timeout_keep_alive=30,
  )
