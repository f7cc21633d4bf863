"""What gunicorn loads: `agent.wsgi:app`. Importing it reads the settings and recovers storage."""

from __future__ import annotations

from agent import journal, settings
from agent.app import create_app

journal.configure()
app = create_app(settings.load())
