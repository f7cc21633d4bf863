#!/bin/sh
# The smallest images have root and nothing else: no sudo, no other user.
set -eu
install -d -m 0700 /root/.ssh
cp /home/vagrant/.ssh/authorized_keys /root/.ssh/
chown -R root:root /root/.ssh
SUDO_FORCE_REMOVE=yes DEBIAN_FRONTEND=noninteractive apt-get -qq -y purge sudo >/dev/null
