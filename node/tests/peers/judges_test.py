#!/usr/bin/env python3
"""That the judges of recorded traffic find what is wrong, and that nothing judged is nothing proved."""

import json
import tempfile
import unittest
from pathlib import Path

from differential_eras import SESSION, Leg, verdict
from wire_schema import judge_record

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
# A log level is a required member.
BAD = {"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": {}}
DISCOVER = {"jsonrpc": "2.0", "id": 1, "method": "server/discover"}


class Judges(unittest.TestCase):
    """Each test is one record, or one run."""

    def setUp(self) -> None:  # noqa: D102
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def record(self, *kept: tuple[str, dict]) -> Path:
        """A record of these messages and their senders."""
        file = self.folder / "session_http.jsonl"
        lines = (json.dumps({"from": sender, "on": "a", "text": json.dumps(said)}) for sender, said in kept)
        file.write_text("".join(f"{line}\n" for line in lines))
        return file

    def leg(self, n_compared: int, n_judged: int) -> Leg:
        """A leg that found no fault."""
        return Leg("2026-07-28", "session", "http", n_compared, n_judged)

    def test_a_valid_message_is_judged(self) -> None:  # noqa: D102
        judged, found = judge_record(SESSION, self.record(("client", PING)))
        self.assertEqual((judged.total(), found), (1, []))

    def test_an_invalid_message_is_complained_of(self) -> None:  # noqa: D102
        judged, found = judge_record(SESSION, self.record(("client", PING), ("client", BAD)))
        self.assertEqual((judged.total(), len(found)), (2, 1))
        self.assertIn("'level' is a required property", found[0])

    def test_a_record_with_nothing_to_judge_fails(self) -> None:  # noqa: D102
        for kept in ([], [("server", PING)], [("client", DISCOVER)]):
            with self.subTest(kept=kept):
                judged, found = judge_record(SESSION, self.record(*kept))
                self.assertEqual((judged.total(), len(found)), (0, 1))
                self.assertIn("session_http.jsonl: nothing was judged", found[0])

    def test_a_record_that_is_not_there_fails(self) -> None:  # noqa: D102
        _, found = judge_record(SESSION, self.folder / "none.jsonl")
        self.assertEqual(len(found), 1)

    def test_a_run_that_compared_and_judged_passes(self) -> None:  # noqa: D102
        self.record(("client", PING))
        self.assertEqual(verdict([self.leg(1, 1)], self.folder), [])

    def test_a_leg_without_messages_fails(self) -> None:  # noqa: D102
        for silent, complaint in ((self.leg(0, 1), "nothing was compared"), (self.leg(1, 0), "nothing was judged")):
            with self.subTest(complaint=complaint):
                problems = verdict([self.leg(1, 1), silent], None)
                self.assertEqual(len(problems), 1)
                self.assertIn(complaint, problems[0])

    def test_a_run_without_legs_or_without_their_records_fails(self) -> None:  # noqa: D102
        self.assertEqual(len(verdict([], None)), 1)
        self.assertEqual(len(verdict([self.leg(1, 1)], self.folder)), 1)


if __name__ == "__main__":
    unittest.main()
