"""What holds where the cluster file says nothing, for it and for the services' own settings.

Apart from the file, for who reads that needs YAML. Durations are seconds, sizes bytes.
"""

from __future__ import annotations

from portside.quantities import GIB, KIB

MAX_SIZE = 64 * GIB
"""The largest file that is taken."""

UNTOLD_SIZE = GIB
"""What is promised to an upload of which nobody tells the size: so much is kept from all others
until it ends. It may go on behind that for as long as its node has room for more."""

START_WITHIN = 900
"""Seconds in which an upload must begin."""

SESSION_DEADLINE = 7200
"""How long an upload may take."""

SESSIONS_PER_OWNER = 600
"""Uploads that one owner may begin in a minute."""

SLOTS_PER_TOKEN = 4
"""Parts of one file that are sent side by side: more make no line faster."""

SLOTS_PER_OWNER = 0.5
"""Of a node's slots. One who has half of them leaves as many to all others."""

PROMISED_PER_OWNER = 0.5
"""Of what a pool may promise. One who has half of it leaves as much to all others."""

SLOTS_PER_ADDRESS = 0.5

LEAST_RATE = KIB
"""Per second. A modem did more; what is slower for a minute hangs, or means to."""

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

SCRUB_EVERY = 30 * 86400
"""How old a stored file's last reading may become."""
