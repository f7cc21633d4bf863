#!/bin/sh
# Turns the freshly installed tree "$1" into what a provider's bare Debian image looks like.
# From the environment: LAB_PUBLIC_KEY, LAB_NAMESERVER, LAB_SOURCES.
set -eu
root=$1

# Names and keys belong to a machine, not to its image. An empty machine-id is filled at boot.
: > "$root/etc/machine-id"
rm -f "$root/etc/hostname" "$root/var/lib/dbus/machine-id" "$root"/etc/ssh/ssh_host_*
cat > "$root/etc/systemd/system/ssh-host-keys.service" <<'UNIT'
[Unit]
Description=Make this machine's SSH host keys
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=ssh.service
UNIT

printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' > "$root/etc/hosts"
printf 'nameserver %s\n' "$LAB_NAMESERVER" > "$root/etc/resolv.conf"
printf 'LANG=C.UTF-8\n' > "$root/etc/default/locale"
cat > "$root/etc/systemd/network/lan.network" <<'NETWORK'
[Match]
Name=eth0

[Network]
DHCP=ipv4
IPv6AcceptRA=no

[DHCPv4]
ClientIdentifier=mac
UseHostname=no
NETWORK

rm -f "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*
printf '%s' "$LAB_SOURCES" > "$root/etc/apt/sources.list.d/debian.sources"
# Packages arrive sooner without a sync after each file: a lab machine can be made again.
echo force-unsafe-io > "$root/etc/dpkg/dpkg.cfg.d/lab"

chroot "$root" useradd --create-home --shell /bin/bash vagrant
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' > "$root/etc/sudoers.d/vagrant"
chmod 0440 "$root/etc/sudoers.d/vagrant"
install -d -m 0700 "$root/home/vagrant/.ssh"
printf '%s\n' "$LAB_PUBLIC_KEY" > "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant:vagrant /home/vagrant/.ssh

chroot "$root" systemctl enable --quiet ssh.service ssh-host-keys.service systemd-networkd.service
# Nothing may wake up by itself while a test looks at the machine.
chroot "$root" systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
# Hardware and virtual consoles belong to the computer the container runs on.
chroot "$root" systemctl mask --quiet getty@tty1.service console-getty.service \
    systemd-udevd.service systemd-udev-trigger.service sys-kernel-debug.mount
