#!/bin/sh
# A user made in the provider's panel, or by Debian's installer: in the group sudo, with a password.
set -eu
rm -f /etc/sudoers.d/vagrant
echo 'vagrant ALL=(ALL) ALL' > /etc/sudoers.d/90-panel
echo 'vagrant:a-password' | chpasswd
