"""Services: that they run, and a reload that is seen to work: new workers are the only proof.

`systemctl reload` succeeds once the signal is sent. A master that can't take its new configuration
(an address in use, say) logs it and goes on with the old one.
"""

from __future__ import annotations

from deploys import layout


def unit_file(name: str) -> str:
    """Where a unit of ours is."""
    return f"{layout.UNITS}/{name}"


def runs(service: str) -> str:
    """Shell: whether a service runs, by the unit file as it is, and will after a boot."""
    return (
        f"systemctl is-active --quiet {service} && systemctl is-enabled --quiet {service} && "
        f'[ "$(systemctl show --property NeedDaemonReload --value {service})" = no ]'
    )


def reload_or_start(service: str, complaint: str) -> str:
    """Shell: start a stopped service; reload a running one and wait for a new worker process.

    `complaint` is shell that tells why, for when there is none within ten seconds.
    """
    return f"""\
systemctl unmask --quiet {service}
systemctl enable --quiet {service}
if systemctl is-active --quiet {service}; then
    # After an upgrade of nginx its old master finishes what it has. systemd still takes it for the
    # main one, while the pid file names the one that takes the next requests.
    master=$(cat "$(systemctl show --property PIDFile --value {service})" 2>/dev/null ||
        systemctl show --property MainPID --value {service})
    before=" $(cat /proc/$master/task/$master/children) "
    systemctl reload {service}
    fresh=
    for attempt in $(seq 100); do
        for worker in $(cat /proc/$master/task/$master/children); do
            case "$before" in *" $worker "*) ;; *) fresh=$worker ;; esac
        done
        [ -n "$fresh" ] && break
        sleep 0.1
    done
    if [ -z "$fresh" ]; then
        echo '{service} goes on with its old configuration:' >&2
        {complaint} >&2
        exit 1
    fi
else
    systemctl start {service}
fi
"""
