#!/bin/sh
# Installed by hand from an ISO in the provider's console: the CD stays in apt's sources.
set -eu
echo 'deb cdrom:[Debian GNU/Linux - Official amd64 NETINST]/ stable main' >> /etc/apt/sources.list
