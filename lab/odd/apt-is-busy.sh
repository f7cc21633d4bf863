#!/bin/sh
# A fresh image fetches and upgrades by itself as soon as it has booted: apt-daily and
# unattended-upgrades hold apt's locks for minutes. Here for ten, or until apt-daily.service is stopped.
set -eu
cat > /run/hold-the-locks <<'PERL'
use Fcntl qw(:DEFAULT F_SETLKW F_WRLCK SEEK_SET);
for ("/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock") {
    sysopen(my $file, $_, O_RDWR | O_CREAT, 0640) or die $_;
    my $lock = pack("s s l! l! i", F_WRLCK, SEEK_SET, 0, 0, 0);
    fcntl($file, F_SETLKW, $lock) or die $_;
    push @held, $file;
}
$SIG{TERM} = sub { exit };
open(my $said, ">", "/run/locks-are-held") or die $!;
sleep 600;
PERL
mkdir -p /run/systemd/system/apt-daily.service.d
cat > /run/systemd/system/apt-daily.service.d/odd.conf <<UNIT
[Service]
ExecStartPre=
ExecStart=
ExecStart=/usr/bin/perl /run/hold-the-locks
UNIT
systemctl daemon-reload
systemctl stop apt-daily.service
rm -f /run/locks-are-held
systemctl start --no-block apt-daily.service
timeout 60 sh -c 'until [ -e /run/locks-are-held ]; do sleep 0.1; done'
