"""What gunicorn loads: `agent.wsgi:app`. Importing it reads the settings and recovers storage."""

from __future__ import annotations

from agent import settings
from agent.app import create_app
from agent.host import linux
from agent.incoming.unread import UnreadBodies
from portside import journal
from portside.web import server_errors

journal.configure()
server_errors.answer_as_problems()
app = UnreadBodies(create_app(settings.load()))
# Building pydantic's validators leaves several MiB of freed memory behind; a node with little RAM
# can use them.
linux.trim_memory()
