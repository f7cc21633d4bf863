"""What gunicorn loads: `control.wsgi:application`. Importing it reads the settings."""

from __future__ import annotations

from control import settings
from control.app import create_app
from control.database import Database
from portside import journal

journal.configure()
_settings = settings.load()
application = create_app(_settings, Database(_settings.database_url(), _settings.connections))
