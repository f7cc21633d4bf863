"""pyinfra's settings for every run. Whether a host needs sudo is in its data: see `inventory`."""

from pyinfra.context import config

from deploys.layout import PRIVATE_UPLOADS
from deploys.runs.begin import begin
from portside.operator.host_keys import CONNECT_TIMEOUT

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"

# Under sudo an upload rests in a temporary file first, readable for as long as it is there: here
# only the login user and root can get at it. The first operation of every deploy makes it.
config.TEMP_DIR = PRIVATE_UPLOADS

config.CONNECT_TIMEOUT = CONNECT_TIMEOUT

begin()
