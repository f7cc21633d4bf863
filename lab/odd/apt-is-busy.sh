#!/bin/sh
# A fresh image fetches and upgrades by itself as soon as it has booted: apt-daily and
# unattended-upgrades hold apt's locks for minutes. Here for SECONDS, 20 unless told.
set -eu
systemd-run --quiet --collect --unit apt-daily sh -c "
    exec perl -e '
        use Fcntl qw(:DEFAULT F_SETLK F_WRLCK SEEK_SET);
        for (\"/var/lib/dpkg/lock-frontend\", \"/var/lib/apt/lists/lock\") {
            sysopen(my \$file, \$_, O_RDWR | O_CREAT, 0640) or die \$_;
            fcntl(\$file, F_SETLK, pack(\"s s l! l! i\", F_WRLCK, SEEK_SET, 0, 0, 0)) or die \$_;
            push @held, \$file;
        }
        sleep ${SECONDS_BUSY:-20};
    '"
sleep 1
