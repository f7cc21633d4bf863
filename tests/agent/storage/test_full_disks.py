"""On a disk without a free byte or inode files are deleted and agents start; uploads are refused."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from agent.storage.reserve import PIECES
from faults.causing.hog import Hog
from portside.quantities import MIB
from portside.wire.files import StoredFile
from tests.support.agent.interruption import injected
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import access, ask, data_of, stored
from tests.support.agent.worker_process import Worker
from tests.support.loopback import wait_until
