"""Portside is taken off a machine: `fab uninstall` and `fab reinstall` run this.

    pyinfra inventory deploys/uninstall.py --limit s01 --data uninstall=everything -y

`uninstall=everything` leaves the data, `everything-and-data` that neither; `programs` takes only
what a deploy brings anew, for a node that stays. Run again, it finishes what broke off.
"""

from pyinfra.context import host

from deploys.components.leaving import programs_gone, uninstalled
from deploys.layout import PROJECT_ROOT
from deploys.runs.arrival import arrive
from deploys.runs.trouble import RunRefused, contained
from portside.cluster import file as cluster_file

WAYS = ("everything", "everything-and-data", "programs")

with contained():
    wanted = host.data.get("uninstall")
    if wanted not in WAYS:
        raise RunRefused(
            f"say what goes: --data uninstall={'|'.join(WAYS)}. `fab uninstall NODE` does"
        )
    arrive()
    if wanted == "programs":
        programs_gone()
    else:
        cluster = cluster_file.load(cluster_file.find(PROJECT_ROOT))
        uninstalled(
            node_id=host.data.node_id,
            root=str(cluster.uploads.root),
            keep_nginx=cluster.nginx.keep,
            data_too=wanted == "everything-and-data",
        )
