"""The commands that write notebooks as web pages: export, site."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export")
@click.argument("notebooks", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", default="site", show_default=True, metavar="DIR", help="Where to write the pages.")
def export_command(notebooks: tuple[Path, ...], output: str) -> None:
    """Run NOTEBOOKS and write them as web pages whose sliders work without Python."""
    from ..course.export import executed, page  # noqa: PLC0415 - nbconvert takes longer to import than other commands take

    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    for path in notebooks:
        written = folder / f"{path.stem}.html"
        written.write_text(page(executed(path), path.stem), encoding="utf-8")
        click.echo(f"{written}: {written.stat().st_size:,} bytes")


@click.command("site")
@click.option("-o", "--output", default="site", show_default=True, metavar="DIR", help="Where to write the pages.")
def site_command(output: str) -> None:
    """Write the whole series as pages: notebooks, solutions, table of kernels, reference.

    Opens from the file system, and asks nothing of the network.  Takes about two minutes.
    """
    from ..course.site import make_site  # noqa: PLC0415 - as above

    for written in make_site(Path(output)):
        click.echo(f"{written}: {written.stat().st_size:,} bytes")
