"""What agent and control plane have in common as web services: problems, OpenAPI, request log, app.

It needs falcon, structlog and prometheus_client, which the kernel's own dependencies don't bring:
only `agent` and `control` import it, and nothing else in `portside` does. What their APIs say
differently (slugs, operations, which requests are logged) stays with each.
"""
