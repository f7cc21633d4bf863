"""What gunicorn loads: `control.wsgi:application`. Importing it reads the settings."""

from __future__ import annotations

import gc
import sys

from control import settings
from control.app import create_app
from control.db.database import Database
from portside import journal
from portside.web import server_errors

# A thread takes a new snapshot each second, 15 ms of work with a thousand nodes. The others wait at
# most so many seconds each time they need the interpreter, instead of Python's own 0.005.
sys.setswitchinterval(0.0005)

journal.configure()
server_errors.answer_as_problems()
_settings = settings.load()
application = create_app(_settings, Database(_settings.database_url(), _settings.connections))

# Code and classes, which stay for good: looking through them all for garbage takes a tenth of a
# second, again and again, and every request waits for it (docs.python.org, gc.freeze).
gc.collect()
gc.freeze()
