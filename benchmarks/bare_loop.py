"""The yardstick of the calendar engine: a bare SimPy loop of the same trial, and nothing else.

Arrivals, a gate for cohorts of three, 28-day windows and a 3+3 decision read from a table. It has no
protocol, no truth model, no keyed random numbers, no stagger, review, drop-out, replacement or records.
"""

from __future__ import annotations

import random

import simpy

TABLE = {(3, 0): "up", (3, 1): "more", (6, 0): "up", (6, 1): "up"}


def one_trial(rng: random.Random, truth: list[float], mean_gap: float = 14.0, window: float = 28.0) -> int | None:
    """The selected level of one 3+3 trial without de-escalation, counted from 0, None for none."""
    env = simpy.Environment()
    n, dlt = [0] * len(truth), [0] * len(truth)
    state = {"level": 0, "open": 3, "waiting": 0, "done": None}
    queue: list[simpy.Event] = []
    finished = env.event()

    def participant(level: int):  # type: ignore[no-untyped-def]
        toxic = rng.random() <= truth[level]
        yield env.timeout(rng.uniform(0, window) if toxic else window)
        n[level] += 1
        dlt[level] += toxic
        state["waiting"] -= 1
        if state["waiting"] == 0 and state["open"] == 0:
            decide(level)

    def decide(level: int) -> None:
        answer = TABLE.get((n[level], dlt[level]), "stop")
        if answer == "stop":
            state["done"] = level - 1
        elif answer == "up" and level + 1 == len(truth):
            state["done"] = level
        else:
            state["level"] = level + (answer == "up")
            state["open"] = 3
            for event in queue:
                event.succeed()
            queue.clear()
            return
        finished.succeed()

    def arrival():  # type: ignore[no-untyped-def]
        while state["open"] == 0:
            gate = env.event()
            queue.append(gate)
            yield gate
        state["open"] -= 1
        state["waiting"] += 1
        yield env.process(participant(state["level"]))

    def arrivals():  # type: ignore[no-untyped-def]
        while True:
            yield env.timeout(rng.expovariate(1 / mean_gap))
            env.process(arrival())

    env.process(arrivals())
    env.run(until=finished)
    done = state["done"]
    return done if done is not None and done >= 0 else None
