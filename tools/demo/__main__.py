"""``python -m tools.demo``: play the demonstration; exit 0 if the balance holds."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import AsyncExitStack

from tools.demo.machine import DemoError, Machine
from tools.demo.people import Office
from tools.demo.story import Story

_FAILED = 1
_INTERRUPTED = 130


async def play(arguments: argparse.Namespace) -> int:
    """Run everything and clean up, however it ends; return the exit status."""
    task = asyncio.current_task()
    if task is not None:  # a closed terminal or a kill ends it as Ctrl-C does
        for name in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(name, task.cancel)
    office = Office(arguments.seed)
    machine = Machine(arguments.lang, office.key)
    story = Story(machine, office, arguments.seed)
    screen = story.screen
    try:
        # A stack, because a terminal that is gone must not keep the daemon alive.
        async with AsyncExitStack() as stack:
            if not arguments.keep:
                stack.callback(machine.clean)
            stack.push_async_callback(machine.stop)
            stack.push_async_callback(story.stop)
            problems = await story.run()
            await story.stop()
            if status := await machine.stop():
                problems.append(f"the daemon ended with status {status}")
    except DemoError as error:
        screen.say(f"The demonstration cannot go on: {error}", "bold red")
        return _FAILED
    finally:
        if arguments.keep:
            screen.say(f"Kept: {machine.directory}")
    seconds = screen.seconds()
    if problems:
        screen.say("THE BALANCE DOES NOT HOLD:", "bold red")
        for problem in problems:
            screen.say(f"  {problem}", "red")
        return _FAILED
    screen.say(
        f"The balance holds: every message is accounted for. ({seconds:.0f} s)",
        "bold green",
    )
    return 0


def main() -> int:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo",
        description="A stolen account against a real daemon, in under a minute.",
    )
    parser.add_argument("--seed", type=int, default=7, help="another story (default 7)")
    parser.add_argument(
        "--lang", choices=("en", "fr"), default="en", help="language of the notices"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave configuration, log and spool"
    )
    try:
        return asyncio.run(play(parser.parse_args()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("interrupted; everything was stopped and removed\n")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
