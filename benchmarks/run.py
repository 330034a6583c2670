"""Speed and memory of the engines, measured side by side in one run: ``python -m benchmarks.run``.

Figures depend on the machine; ratios within a run are what to compare. Peer times come from
``peers.json`` and were measured elsewhere, so their ratios are orders of magnitude only.
"""

from __future__ import annotations

import json
import platform
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.bare_loop import one_trial
from escalation import __version__
from escalation.calendar import CalendarEngine
from escalation.exact import Graph, compile_graph
from escalation.sampled import sample
from escalation.study import Study, load
from escalation.verify import verify

PEERS = json.loads((Path(__file__).parent / "peers.json").read_text(encoding="utf-8"))["wall_s_median"]


def best(work: Callable[[], object], times: int = 5) -> float:
    """Shortest wall time of several runs, in seconds."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def row(what: str, figure: str, remark: str = "") -> None:
    print(f"| {what} | {figure} | {remark} |")


def compiled(what: str, study: Study) -> Graph:
    rule = study.protocol.rule
    graph = compile_graph(rule)
    seconds = best(lambda: compile_graph(rule), 3)
    truth = study.truth(study.scenarios[0]).probability
    graph.probabilities(truth)
    again = best(lambda: graph.probabilities(truth) @ graph.selected, 20)
    row(f"exact, {what}: compile", f"{seconds * 1e3:.1f} ms", f"{graph.rows:,} terminal rows, {graph.states:,} states")
    row(f"exact, {what}: one further scenario", f"{again * 1e3:.2f} ms")
    return graph


def exact() -> None:
    textbook = load("textbook-5-doses")
    graph = compiled("3+3, 5 doses", textbook)
    truths = np.sort(np.random.default_rng(1).uniform(0, 0.7, (1000, 5)), axis=1)
    row(
        "exact, 3+3, 5 doses: a thousand scenarios in one call",
        f"{best(lambda: graph.probabilities(truths)) * 1e3:.1f} ms",
    )
    boin = compiled("BOIN, 5 doses, N=30", load("textbook-5-doses", design="boin"))
    for name in ("keyboard", "mtpi2", "i3plus3"):
        study = load("textbook-5-doses", design=name)
        compiled(f"{study.protocol.rule.design.title}, 5 doses, N=30", study)
    compiled("power CRM, 5 doses, N=30", load("textbook-5-doses", design="crm"))
    compiled("BLRM with overdose control, 5 doses, N=30", load("textbook-5-doses", design="blrm"))
    compiled("3+3 dose then frequency, 5x3 grid", load("nct05672420"))
    overrides = ["protocol.max_patients=30", "protocol.expansion=null"]
    compiled("BOIN-combination, 5x3 grid, N=30", load("nct05672420", design="boin_combination", overrides=overrides))
    row("BOIN get.oc of R, 10,000 trials of one scenario", f"{PEERS['boin_get_oc']:.1f} s", "peer figure, Monte Carlo")
    truth = textbook.truth(textbook.scenarios[0]).probability
    rule = load("textbook-5-doses", design="boin").protocol.rule
    seconds = best(lambda: sample(rule, truth, 1, 0, 10_000), 3)
    row(
        "sampled, BOIN, 10,000 trials",
        f"{seconds:.2f} s",
        f"R takes {PEERS['boin_get_oc'] / seconds:.0f} times as long",
    )
    proof = best(lambda: verify(boin.rule), 1)
    row("safety proof, BOIN, every reachable state", f"{proof:.2f} s", f"{verify(boin.rule).states:,} decision states")


GRID = (
    ("boin_combination", 60, 3, "boin_get_oc_comb", 1000),
    ("keyboard_combination", 60, 3, "kb_get_oc_comb", 200),
    ("waterfall", 60, 3, None, None),
    ("ivanova_wang", 60, 3, None, None),
    ("pipe", 30, 3, "pipe_sim", 50),
    ("pocrm", 30, 1, "pocrm_sim", 100),
    ("blrm_combination", 30, 3, None, None),
    ("surface_free", 30, 3, None, None),
)
"""Design, participants, cohort size, and the peer's figure with its number of trials; the sizes are the peers'."""


def grid() -> None:
    """Designs on five doses by three frequencies, 10,000 trials of one scenario."""
    base = load("nct05672420")
    truth = base.truth(base.scenario("s1")).probability
    for name, size, cohort, peer, peer_trials in GRID:
        overrides = [f"protocol.max_patients={size}", f"protocol.cohort_size={cohort}", "protocol.expansion=null"]
        rule = load("nct05672420", design=name, overrides=overrides).protocol.rule
        seconds = best(lambda rule=rule: sample(rule, truth, 1, 0, 10_000), 1)
        remark = ""
        if peer is not None:
            times = PEERS[peer] * 10_000 / peer_trials / seconds
            remark = f"R, scaled up from {peer_trials:,} trials, takes {times:,.1f} times as long"
        row(f"sampled, {rule.design.title}, 5x3 grid, N={size}, 10,000 trials", f"{seconds:.2f} s", remark)


def calendar() -> None:
    trials = 3000
    study = load("textbook-5-doses")
    truth = study.truth(study.scenarios[0])
    engine = CalendarEngine(study.protocol, study.scenarios[0], truth)
    engine.run(1, 0, 200)
    rng, probabilities = random.Random(1), truth.probability.tolist()
    bare = trials / best(lambda: [one_trial(rng, probabilities) for _ in range(trials)], 3)
    ours = trials / best(lambda: engine.run(1, 0, trials), 3)
    row("bare SimPy loop, 3+3, 5 doses", f"{bare:,.0f} trials/s", "one core")
    row("calendar engine, the same trial", f"{ours:,.0f} trials/s", f"{ours / bare:.2f} times the bare loop")
    preset = load("nct07212335")
    scenario = preset.scenarios[0]
    engine = CalendarEngine(preset.protocol, scenario, preset.truth(scenario))
    engine.run(1, 0, 200)
    seconds = best(lambda: engine.run(1, 0, 10_000), 1)
    row(
        "calendar engine, NCT07212335, 10,000 trials", f"{seconds:.1f} s", f"{10_000 / seconds:,.0f} trials/s, one core"
    )
    for name, options in (
        ("TITE-CRM", {"design": "tite_crm"}),
        ("TITE-CRM, cohorts of one", {"design": "tite_crm", "overrides": ["protocol.cohort_size=1"]}),
        ("TITE-BOIN", {"design": "tite_boin"}),
        ("rolling six", {"design": "rolling_six"}),
    ):
        study = load("textbook-5-doses", **options)
        late = CalendarEngine(study.protocol, study.scenarios[0], study.truth(study.scenarios[0]))
        late.run(1, 0, 20)
        seconds = best(lambda late=late: late.run(1, 0, 300), 2)
        row(f"calendar engine, {name}, 5 doses, N=30", f"{300 / seconds:,.0f} trials/s", "one core, windows open")
    for trials in (2_000, 8_000):
        tracemalloc.start()
        engine.run(1, 0, trials)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        row(
            f"calendar engine, peak memory of {trials:,} trials",
            f"{peak / 2**20:.1f} MiB",
            f"{peak / trials:.0f} bytes a trial",
        )


def start_up() -> None:
    command = [sys.executable, "-m", "escalation.cli", "--help"]
    row("escalation --help", f"{best(lambda: subprocess.run(command, check=True, capture_output=True)) * 1e3:.0f} ms")


def main() -> None:
    print(f"escalation {__version__}, Python {platform.python_version()}, numpy {np.__version__}\n")
    print("| what | figure | remark |\n|---|---|---|")
    exact()
    grid()
    calendar()
    start_up()


if __name__ == "__main__":
    main()
