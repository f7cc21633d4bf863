#!/bin/sh
# A fresh image fetches and upgrades by itself as soon as it has booted: apt-daily and
# unattended-upgrades hold apt's locks for minutes. Here for $SECONDS_BUSY seconds, 20 unless told.
set -eu
cat > /run/hold-the-locks <<'PERL'
use Fcntl qw(:DEFAULT F_SETLK F_WRLCK SEEK_SET);
for ("/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock") {
    sysopen(my $file, $_, O_RDWR | O_CREAT, 0640) or die $_;
    my $lock = pack("s s l! l! i", F_WRLCK, SEEK_SET, 0, 0, 0);
    fcntl($file, F_SETLK, $lock) or die $_;
    push @held, $file;
}
sleep shift;
PERL
mkdir -p /run/systemd/system/apt-daily.service.d
cat > /run/systemd/system/apt-daily.service.d/odd.conf <<UNIT
[Service]
ExecStartPre=
ExecStart=
ExecStart=/usr/bin/perl /run/hold-the-locks ${SECONDS_BUSY:-20}
UNIT
systemctl daemon-reload
systemctl start --no-block apt-daily.service
sleep 1
