"""What holds where the cluster file says nothing, for it and for the services' own settings.

Apart from the file, for who reads that needs YAML. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from portside.quantities import GIB

MAX_SIZE = 64 * GIB
"""The largest file that is taken."""

SESSION_DEADLINE = 7200
"""How long an upload may take."""

SESSIONS_PER_OWNER = 600
"""Uploads that one owner may begin in a minute."""

WRONG_TOKENS_PER_ADDRESS = 300
"""Tokens and keys that are none and one address may try in a minute."""

HEARTBEAT = 15
"""Between two signs of life of a node."""

DEAD_AFTER = 90
"""Silence after which a node gets no uploads any more."""

LEAST_HEARTBEATS = 3
"""In `dead_after`, at least: one that is lost on its way must not make a node dead."""

REPAIR_AFTER = 900
"""How long a node that is down is waited for before its files are copied again."""
