import asyncio
import threading

import pytest

from serving.errors import TooManyRequests
from serving.readers import Readers


def test_more_than_may_wait_is_refused_what_is_urgent_is_not_and_afterwards_there_is_room_again():
    readers, gate = Readers(threads=1, waiting_max=2), threading.Event()

    async def run():
        waiting = [asyncio.create_task(readers.run(gate.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests) as refused:
            await readers.run(gate.wait)
        assert int(refused.value.headers["retry-after"]) > 0
        urgent = asyncio.create_task(readers.run(gate.wait, is_urgent=True))
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*waiting, urgent) == [True] * 3
        assert await readers.run(lambda: "room") == "room"

    readers.start()
    asyncio.run(run())
    readers.stop()


def test_work_that_fails_makes_room_too():
    readers = Readers(waiting_max=1)

    async def run():
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await readers.run(lambda: 1 // 0)

    readers.start()
    asyncio.run(run())
    readers.stop()
