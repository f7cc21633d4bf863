"""A node as the control plane tells of it."""

from __future__ import annotations

from portside.wire.control import NodeView

NODE = NodeView(
    node_id="s01",
    state="active",
    healthy=True,
    reasons=("2 files left",),
    public_base_url="https://s01.portside.test",
    upload_api_url="https://s01.portside.test/api/internal/upload",
    region=None,
    weight=1,
    tier="hot",
    heard_at=None,
    down_since=None,
    reserved=0,
    open_sessions=0,
    heartbeat=None,
)
