#!/bin/sh
# A provider's "LAMP" image, or what somebody tried last year: a web server that nobody uses.
set -eu
DEBIAN_FRONTEND=noninteractive apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends apache2 >/dev/null
