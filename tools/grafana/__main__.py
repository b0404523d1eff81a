"""Write every dashboard: ``python -m tools.grafana``."""

from __future__ import annotations

from pathlib import Path

from tools.grafana.boards import BOARDS
from tools.grafana.build import dump

DIRECTORY = Path(__file__).parents[2] / "grafana" / "dashboards"


def main() -> None:
    """Write the files."""
    for board in BOARDS:
        others = tuple(other for other in BOARDS if other is not board)
        (DIRECTORY / f"{board.uid}.json").write_text(dump(board, others))


if __name__ == "__main__":
    main()
