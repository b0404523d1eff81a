"""From ``model`` to Grafana's JSON, with Grafana's own SDK (schema of 11.6)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import (
    common as common_builder,
)
from grafana_foundation_sdk.builders import (
    dashboard as dashboard_builder,
)
from grafana_foundation_sdk.builders import (
    prometheus,
    stat,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard

if TYPE_CHECKING:
    from tools.grafana.model import Board, Level, Panel

__all__ = ["RUNBOOKS", "dump", "variables"]

RUNBOOKS = "https://mailshaper.example.org/runbooks"
_SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
_COLUMNS = 24


def dump(board: Board, others: tuple[Board, ...] = ()) -> str:
    """Return the dashboard as the text of its file; ``others`` are linked."""
    builder = (
        dashboard_builder.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["mailshaper"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .editable()
        .variables(_variables(board))
        .annotation(_annotation(board))
    )
    for other in others:
        link = dashboard_builder.DashboardLink(other.title)
        builder.link(
            link.type(dashboard.DashboardLinkType.LINK)
            .url(f"/d/{other.uid}")
            .keep_time(True)  # noqa: FBT003
            .include_vars(True)  # noqa: FBT003
        )
    number, top = 0, 0
    for row in board.rows:
        number += 1
        builder.with_row(
            dashboard_builder.Row(row.title)
            .id(number)
            .grid_pos(dashboard.GridPos(1, _COLUMNS, 0, top))
        )
        top += 1
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > _COLUMNS:
                left, top, tallest = 0, top + tallest, 0
            number += 1
            place = dashboard.GridPos(panel.height, panel.width, left, top)
            builder.with_panel(_panel(panel).id(number).grid_pos(place))
            left += panel.width
            tallest = max(tallest, panel.height)
        top += tallest
    data = json.loads(json.dumps(builder.build(), cls=JSONEncoder))
    for annotation in data["annotations"]["list"]:
        # Grafana reads these of Prometheus annotations; the SDK does not know them.
        annotation["titleFormat"] = f"{{{{{board.marks.keys[0]}}}}}"
        annotation["textFormat"] = board.marks.text
        annotation["tagKeys"] = ",".join(board.marks.keys)
        annotation["step"] = "60s"
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def variables(board: Board) -> tuple[tuple[str, str, str], ...]:
    """Return name, label and query of what may be chosen on a board."""
    return (
        ("placement", "Placement", f"label_values({board.info}, placement)"),
        (
            "instance",
            "Instance",
            f'label_values({board.info}{{placement=~"$placement"}}, instance)',
        ),
    )


def _variables(board: Board) -> list[Any]:
    source = (
        dashboard_builder.DatasourceVariable("datasource")
        .label("Prometheus")
        .type("prometheus")
    )
    made: list[Any] = [source]
    for name, label, query in variables(board):
        made.append(
            dashboard_builder.QueryVariable(name)
            .label(label)
            .datasource(_SOURCE)
            .query({"query": query, "refId": name})
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
            .multi(True)  # noqa: FBT003
            .include_all(True)  # noqa: FBT003
            .all_value(".*")
            .current(
                dashboard.VariableOption(selected=True, text="All", value="$__all")
            )
        )
    return made


def _annotation(board: Board) -> Any:  # noqa: ANN401
    return (
        dashboard_builder.AnnotationQuery()
        .name(board.marks.title)
        .datasource(_SOURCE)
        .enable(True)  # noqa: FBT003
        .icon_color("orange")
        .expr(board.marks.expr)
    )


def _panel(panel: Panel) -> Any:  # noqa: ANN401
    builder: Any
    if panel.kind == "stat":
        builder = (
            stat.Panel()
            .graph_mode(common.BigValueGraphMode.AREA)
            .color_mode(common.BigValueColorMode.BACKGROUND)
            .reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
        )
    else:
        builder = (
            timeseries.Panel()
            .min(0)
            .line_width(1)
            .show_points(common.VisibilityMode.NEVER)
            .thresholds_style(
                common_builder.GraphThresholdsStyleConfig().mode(
                    common.GraphThresholdsStyleMode.LINE
                    if len(panel.levels) > 1
                    else common.GraphThresholdsStyleMode.OFF
                )
            )
        )
        if panel.kind == "bars":
            builder.draw_style(common.GraphDrawStyle.BARS).fill_opacity(60).stacking(
                common_builder.StackingConfig().mode(common.StackingMode.NORMAL)
            )
        else:
            builder.fill_opacity(8)
    builder.title(panel.title).description(panel.question).unit(panel.unit)
    builder.datasource(_SOURCE).thresholds(_thresholds(panel.levels))
    if panel.decimals is not None:
        builder.decimals(panel.decimals)
    builder.links(
        [
            dashboard_builder.DashboardLink("What to do")
            .type(dashboard.DashboardLinkType.LINK)
            .url(f"{RUNBOOKS}/{panel.runbook}.md")
            .target_blank(True)  # noqa: FBT003
        ]
    )
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        builder.with_target(
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend or "__auto")
            .ref_id(letter)
            .datasource(_SOURCE)
            .range()
        )
    return builder


def _thresholds(levels: tuple[Level, ...]) -> dashboard_builder.ThresholdsConfig:
    first, *rest = levels
    steps = [dashboard.Threshold(value=None, color=first[1])]
    steps += [dashboard.Threshold(value=value, color=color) for value, color in rest]
    return (
        dashboard_builder.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps(steps)
    )
