"""Plays scenarios over one transport:  python run.py --transport NAME --setup JSON TOPIC...

Each topic is a module of scenarios/; it makes the assertions. See lib/report.py for what is printed.
"""

import asyncio
import importlib
import sys

from lib import clients, report
from lib.setup import topics


async def main() -> int:
    loop = asyncio.get_running_loop()
    # Whatever an event handler or a background task of the SDK throws is a failure too.
    loop.set_exception_handler(lambda _, context: report.fault(context))
    is_good = True
    for topic in topics:
        scenario = importlib.import_module(f"scenarios.{topic}")
        is_good = await report.judge(topic, scenario.play) and is_good
        await clients.disconnect_all()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
