"""The commands of the admin socket about routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shaper.admin_commands import Answer

if TYPE_CHECKING:
    from shaper.admin_arguments import Arguments
    from shaper.admin_commands import Command
    from shaper.engine.routes import Routes

__all__ = ["route_commands"]


def route_commands(routes: Routes) -> dict[str, Command]:
    """Return the commands by name."""

    async def listed(arguments: Arguments, _user: str) -> Answer:
        arguments.finish()
        return Answer(routes.rows())

    async def add(arguments: Arguments, user: str) -> Answer:
        change, route = arguments.change(user), arguments.needed("route")
        hop, tls = arguments.needed("next_hop"), arguments.text("tls")
        arguments.finish()
        return Answer(await routes.add(change, route, hop, tls))

    async def remove(arguments: Arguments, user: str) -> Answer:
        change, route = arguments.change(user), arguments.needed("route")
        arguments.finish()
        return Answer(await routes.remove(change, route))

    return {"route.list": listed, "route.add": add, "route.remove": remove}
