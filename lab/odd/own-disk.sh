#!/bin/sh
# A second volume, formatted and mounted by the operator for the files to come.
set -eu
# A small Debian has it once its owner wants a filesystem.
command -v mkfs.ext4 >/dev/null || { apt-get -qq update; apt-get -qq -y install e2fsprogs >/dev/null; }
truncate -s 3G /var/lib/volume.img
mkfs.ext4 -q -F /var/lib/volume.img
mkdir -p /srv/portside
echo '/var/lib/volume.img /srv/portside ext4 loop,nofail 0 2' >> /etc/fstab
systemctl daemon-reload
mount /srv/portside
