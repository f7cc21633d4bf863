#!/bin/sh
# Out of the way of scanners: SSH on another port, a user of one's own, root doesn't log in.
set -eu
useradd --create-home --shell /bin/bash admin
echo 'admin ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/admin
install -d -m 0700 -o admin -g admin /home/admin/.ssh
install -m 0600 -o admin -g admin /home/vagrant/.ssh/authorized_keys /home/admin/.ssh/
printf 'Port 2222\nPermitRootLogin no\n' > /etc/ssh/sshd_config.d/10-own.conf
systemctl restart ssh.service
