"""The one thread that runs the engine, and the way to it and back from the server's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from foundation.errors import UserError
from foundation.logs import get_logger
from generation.completion import Piece, Writer
from generation.engine import Engine, Request, Token
from generation.serving.errors import ApiError, failed, full, leaving

LOG = get_logger("serving")
Order = Callable[[Engine], None]
STEP_SECONDS = 5.0


@dataclass(eq=False)
class _Row:
    """One text in work."""

    answer: Answer
    place: int
    request: Request
    writer: Writer
    number: int = -1  # what the engine calls it
    open: bool = True  # counted among the texts of the queue; only the event loop changes it


class Answer:
    """The texts of one request to the server, as they are written. Used in the event loop."""

    def __init__(self, thread: EngineThread, work: Sequence[tuple[Request, Writer]]) -> None:
        self._thread = thread
        self.rows = [_Row(self, place, request, writer) for place, (request, writer) in enumerate(work)]
        self.left = len(work)
        """Texts that have not ended."""
        self.arrived: asyncio.Queue[tuple[int, Piece] | ApiError] = asyncio.Queue()

    async def next(self) -> tuple[int, Piece]:
        """A text's place and its next piece, while texts are `left`. `ApiError` when engine or server end before."""
        arrived = await self.arrived.get()
        if isinstance(arrived, ApiError):
            raise arrived
        self.left -= arrived[1].finish_reason is not None
        return arrived

    def close(self) -> None:
        """Free the slots of texts that are still written; nobody reads on."""
        self._thread.drop([row for row in self.rows if row.open])


class EngineThread:
    """Runs an engine of `slots` texts at a time; at most `waiting` more may wait.

    `start` and all other methods belong to the event loop; what they ask for happens in the thread, between steps. An
    engine whose step fails is replaced: what it was writing ends with an error, later requests are served. Where none
    can be made, the thread ends and `failure` says why.
    """

    def __init__(self, make_engine: Callable[[], Engine], slots: int, waiting: int) -> None:
        self._make_engine = make_engine
        self.slots, self.most = slots, slots + waiting
        self.open = 0
        """Texts that are written or wait."""
        self._answers: set[Answer] = set()
        self._rows: dict[int, _Row] = {}  # by the engine's number; the thread's own
        self._orders: list[Order] = []
        self._ordered = threading.Condition()
        self.refusing = self._ended = False
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current step, which is waited for a moment."""
        with self._ordered:
            self.refusing = self._ended = True
            self._ordered.notify()
        self._thread.join(STEP_SECONDS)

    def check_room(self, texts: int) -> None:
        """`ApiError` 429 unless so many more texts may wait, 503 when the server ends."""
        if self.refusing:
            raise leaving()
        if self.open + texts > self.most:
            raise full(self.open)

    def submit(self, work: Sequence[tuple[Request, Writer]]) -> Answer:
        """Let texts be written; `ApiError` as `check_room` says."""
        self.check_room(len(work))
        answer = Answer(self, work)
        rows = answer.rows
        self.open += len(rows)
        self._answers.add(answer)
        self._order(lambda engine: self._begin(engine, rows))
        return answer

    def drop(self, rows: Sequence[_Row]) -> None:
        """Write no more of these."""
        for row in rows:
            self._close(row)
        if rows:
            self._order(lambda engine: self._cancel(engine, rows))

    def abandon(self) -> None:
        """Take no more requests and end all that is in work with an error."""
        self.refusing = True
        for answer in [*self._answers]:
            answer.arrived.put_nowait(leaving())
            answer.close()

    def _close(self, row: _Row) -> None:
        self.open -= row.open
        row.open = False
        if not any(other.open for other in row.answer.rows):
            self._answers.discard(row.answer)

    def _order(self, order: Order) -> None:
        with self._ordered:
            self._orders.append(order)
            self._ordered.notify()

    # In the engine's thread:

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            self.failure = error
        finally:  # nobody may wait for a thread that is gone
            self._tell(self.abandon)

    def _work(self) -> None:
        engine = self._make_engine()
        orders: deque[Order] = deque()
        while not self._ended:
            with self._ordered:
                while engine.idle and not orders and not self._orders and not self._ended:
                    self._ordered.wait()
                orders += self._orders
                self._orders = []
            failed_step = False
            try:
                while orders:
                    orders.popleft()(engine)
                self._deliver(engine, engine.step())
            except Exception:
                LOG.exception("the engine failed; a new one takes its place")
                failed_step = True
            if failed_step:  # out here: the error would keep the failed step's memory
                self._fail(self._rows.values(), failed())
                engine = self._make_engine()

    def _begin(self, engine: Engine, rows: Sequence[_Row]) -> None:
        try:
            for row in rows:
                row.number = engine.submit(row.request)
                self._rows[row.number] = row
        except UserError as error:  # nothing is wrong with the engine
            self._cancel(engine, rows)
            self._fail(rows, ApiError(400, str(error)))
        except Exception:
            self._fail(rows, failed())
            raise

    def _cancel(self, engine: Engine, rows: Sequence[_Row]) -> None:
        for row in rows:
            if self._rows.get(row.number) is row:  # an engine that took another's place counts from 0 again
                del self._rows[row.number]
                engine.cancel(row.number)

    def _deliver(self, engine: Engine, tokens: Sequence[Token]) -> None:
        arrived: list[tuple[_Row, Piece]] = []
        for token in tokens:
            row = self._rows.get(token.request)
            if row is None:
                continue
            piece = row.writer.push(token)
            if piece.finish_reason is not None:
                del self._rows[token.request]
                if token.finish is None:  # at a stop text: the engine would go on
                    engine.cancel(token.request)
            arrived.append((row, piece))
        if arrived:
            self._tell(self._hand_over, arrived)

    def _fail(self, rows: Collection[_Row], error: ApiError) -> None:
        """End these texts and all others of their answers."""
        answers = {id(row.answer): row.answer for row in rows}
        self._rows = {number: row for number, row in self._rows.items() if id(row.answer) not in answers}
        if answers:
            self._tell(self._hand_error, [*answers.values()], error)

    def _tell(self, receiver: Callable[..., None], *what: object) -> None:
        """Let the event loop call `receiver`, if it still runs."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(receiver, *what)

    # Back in the event loop:

    def _hand_over(self, arrived: Sequence[tuple[_Row, Piece]]) -> None:
        for row, piece in arrived:
            if piece.finish_reason is not None:
                self._close(row)
            row.answer.arrived.put_nowait((row.place, piece))

    def _hand_error(self, answers: Sequence[Answer], error: ApiError) -> None:
        for answer in answers:
            for row in answer.rows:
                self._close(row)
            answer.arrived.put_nowait(error)
