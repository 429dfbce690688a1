"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def width() -> int:
    """Columns of the terminal; 80 if the output is no terminal and COLUMNS is not set."""
    from rich.console import Console

    return Console().width


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, whole: Collection[str] = ()
) -> None:
    """Print rows under their heads, as wide as the terminal.

    Args:
        heads: headings of the columns.
        rows: for each row, the text of each column.
        whole: headings of the columns whose text is not wrapped.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=box.SIMPLE_HEAD, row_styles=["", "dim"], padding=(0, 1, 0, 0), pad_edge=False, show_edge=False
    )  # fmt: skip
    for head in heads:
        # A word that does not fit is broken, never cut off.
        table.add_column(head, no_wrap=head in whole, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print()
