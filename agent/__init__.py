"""The node agent: takes token-verified uploads onto a storage node's disk and never loses one.

`wsgi` is the web side that gunicorn runs behind nginx; `worker` is its companion in a service of
its own. A byte travels body -> pipeline -> staging -> commit; everything before the first byte is
in `preflight` and `admission`.
"""
