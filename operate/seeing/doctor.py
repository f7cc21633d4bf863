"""`fab doctor`: look for everything that could be wrong, and say what to do about each thing.

`status` says how the cluster is; this looks for causes: names, ports, clocks, disks, keys, sizes,
from the operator's machine and from each node towards the others.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from pydantic import ValidationError

from operate import control_plane, nodes
from operate.look import Seen, look_at
from operate.seeing.diagnosis import Expected, Finding, Surroundings, examine
from operate.site import MISTAKES, Site
from operate.tell import Tell
from portside.operator.programs import PROGRAMS

_PROGRAM = Path(__file__).parents[1] / "on_node" / "examining.py"

_SECONDS = 10.0
_HTTPS = 443


def doctor(site: Site, node_ids: Sequence[str], tell: Tell) -> bool:
    """Examine these nodes and the control plane. Whether nothing is wrong."""
    seen = look_at(site, node_ids)
    reached = [node_id for node_id, each in seen.items() if each.look is not None]
    around = _surroundings(site, reached)
    with ThreadPoolExecutor(max_workers=nodes.AT_ONCE) as threads:
        looks = {node_id: threads.submit(_expected, site, node_id) for node_id in node_ids}
    expected = {node_id: each.result() for node_id, each in looks.items()}
    findings = {
        node_id: _of_node(node_id, each, around.get(node_id), expected[node_id])
        for node_id, each in seen.items()
    }
    if site.cluster.control_url is not None:
        findings["control plane"] = [_of_control_plane(site)]
    for name, found in findings.items():
        wrong = [each for each in found if each.wrong]
        good = [each.check for each in found if not each.wrong]
        tell.line(f"{name}: {'all is well' if not wrong else f'{len(wrong)} to mend'}")
        if good:
            tell.line(f"  right: {', '.join(good)}")
        for each in wrong:
            tell.line(f"  {each.check}: {each.wrong}")
    tell.result({name: [asdict(each) for each in found] for name, found in findings.items()})
    return not any(each.wrong for found in findings.values() for each in found)


def _of_node(
    node_id: str, seen: Seen, around: Surroundings | str | None, expected: Expected
) -> list[Finding]:
    if seen.look is None or seen.clock_off is None:
        return [Finding("ssh", seen.unreached)]
    if not isinstance(around, Surroundings):
        return [Finding("ssh", around or "no answer")]
    return list(examine(node_id, seen.look, seen.clock_off, around, expected))


def _of_control_plane(site: Site) -> Finding:
    try:
        repair = control_plane.answer(site, lambda control: control.repair())
    except MISTAKES as error:
        return Finding("answers", str(error))
    return Finding("copies", "; ".join(repair.blocked) or None)


def _surroundings(site: Site, node_ids: Sequence[str]) -> dict[str, Surroundings | str]:
    program = _PROGRAM.read_text(encoding="utf-8")
    found: dict[str, Surroundings | str] = {}
    for stores in (True, False):
        alike = [each for each in node_ids if _stores(site, each) is stores]
        question = json.dumps(_question(site, stores))
        for node_id, answer in nodes.ask(site, alike, nodes.python(question), program).items():
            try:
                found[node_id] = (
                    Surroundings.model_validate_json(answer.out) if answer.ok else answer.trouble
                )
            except ValidationError as error:
                found[node_id] = f"what it says can't be read: {error.errors()[0]['msg']}"
    return found


def _question(site: Site, stores: bool) -> dict[str, object]:
    cluster = site.cluster
    servers = [(cluster.host(each), _HTTPS) for each in cluster.nodes]
    settings = "/etc/portside"
    own_authority = cluster.tls.mode == "lab" or cluster.tls.authority is not None
    return {
        "names": [cluster.host(each) for each in cluster.nodes],
        "servers": servers,
        "authority": f"{settings}/ca.crt" if own_authority else None,
        "keyset": f"{settings}/keyset.json",
        "roster": f"{settings}/roster.json",
        "unit": f"{PROGRAMS['storage'].services[0]}.service" if stores else None,
    }


def _expected(site: Site, node_id: str) -> Expected:
    host = site.cluster.host(node_id)
    try:
        addresses = sorted({str(each[4][0]) for each in socket.getaddrinfo(host, None)})
    except OSError:
        addresses = []
    return Expected(
        host=host,
        addresses=tuple(addresses),
        reachable=_unreachable(site, host, _HTTPS),
        issuers=(site.keystore.issuer_key().kid,),
        storage_nodes=site.cluster.with_role("storage"),
        stores=_stores(site, node_id),
    )


def _unreachable(site: Site, host: str, port: int) -> str | None:
    authority = site.authority
    try:
        context = ssl.create_default_context(cafile=None if authority is None else str(authority))
        with socket.create_connection((host, port), timeout=_SECONDS) as plain:
            context.wrap_socket(plain, server_hostname=host).close()
    except ssl.SSLCertVerificationError as error:
        return f"from here, the certificate of {host} is not accepted: {error.verify_message}"
    except OSError as error:
        return (
            f"from here, {host} port {port} can't be reached: {error.strerror or error}: see DNS, "
            "the hoster's firewall, and whether nginx runs"
        )
    return None


def _stores(site: Site, node_id: str) -> bool:
    return "storage" in site.cluster.roles_of(node_id)
