"""A page in the browser that shows a network at work: its server in Python, and the page itself in page/.

`Server` in server.py serves a `Viewer`, which knows the network and answers; the page draws what it is told.
"""

from importlib.util import find_spec

if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
    raise ImportError(f"no {missing[0]}: the page needs pip install 'tinynet[view]'")
