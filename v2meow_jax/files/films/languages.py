"""Names languages as QuickTime does, which knows a hundred by numbers.

FFmpeg finds a number by one name alone, and writes "not known" for any other of
the same language, such as `deu` for its `ger`.
"""

from v2meow_jax.files.films import containers

# Codes of ISO 639-2 -> FFmpeg's names of the numbers of QuickTime.
_QUICKTIME = {
  **{'cze': 'ces', 'cym': 'wel', 'deu': 'ger', 'ell': 'gre'},
  **{'eus': 'baq', 'bod': 'tib', 'fao': 'fo ', 'fas': 'per', 'fre': 'fra'},
  **{'gle': 'iri', 'hrv': 'hr ', 'scr': 'hr ', 'hye': 'arm', 'isl': 'ice'},
  **{'kat': 'geo', 'mkd': 'mac', 'msa': 'may', 'mya': 'bur', 'nld': 'dut'},
  **{'nob': 'nor', 'pan': 'pa ', 'rum': 'ron', 'slo': 'slk', 'sqi': 'alb'},
  **{'srp': 'sr ', 'scc': 'sr ', 'swe': 'sve', 'zho': 'chi'},
}


def name_in(container: containers.Container, language: str) -> str:
  """Name by which a container knows a language.

  >>> name_in(containers.MOV, 'deu'), name_in(containers.MP4, 'deu')
  ('ger', 'deu')
  """
  return common_name(language) if container is containers.MOV else language


def common_name(language: str) -> str:
  """One name for all the names of a language.

  >>> common_name('deu') == common_name('ger')
  True
  """
  return _QUICKTIME.get(language, language)
