#!/usr/bin/env python3
"""Opens a report's page in headless Chromium and checks what a reader would see.

    python3 tools/report/check_page.py report/index.html [--screenshots DIR] [--complete]

At 1280 and 390 pixels, light and dark: no message on the console, nothing asked of the network, every figure of every item
drawn with text that stands out from the page, no text of a chart on other text or cut off, no page wider than its window;
every cell of the items' tables, those with the paper's numbers too, every mark of their line charts and every bar is what
page_values.py makes of the JSON files that they link to. Sentences are not held against anything. With --complete an item
that the page says is not there is an error. Exits with 77 where there is no Chromium.
Needs Python alone and Debian's `chromium` or `chromium-headless-shell` (or CHROMIUM=path).
"""

import argparse
import base64
import csv
import io
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import page_values

SKIPPED = 77
WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
SHEET = 8000  # pixels of a screenshot, which Chromium does not draw at any height

# Run in the page; returns a list of complaints.
LOOK = r"""
(() => {
  const complaints = [];
  const shown = element => element.getClientRects().length > 0 && getComputedStyle(element).display !== 'none';
  if (document.documentElement.scrollWidth > innerWidth) {
    const wide = [...document.body.querySelectorAll('*')].filter(e => shown(e) && !e.closest('.scroll') &&
      e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + ' ' + e.textContent.slice(0, 30));
    complaints.push(`the page is ${document.documentElement.scrollWidth} wide: ${wide.slice(0, 3).join(' | ')}`);
  }
  for (const article of document.querySelectorAll('article')) {
    if (article.querySelector('.absent')) continue;
    const figures = [...article.querySelectorAll('figure')];
    if (figures.length === 0) complaints.push(`${article.id}: no figure`);
    for (const figure of figures) {
      const drawn = [...figure.querySelectorAll(':scope > svg')].filter(shown);
      if (drawn.length !== 1) { complaints.push(`${article.id}: ${drawn.length} charts are shown at once`); continue; }
      const svg = drawn[0], frame = svg.getBoundingClientRect();
      if (frame.width < 200 || frame.height < 80) complaints.push(`${article.id}: a chart of ${frame.width} x ${frame.height}`);
      if (!svg.querySelector('path, polygon, rect')) complaints.push(`${article.id}: nothing is drawn`);
      const texts = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim() !== '' && shown(t));
      if (texts.length < 3) complaints.push(`${article.id}: a chart with ${texts.length} texts`);
      const size = texts.length ? parseFloat(getComputedStyle(texts[0]).fontSize) * frame.width / svg.viewBox.baseVal.width : 0;
      if (texts.length && size < 7) complaints.push(`${article.id}: text of ${size.toFixed(1)} pixels`);
      const light = colour => {
        const [r, g, b] = colour.match(/[\d.]+/g).map(Number).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const paper = light(getComputedStyle(document.body).backgroundColor);
      for (const text of texts) {
        const ink = light(getComputedStyle(text).fill), contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        if (contrast < 4.5) complaints.push(`${article.id}: "${text.textContent.trim()}" has a contrast of ${contrast.toFixed(1)}`);
      }
      const boxes = texts.map(t => {
        // Turned text has a box larger than its letters: its corners are compared instead of the upright box.
        const b = t.getBBox(), m = t.getScreenCTM();
        const corner = (x, y) => ({x: m.a * x + m.c * y + m.e, y: m.b * x + m.d * y + m.f});
        const inset = 0.15 * b.height;
        return {text: t.textContent.trim(), corners: [corner(b.x, b.y + inset), corner(b.x + b.width, b.y + inset),
          corner(b.x + b.width, b.y + b.height - inset), corner(b.x, b.y + b.height - inset)]};
      });
      for (const box of boxes) {
        const out = box.corners.some(c => c.x < frame.left - 1 || c.x > frame.right + 1 || c.y < frame.top - 1 || c.y > frame.bottom + 1);
        if (out) complaints.push(`${article.id}: "${box.text}" is cut off`);
      }
      const apart = (a, b) => [a, b].some(p => p.corners.some((corner, i) => {
        const next = p.corners[(i + 1) % 4], nx = corner.y - next.y, ny = next.x - corner.x;
        const range = q => { const d = q.corners.map(c => c.x * nx + c.y * ny); return [Math.min(...d), Math.max(...d)]; };
        const [a0, a1] = range(a), [b0, b1] = range(b);
        return a1 <= b0 + 1e-6 || b1 <= a0 + 1e-6;
      }));
      for (let i = 0; i < boxes.length; ++i) for (let j = 0; j < i; ++j) {
        if (!apart(boxes[i], boxes[j])) complaints.push(`${article.id}: "${boxes[i].text}" lies on "${boxes[j].text}"`);
      }
    }
  }
  return complaints;
})()
"""

# Items, their tables' cells and the files they link to.
READ = r"""
(() => {
  // Where a chart's ticks, axes and marks stand, in its own units.
  const chart = svg => {
    const numbers = text => (text.match(/-?\d+(\.\d+)?/g) ?? []).map(Number);
    const ticks = {x: [], y: []};
    for (const label of svg.querySelectorAll('path + .label')) {
      const [x0, y0, x1, y1] = numbers(label.previousElementSibling.getAttribute('d'));
      if (x0 === x1) ticks.x.push([x0, label.textContent.trim()]);
      else if (y0 === y1) ticks.y.push([y0, label.textContent.trim()]);
    }
    const border = [...svg.querySelectorAll('.plain > path')].map(path => numbers(path.getAttribute('d')))
      .find(d => d.length >= 6 && d[0] === d[2] && d[3] === d[5] && d[4] > d[0]) ?? [0, 0, 0, 0, 0, 0];
    const series = [...svg.querySelectorAll('g[id*="gnuplot_plot_"]')].map(group =>
      [...group.querySelectorAll('use')].map(mark => numbers(mark.getAttribute('transform'))).filter(mark => mark[2] > 0).map(mark => mark.slice(0, 2))
        .filter(([x, y]) => x >= border[0] - 1 && x <= border[4] + 1 && y >= border[1] - 1 && y <= border[3] + 1));
    // Boxes above the axes are the legend's.
    const bars = [...svg.querySelectorAll('g[id*="gnuplot_plot_"] polygon')].map(polygon => {
      const at = numbers(polygon.getAttribute('points')), x = at.filter((_, i) => i % 2 === 0), y = at.filter((_, i) => i % 2 === 1);
      return {left: Math.min(...x), bottom: Math.max(...y), top: Math.min(...y)};
    }).filter(bar => bar.left >= border[0] - 1 && bar.top >= border[1] - 1);
    return {id: svg.querySelector('[id$="gnuplot_canvas"]').id.replace('-gnuplot_canvas', ''), ticks, bars,
      series: series.filter(points => points.length > 0)};
  };
  return {
  title: document.title,
  summary: [...document.querySelectorAll('#summary table')].map(t => [...t.rows].map(r => [...r.cells].map(c => c.textContent))),
  items: [...document.querySelectorAll('article')].map(article => ({
    id: article.id,
    absent: article.querySelector('.absent')?.textContent ?? '',
    figures: article.querySelectorAll('figure').length,
    commands: article.querySelectorAll('pre').length,
    files: [...article.querySelectorAll('details a')].map(a => a.getAttribute('href')),
    charts: [...article.querySelectorAll('svg.wide')].map(chart),
    tables: [...article.querySelectorAll('table')].map(t => [...t.rows].map(r => [...r.cells].map(c => c.textContent)))
  }))};
})()
"""

SORT = r"""
(() => {
  const table = [...document.querySelectorAll('table.data')].find(t => t.tBodies[0].rows.length > 2);
  const column = [...table.tHead.rows[0].cells].findIndex((_, i) =>
    [...table.tBodies[0].rows].every(r => r.cells[i].classList.contains('number')));
  const at = Math.max(column, 0), values = () => [...table.tBodies[0].rows].map(r => r.cells[at].textContent);
  table.tHead.rows[0].cells[at].click();
  const once = values();
  table.tHead.rows[0].cells[at].click();
  return {numeric: column >= 0, once, twice: values()};
})()
"""


# What the first table's button puts on the clipboard, and the table.
COPY = r"""
(async () => {
  let copied = '';
  Object.defineProperty(navigator, 'clipboard', {value: {writeText: async text => { copied = text; }}});
  const table = document.querySelector('table.data');
  table.parentElement.nextElementSibling.click();
  await new Promise(done => setTimeout(done, 0));
  return {copied, cells: [...table.rows].map(row => [...row.cells].map(cell => cell.textContent))};
})()
"""


def find_chromium():
    named = os.environ.get("CHROMIUM")
    candidates = [named] if named else ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"]
    return next((found for found in map(shutil.which, candidates) if found), None)


class Browser:
    """Headless Chromium, spoken to over a pipe in the DevTools protocol."""

    def __init__(self, program, profile):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()

        def put_in_place():
            os.dup2(to_browser, 103)
            os.dup2(from_browser, 104)
            os.dup2(103, 3)
            os.dup2(104, 4)

        self._process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
             "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=put_in_place, pass_fds=(3, 4), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._number = 0
        self._session = None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _message(self):
        while b"\0" not in self._buffer:
            piece = os.read(self._read, 1 << 20)
            if not piece:
                raise RuntimeError("Chromium went away")
            self._buffer += piece
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        os.write(self._write, json.dumps(request).encode() + b"\0")
        while True:
            message = self._message()
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def wait_for(self, event):
        while not any(message.get("method") == event for message in self.events):
            self.events.append(self._message())

    def evaluate(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"]["value"]

    def close(self):
        self.call("Browser.close")
        self._process.wait(timeout=30)


def console_messages(events):
    for event in events:
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            yield parameters["exceptionDetails"]["text"]
        elif event.get("method") == "Runtime.consoleAPICalled":
            yield " ".join(str(value.get("value")) for value in parameters["args"])
        elif event.get("method") == "Log.entryAdded":
            yield parameters["entry"]["text"]


def requests(events):
    return [event["params"]["request"]["url"] for event in events if event.get("method") == "Network.requestWillBeSent"]


def look(browser, page, width, scheme, screenshots):
    browser.events.clear()
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Page.navigate", url=page.as_uri())
    browser.wait_for("Page.loadEventFired")
    complaints = [f"console: {message}" for message in console_messages(browser.events)]
    complaints += [f"asks for {url}" for url in requests(browser.events) if not url.startswith(("file:", "data:"))]
    complaints += browser.evaluate(LOOK)
    if screenshots:
        height = browser.evaluate("document.documentElement.scrollHeight")
        for number, top in enumerate(range(0, height, SHEET), 1):
            clip = {"x": 0, "y": top, "width": width, "height": min(SHEET, height - top), "scale": 1}
            image = browser.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
            (screenshots / f"{width}-{scheme}-{number}.png").write_bytes(base64.b64decode(image))
    return complaints


NUMBER = re.compile(r"^([+-]?\d+(?:\.(\d+))?)(?: %|x)?$")


def differs(shown, expected):
    """Why a cell of the page is not what the data say; None where it is."""
    if isinstance(expected, str):
        return None if shown == expected else f"is {shown!r}, the data say {expected!r}"
    if isinstance(expected, tuple):
        parts = shown.split(" to ")
        if len(parts) != len(expected):
            return f"is {shown!r}, the data say {' to '.join(f'{value:.6g}' for value in expected)}"
        return next((why for why in map(differs, parts, expected) if why), None)
    match = NUMBER.match(shown)
    if not match:
        return f"is {shown!r}, the data say {expected:.6g}"
    tolerance = 0.5 * 10.0 ** -len(match.group(2) or "") * (1 + 1e-9) + 1e-9 * abs(expected)
    return None if abs(float(match.group(1)) - expected) <= tolerance else f"is {shown}, the data say {expected:.9g}"


def data_directory(items, page):
    """Where the items' links lead."""
    links = [name for item in items for name in item["files"]]
    if not links:
        sys.exit("no item links to its data")
    return (page.parent / links[0]).resolve().parent


def check_rows(table, rows):
    """A table's rows, as shown below its header, against those that the data make."""
    header, body = table[0], table[1:]
    if len(body) != len(rows):
        yield f"{len(body)} rows of {header[0]!r}, the data make {len(rows)}"
    for number, (row, values) in enumerate(zip(body, rows), 1):
        if len(row) != len(values):
            yield f"row {number} has {len(row)} cells, the data make {len(values)}"
        for heading, cell, value in zip(header, row, values):
            why = differs(cell, value)
            if why:
                yield f"row {number} ({row[0]}), {heading!r} {why}"


def check_summary(tables, data):
    """The gains above the items; where there are none, neither are their measurements."""
    for table in tables:
        if table[0][0] == "on the CPU":
            yield from (f"summary: {complaint}" for complaint in check_rows(table, page_values.gains(data)))


def check_tables(item, data):
    """Each cell of an item's tables against what the JSON beside the page says it is."""
    for name in item["files"]:
        if not (data.directory / name.rsplit("/", 1)[-1]).exists():
            yield f"{item['id']}: {name} is linked to and not there"
    shown = item["tables"]
    compared = page_values.COMPARISONS.get(item["id"], lambda _: [])(data)
    expected = ([compared] if compared else []) + page_values.TABLES[item["id"]](data)
    if len(shown) != len(expected):
        yield f"{item['id']}: {len(shown)} tables, the data make {len(expected)}"
    item["checked"] = 0
    for table, rows in zip(shown, expected):
        item["checked"] += sum(map(len, rows))
        yield from (f"{item['id']}: {complaint}" for complaint in check_rows(table, rows))


def tick_value(text):
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    return float(text[:-1]) * units[text[-1]] if text[-1] in units else float(text)


def place_on(ticks, value, logarithmic):
    """Where on an axis with these ticks a value stands."""
    named = [at for at, text in ticks if not re.match(r"[-+\d]", text)]
    if logarithmic and value <= 0:
        return named[0] if named else math.nan
    known = sorted((tick_value(text), at) for at, text in ticks if re.match(r"[-+\d]", text))
    if len(known) < 2:
        return math.nan
    (a, at_a), (b, at_b) = known[0], known[-1]
    scale = math.log if logarithmic else float
    return at_a + (at_b - at_a) * (scale(value) - scale(a)) / (scale(b) - scale(a))


LEAST_BAR = 0.5  # units of a chart: what is lower cannot be told from nothing


def check_bars(chart, groups):
    """Each bar of a chart; the complaints."""
    def height(value):
        return place_on(chart["ticks"]["y"], value, False)

    expected = [(height(bottom), height(top)) for group in groups for bottom, top in group]
    expected = [bar for bar in expected if abs(bar[0] - bar[1]) >= LEAST_BAR]
    drawn = sorted(chart["bars"], key=lambda bar: (bar["left"], -bar["bottom"]))
    drawn = [(bar["bottom"], bar["top"]) for bar in drawn if bar["bottom"] - bar["top"] >= LEAST_BAR]
    if len(drawn) != len(expected):
        yield f"{chart['id']}: draws {len(drawn)} bars, the data have {len(expected)}"
        return
    for number, (bar, wanted) in enumerate(zip(drawn, expected), 1):
        if not all(abs(a - b) <= 0.7 for a, b in zip(bar, wanted)):
            yield (f"{chart['id']}: bar {number} goes from {bar[0]} to {bar[1]}, that of the data from {wanted[0]:.2f} to "
                   f"{wanted[1]:.2f}")  # fmt: skip


def check_charts(item, data):
    """Each mark of an item's line charts and each bar against the values that the data have for it."""
    expected = page_values.plots(data)
    bars = page_values.bars(data)
    checked = 0
    for chart in item["charts"]:
        if chart["id"] in bars:
            checked += len(chart["bars"])
            yield from check_bars(chart, bars[chart["id"]]())
        if chart["id"] not in expected:
            continue
        lines = [[point for point in line if all(map(math.isfinite, point))] for line in expected[chart["id"]]()]
        lines = [line for line in lines if line]
        if [len(line) for line in lines] != [len(series) for series in chart["series"]]:
            yield (f"{chart['id']}: draws {[len(series) for series in chart['series']]} points, the data have "
                   f"{[len(line) for line in lines]}")  # fmt: skip
            continue
        for number, (line, series) in enumerate(zip(lines, chart["series"]), 1):
            for (x, y), (drawn_x, drawn_y) in zip(line, series):
                checked += 1
                at_x = place_on(chart["ticks"]["x"], x, chart["id"] in page_values.LOGARITHMIC_X)
                at_y = place_on(chart["ticks"]["y"], y, chart["id"] in page_values.LOGARITHMIC_Y)
                if not (abs(at_x - drawn_x) <= 0.7 and abs(at_y - drawn_y) <= 0.7):
                    yield (f"{chart['id']}: series {number} has a mark at {drawn_x}, {drawn_y}; ({x:.6g}, {y:.6g}) of the data "
                           f"stands at {at_x:.2f}, {at_y:.2f}")  # fmt: skip
    item["marks"] = checked


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path, help="write the whole page here, in sheets, for each width and colour scheme")
    parser.add_argument("--complete", action="store_true", help="an item that is not there is an error")
    arguments = parser.parse_args()
    program = find_chromium()
    if program is None:
        print("SKIPPED: the page was not looked at, for want of Chromium (Debian: chromium-headless-shell)")
        sys.exit(SKIPPED)
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    page = arguments.page.resolve()
    complaints = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.call(f"{domain}.enable")
        for width in WIDTHS:
            for scheme in SCHEMES:
                found = look(browser, page, width, scheme, arguments.screenshots)
                complaints += [f"{width} {scheme}: {complaint}" for complaint in found]
        content = browser.evaluate(READ)
        order = browser.evaluate(SORT)
        copy = browser.evaluate(COPY)
        browser.close()
    if not order["numeric"] or order["once"] != order["twice"][::-1]:
        complaints.append(f"a click on a heading does not sort: {order}")
    if list(csv.reader(io.StringIO(copy["copied"]))) != copy["cells"]:
        complaints.append(f"the button does not copy the table as CSV: {copy['copied']!r}")
    figures = checked = marks = 0
    data = page_values.Data(data_directory(content["items"], page))
    complaints += check_summary(content["summary"], data)
    for item in content["items"]:
        if item["absent"]:
            print(f"{item['id']} is not there: {item['absent']}")
            if arguments.complete:
                complaints.append(f"{item['id']} is not there")
            continue
        figures += item["figures"]
        if not item["files"] or not item["commands"]:
            complaints.append(f"{item['id']}: neither command nor data")
        complaints += check_tables(item, data)
        complaints += check_charts(item, data)
        marks += item["marks"]
        checked += item.get("checked", 0)
    for complaint in complaints:
        print(complaint)
    print(f"{len(content['items'])} items, {figures} figures, {checked} cells and {marks} marks and bars held against the data, "
          f"{len(complaints)} complaints")  # fmt: skip
    if checked == 0:
        sys.exit("no cell was checked")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
