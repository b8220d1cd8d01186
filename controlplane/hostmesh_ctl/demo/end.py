"""`make demo-end`: ends what a demo with KEEP=1 left running."""

import click

from hostmesh_ctl.demo.hosts import sweep


def main() -> None:
    """End every lab that was kept, and say which."""
    removed = sweep(kept=True)
    for name in removed:
        click.echo(f"ended {name}")
    if not removed:
        click.echo("no demo is running")


if __name__ == "__main__":
    main()
