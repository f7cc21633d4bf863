#!/bin/sh
# A provider's first-boot script that ran into its time limit, or a reboot in the midst of an
# upgrade: packages unpacked and not set up, and dpkg's journal not yet written back.
set -eu
apt-get -qq update
cd /tmp
apt-get -qq download less
dpkg --unpack less_*.deb >/dev/null
rm less_*.deb
# What `kill -9` leaves of dpkg in the moment in which it writes a package's state down.
sed -n '/^Package: less$/,/^$/p' /var/lib/dpkg/status > /var/lib/dpkg/updates/0001
