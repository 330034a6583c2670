"""``escalation app``: the front end in a browser."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8501,
    address: Annotated[
        str, typer.Option(help="Address to listen on; only this computer unless you say otherwise.")
    ] = "localhost",
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
) -> None:
    """Start the front end: explore, simulate, compare, conduct, teach."""
    from importlib.util import find_spec

    from streamlit.web.cli import main

    found = find_spec("escalation.ui.server")
    assert found is not None
    assert found.origin is not None
    flags = ["--server.port", str(port), "--server.address", address, "--server.headless", str(not browser).lower()]
    main(["run", found.origin, *flags], prog_name="escalation")
