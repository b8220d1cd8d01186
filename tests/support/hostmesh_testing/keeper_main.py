"""Runs the parent's keeper over programs named on the command line, as `run --all` does."""

import json
import sys

from hostmesh_agent.parent.keeper import Keeper, say
from hostmesh_agent.parent.processes import Program


def main() -> None:
    """Keep what argv[1] (JSON) lists as {name, argv, record, socket}; end it in that order."""
    programs = [
        Program(
            name=each["name"],
            argv=tuple(each["argv"]),
            user=None,
            record=each["record"],
            socket=each.get("socket", ""),
        )
        for each in json.loads(sys.argv[1])
    ]
    keeper = Keeper(programs, on_hangup=lambda: say("hung up"))
    keeper.listen_to_signals()
    keeper.run()
    for program in programs:
        keeper.end(program.name)
        say(f"over {program.name}")


if __name__ == "__main__":
    main()
