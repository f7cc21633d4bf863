#!/bin/sh
# A second volume, formatted and mounted by the operator for the files to come.
set -eu
truncate -s 3G /var/lib/volume.img
mkfs.ext4 -q -F /var/lib/volume.img
mkdir -p /srv/portside
echo '/var/lib/volume.img /srv/portside ext4 loop,nofail 0 2' >> /etc/fstab
systemctl daemon-reload
mount /srv/portside
