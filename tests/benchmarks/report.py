"""Tables and a plot of what was measured."""

import html
import json
import re
from pathlib import Path
from typing import Any

from environment import ROOT
from scenarios import MEMORY, SCENARIOS
from servers import SERVERS
from targets import Figures, judge

PAGE = ROOT / "docs" / "performance.md"
FOLDER = ROOT / "docs" / "performance"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def number(value: float) -> str:
    """Return a figure with three digits that mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def by_server(
    found: dict[str, dict[str, Any]],
    titles: dict[str, str],
    cell: Any,
) -> str:
    """Return a table with a line a server and a column a scenario."""
    scenarios = [name for name in titles if name in found]
    servers = [n for n in SERVERS if any(n in found[name] for name in scenarios)]
    rows = []
    for server in servers:
        row = [SERVERS[server].title]
        for name in scenarios:
            result = found[name].get(server)
            row.append("" if result is None else cell(name, result))
        rows.append(row)
    return table(["server", *[titles[name] for name in scenarios]], rows)


def times_cell(figures: Figures) -> Any:
    def cell(name: str, result: dict[str, Any]) -> str:
        raw = figures["times"][name].get("raw")
        text = number(result["cpu_us"])
        return text + (f" ({result['cpu_us'] / raw['cpu_us']:.2f})" if raw else "")

    return cell


def tables(figures: Figures) -> str:
    """Return every table as Markdown."""
    titles = {name: f"{one.title}" for name, one in SCENARIOS.items()}
    parts = []
    if "counts" in figures:
        parts += ["### Instructions a message (user space)\n"]
        cell = lambda name, result: number(result["instructions"])  # noqa: E731
        parts += [by_server(figures["counts"], titles, cell)]
        parts += ["### System calls a message\n"]
        cell = lambda name, result: f"{result['calls']['total']:.3f}"  # noqa: E731
        parts += [by_server(figures["counts"], titles, cell)]
    if "times" in figures:
        parts += [
            "### CPU time a message, in microseconds "
            "(in brackets: relative to the raw echo)\n"
        ]
        parts += [by_server(figures["times"], titles, times_cell(figures))]
    if "memory" in figures:
        parts += ["### Resident memory of an idle connection, in KiB\n"]
        weighed = {name: one.title for name, one in MEMORY.items()}
        cell = lambda name, result: f"{result['rss'] / 1024:.1f}"  # noqa: E731
        parts += [by_server(figures["memory"], weighed, cell)]
    parts += ["### Targets\n", target_table(figures)]
    return "\n".join(parts)


def target_table(figures: Figures) -> str:
    rows = []
    for target, value in judge(figures):
        if value is None:
            continue
        verdict = "yes" if value <= target.limit else "**no**"
        rows.append([target.text, f"{value:.3g}", f"{target.limit:g}", verdict])
    return table(["what", "measured", "at most", "met"], rows)


def origin(figures: Figures) -> str:
    """Return when, where and with which versions the figures were made."""
    meta = figures["meta"]
    versions = ", ".join(f"{name} {v}" for name, v in sorted(meta["versions"].items()))
    compiled = ", ".join(meta["compiled"]) or "none"
    return (
        f"Measured on {meta['date']} on {meta['machine']}, one server process.\n\n"
        f"Versions: {versions}.\n\nCompiled modules: {compiled}.\n"
    )


def write(figures: Figures) -> None:
    """Write the figures, the plot and the page's generated part."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=1, sort_keys=True)
    (FOLDER / "results.json").write_text(text + "\n")
    if "times" in figures:
        (FOLDER / "cpu.svg").write_text(plot(figures["times"]))
    generated = f"{BEGIN}\n\n{origin(figures)}\n{tables(figures)}\n{END}"
    page = PAGE.read_text() if PAGE.exists() else f"{BEGIN}{END}\n"
    pattern = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    PAGE.write_text(pattern.sub(lambda _: generated, page))


# The plot: one panel a scenario, one bar a server, shorter is better.

PLOTTED = ["pingpong64", "batch32", "binary16k", "binary1m", "deflate", "connect"]
WIDTH, PANEL, LABEL, BAR, GAP, TOP = 760, 380, 150, 15, 5, 64
OURS, OTHERS, YARDSTICK = "#2a6fbb", "#b9c0c8", "#8a6d3b"


def plot(times: dict[str, dict[str, Any]]) -> str:
    """Return an SVG of the CPU time a message."""
    shown = [name for name in PLOTTED if name in times]
    panels, left, right = [], TOP, TOP
    for index, name in enumerate(shown):
        x, y = (0, left) if index % 2 == 0 else (PANEL, right)
        panel, height = draw_panel(name, times[name], x, y)
        panels.append(panel)
        if index % 2 == 0:
            left += height
        else:
            right += height
    height = max(left, right)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
            f'height="{height}" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="11">',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            '<text x="12" y="24" font-size="15" font-weight="bold" fill="#222">'
            "CPU time of the server, in microseconds a message</text>",
            '<text x="12" y="42" fill="#555">Shorter is better. '
            "Brown: gevent's TCP echo, without any WebSocket.</text>",
            *panels,
            "</svg>\n",
        ]
    )


def draw_panel(name: str, results: dict[str, Any], x: int, y: int) -> tuple[str, int]:
    servers = sorted(results, key=lambda server: results[server]["cpu_us"])
    most = max(results[server]["cpu_us"] for server in servers)
    room = PANEL - LABEL - 70
    scenario = SCENARIOS[name]
    title = html.escape(f"{scenario.title} (a {scenario.unit})")
    out = [
        f'<text x="{x + 12}" y="{y + 14}" font-weight="bold" fill="#222">{title}</text>'
    ]
    for index, server in enumerate(servers):
        value = results[server]["cpu_us"]
        top = y + 24 + index * (BAR + GAP)
        colour = OURS if server.startswith("ours") else OTHERS
        colour = YARDSTICK if server == "raw" else colour
        length = max(1.0, room * value / most)
        out += [
            f'<text x="{x + LABEL - 6}" y="{top + 11}" text-anchor="end" '
            f'fill="#333">{html.escape(server)}</text>',
            f'<rect x="{x + LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" '
            f'fill="{colour}"/>',
            f'<text x="{x + LABEL + length + 5:.1f}" y="{top + 11}" '
            f'fill="#333">{number(value)}</text>',
        ]
    return "\n".join(out), 24 + len(servers) * (BAR + GAP) + 22


def load(path: Path) -> Figures:
    """Return figures that were kept."""
    return json.loads(path.read_text()) if path.exists() else {}
