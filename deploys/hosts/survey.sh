# What a node is and who is on it already, told line by line: `survey <what> <value>`. Changes nothing;
# what a filesystem can do is tried in a folder that is removed again.
#
# Set before: name (the node's DNS name), root (uploads.root), device (or empty), ports (hexadecimal),
# users, state (the deploy's own folder), retired (there on a node that was let go for good). Read by deploys/hosts/survey.py.
say() { printf 'survey %s\n' "$*"; }
LC_ALL=C
export LC_ALL

# --- the system
(. /etc/os-release && say "system $ID ${VERSION_ID:-unknown}")
say "architecture $(dpkg --print-architecture 2>/dev/null || uname -m)"
say "kernel $(uname -r)"
[ ! -d /run/systemd/system ] || say "systemd yes"
[ ! -e /usr/bin/python3 ] || say "python $(basename "$(readlink -f /usr/bin/python3)")"
say "time $(date +%s)"
timeout 3 getent ahosts "$name" >/dev/null && say "resolves $name"
for user in $users; do
    shell=$(getent passwd "$user" | cut -d : -f 7)
    [ -z "$shell" ] || say "user $user $shell"
done
[ ! -e "$retired" ] || say "retired yes"
[ -e /opt/portside/current ] || [ -e /opt/portside/control/current ] || say "new yes"
for place in /opt /var; do
    say "free $(df --block-size=1 --output=avail $place | tail -n 1) $place"
    say "options $(findmnt --noheadings --output OPTIONS --target $place) $place"
done

# --- who listens: without `ss`, which a minimal Debian lacks
for port in $ports; do
    # Local address, state 0A (listening) and inode: proc_net_tcp in the kernel's documentation.
    inodes=$(awk -v port=":$port" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10 }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    for inode in $inodes; do
        fd=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" -print -quit 2>/dev/null)
        process=${fd%/fd/*}
        unit=$(sed -nE 's#.*/([^/]+\.(service|scope))(/.*)?$#\1#p' "$process/cgroup" 2>/dev/null |
            head -n 1)
        say "listens $port ${unit:--} $(cat "$process/comm" 2>/dev/null)"
    done
done

# --- what others reach: TCP that listens, UDP that takes from anybody
sockets=$(find /proc/[0-9]*/fd -lname 'socket:*' -printf '%l %h\n' 2>/dev/null)
least=$(cut -f 1 /proc/sys/net/ipv4/ip_local_port_range)
most=$(cut -f 2 /proc/sys/net/ipv4/ip_local_port_range)
# WireGuard that calls others, and goes on doing so, is answered.
calling=$(for each in $(wg show interfaces 2>/dev/null); do
    ! wg show "$each" persistent-keepalive | grep -q '[0-9]$' || wg show "$each" listen-port
done)
for protocol in tcp udp; do
    taking=0A
    [ $protocol = tcp ] || taking=07
    awk -v taking=$taking '$4 == taking && $2 !~ /^(0000000000000000FFFF0000)?......7F:/ &&
        $2 !~ /^00000000000000000000000001000000:/ { print substr($2, length($2) - 3), $10 }' \
        /proc/net/$protocol /proc/net/${protocol}6 2>/dev/null | sort -u |
        while read -r port inode; do
            process=$(echo "$sockets" | sed -n "s#^socket:\[$inode\] \(.*\)/fd\$#\1#p" | head -n 1)
            number=$((0x$port))
            # Whoever only asks has such a port too, another one each time. WireGuard's own is there.
            if [ $protocol = udp ] && [ $number -ge "$least" ] && [ $number -le "$most" ] &&
                [ $number != 51820 ]; then
                [ -z "$process" ] || continue
                ! echo "$calling" | grep -qx $number || continue
            fi
            tunnel=-
            if [ -z "$process" ]; then
                [ $protocol = tcp ] || tunnel=tunnel
            elif find "$process/fd" -lname /dev/net/tun 2>/dev/null | grep -q .; then
                tunnel=tunnel
            fi
            say "serves $number $protocol $tunnel $(cat "$process/comm" 2>/dev/null)"
        done
done
# How this login comes: sudo takes SSH_CONNECTION out of the environment, the session still has it.
session=$$
while [ "${session:-0}" -gt 1 ]; do
    came=$(tr '\0' '\n' 2>/dev/null < "/proc/$session/environ" | sed -n 's/^SSH_CONNECTION=//p')
    [ -z "$came" ] || break
    session=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$session/status")
done
if [ -n "$came" ]; then
    say "login-port ${came##* }"
    address=$(echo "$came" | cut -d ' ' -f 3)
    interface=$(ip -oneline address show to "${address%%%*}" 2>/dev/null | awk '{ print $2; exit }')
    shown=/sys/class/net/$interface
    if [ -n "$interface" ] &&
        { grep -qs '^DEVTYPE=wireguard' "$shown/uevent" || [ -e "$shown/tun_flags" ]; }; then
        say "login-tunnel $interface"
    fi
fi

# --- another nginx
version=$(dpkg-query -W -f '${db:Status-Abbrev} ${Version} ${Provides}\n' nginx 2>/dev/null)
case $version in
    i*nginx-abi*) say "nginx debian" ;;
    i*) say "nginx $(echo "$version" | cut -d ' ' -f 2)" ;;
    *)
        for file in $(grep -rlsE 'nginx\.org' /etc/apt/sources.list /etc/apt/sources.list.d); do
            say "nginx-source $file"
        done
        ;;
esac
# As the package brought it: a conffile's digest is in dpkg's own list.
as_packaged() {
    listed=$(dpkg-query -W -f '${Conffiles}\n' nginx-common 2>/dev/null |
        awk -v path="$1" '$1 == path { print $2 }')
    [ "$(md5sum < "$1" | cut -d ' ' -f 1)" = "$listed" ]
}
conf=/etc/nginx/nginx.conf
if [ -f $conf ]; then
    # One that a deploy has put there is the deploy's, whatever became of it.
    if [ -e "$state/nginx.stamp" ] || head -n 1 $conf | grep -q '^# Written by Portside'; then
        say "nginx.conf portside"
    elif ! as_packaged $conf; then
        say "nginx.conf own"
    fi
fi
for site in /etc/nginx/sites-enabled/* /etc/nginx/conf.d/*.conf; do
    [ -f "$site" ] || continue
    default=/etc/nginx/sites-available/default
    if [ "$(readlink -f "$site")" = $default ] && as_packaged $default; then
        continue
    fi
    say "site $site"
done

# --- other firewalls
grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf && command -v ufw >/dev/null && say "firewall ufw"
systemctl is-active --quiet firewalld 2>/dev/null && say "firewall firewalld"
{ [ -e /etc/systemd/system/portside-firewall.service ] ||
    grep -qs '^# Written by Portside' /etc/nftables.conf; } && say "firewalled yes"
systemctl is-active --quiet docker 2>/dev/null && say "docker yes"

# --- where the files will be
[ -n "$root" ] || exit 0
say "real $(realpath -m "$root")"
marker=$root/.portside-root
[ ! -e "$marker" ] || say "marker $(head -n 1 "$marker")"
# Mounts that the data is to be on: of fstab, and the one that an earlier deploy had watched.
{
    awk '$1 !~ /^#/ && $2 != "/" { print $2 }' /etc/fstab 2>/dev/null
    sed -n 's/^mount=//p' /usr/local/libexec/portside-disk 2>/dev/null
} | sort -u | while read -r point; do
    # A device that the cluster file names is mounted by the deploy itself.
    [ -z "$device" ] || [ "$point" != "$root" ] || continue
    case $root/ in
        "${point%/}"/*) mountpoint -q "$point" || say "unmounted $point" ;;
    esac
done
[ ! -e "$marker" ] && [ -z "$device" ] || exit 0
if [ -d "$root" ]; then
    ours='uploads|staging|quarantine|ended|state|nginx-temp|\.candidate-.*|\.portside-probe-.*'
    ls -A "$root" | grep -vxE "$ours|lost\+found" |
        head -n 3 | while read -r entry; do say "holds $entry"; done
fi
# What agent/host/filesystem.py tries again once it runs there.
place=$root
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
say "filesystem $(findmnt --noheadings --output FSTYPE --target "$place")"
# Of a look that was killed: one that goes on is younger, a --dry beside a run.
find "$place" -maxdepth 1 -name '.portside-probe-*' -mmin +5 -exec rm -rf {} + 2>/dev/null
probe=$(mktemp -d "$place/.portside-probe-XXXXXX" 2>/dev/null) || {
    say "lacks writing"
    exit 0
}
trap 'rm -rf "$probe"' EXIT
# A connection that ends: by a signal alone dash doesn't come to what is for EXIT.
trap 'exit 1' HUP INT PIPE TERM
cd "$probe" || exit 0
: > file
# renameat2(2) with RENAME_NOREPLACE: perl-base is part of every Debian.
number=316
[ "$(uname -m)" = x86_64 ] || number=276
perl -e 'exit(syscall($ARGV[0] + 0, -100, $ARGV[1], -100, $ARGV[2], 1) != 0)' $number file moved &&
    mv moved file || say "lacks noreplace-rename"
ln file linked 2>/dev/null || say "lacks hard-links"
sync . 2>/dev/null || say "lacks directory-fsync"
flock --nonblock file true 2>/dev/null || say "lacks locks"
: 2>/dev/null > "$(printf '%0255d' 0)" || say "lacks long-names"
dd if=/dev/zero of=file bs=4096 count=1 oflag=direct 2>/dev/null || say "lacks direct-io"
