from __future__ import annotations

from cmrsynth.timing import in_turns


def test_contestants_take_turns_and_are_waited_for() -> None:
    order: list[str] = []
    work = {name: (lambda name=name: order.append(name)) for name in "ab"}
    seconds = in_turns(work, range(3), warm_up=1, finish=lambda: order.append("."))
    assert order == ["a", ".", "b", "."] * 3
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 2, "b": 2}
    assert min(seconds["a"]) >= 0
