#!/bin/sh
# sshd takes over the operator's LANG and LC_* (Debian's own default), an image sets its country's,
# and neither is installed: perl warns, and programs speak another language or none.
set -eu
printf 'LANG=de_DE.UTF-8\nLC_ALL=xx_XX.UTF-8\n' >> /etc/environment
