"""``agentmem inspect``."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from agentmem.cli.common import open_store, print_json, store_options


@click.command("inspect", short_help="Look at the store on a local web page.")
@click.option("--host", default="127.0.0.1", show_default=True, help="IP address to serve on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, show_default=True, help="0 takes a free one.")
@click.option("--write", is_flag=True, help="Take feedback; otherwise the store is opened read-only.")
@click.option("--token", metavar="TOKEN", help="What the address must carry; a random one by default.")
@click.option("--no-token", is_flag=True, help="Let in every program of this machine.")
@click.option("--open/--no-open", "open_page", default=False, show_default=True, help="Open the page in the browser.")
@store_options
def inspect_command(
    host: str, port: int, write: bool, token: str | None, no_token: bool, open_page: bool, db: Path, as_json: bool
) -> None:
    """Look at the store on a local web page: namespaces and threads by time, searches with every head's part in the
    scores, the state of the index, latencies, what was learned.

    The page is read-only unless --write, and served until it is interrupted. Needs: pip install "agentmem[inspect]".
    """
    from agentmem.inspector.server import Place, serve

    if token is not None and no_token:
        raise click.UsageError("--token and --no-token exclude each other; give one of them")

    def announce(url: str) -> None:
        if as_json:
            print_json({"url": url, "write": write})
        else:
            click.echo(f"{'writable' if write else 'read-only'} page of {db}, until Ctrl-C:\n{url}")
        if open_page:
            webbrowser.open(url)

    with open_store(db, read_only=not write) as store:
        serve(store, Place(host, port, token, no_token), announce, writable=write)
