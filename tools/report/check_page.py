#!/usr/bin/env python3
"""Opens a report's page in headless Chromium and checks what a reader would see.

    python3 tools/report/check_page.py report/index.html [--screenshots DIR] [--complete]

At 1280 and 390 pixels, light and dark: no message on the console, nothing asked of the network, every figure of every item
drawn with text that stands out from the page, no text of a chart on other text or cut off, no page wider than its window; and the numbers in the
tables are those of the JSON files that the items link to, where a table names them. With --complete an item that the page
says is not there is an error. Exits with 77 where there is no Chromium.
Needs Python alone and Debian's `chromium` or `chromium-headless-shell` (or CHROMIUM=path).
"""

import argparse
import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77
WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")

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
(() => ({
  title: document.title,
  summary: document.querySelector('#summary').innerText,
  items: [...document.querySelectorAll('article')].map(article => ({
    id: article.id,
    absent: article.querySelector('.absent')?.textContent ?? '',
    figures: article.querySelectorAll('figure').length,
    commands: article.querySelectorAll('pre').length,
    files: [...article.querySelectorAll('details a')].map(a => a.getAttribute('href')),
    tables: [...article.querySelectorAll('table')].map(t => [...t.rows].map(r => [...r.cells].map(c => c.textContent)))
  }))
}))()
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
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
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
        height = min(browser.evaluate("document.documentElement.scrollHeight"), 30000)
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        image = browser.call("Page.captureScreenshot", format="png")["data"]
        (screenshots / f"{width}-{scheme}.png").write_bytes(base64.b64decode(image))
    return complaints


def numbers_in(value):
    """Every number of a JSON value."""
    if isinstance(value, bool):
        return
    if isinstance(value, (int, float)):
        yield float(value)
    elif isinstance(value, dict):
        for member in value.values():
            yield from numbers_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from numbers_in(member)


def close_to_any(shown, places, numbers):
    """True when one of the numbers, in one of the units that pages use, rounds to what is shown."""
    tolerance = 0.500001 * 10.0**-places
    return any(abs(abs(shown) - abs(number) * unit) <= tolerance + 1e-9 * abs(shown)
               for number in numbers for unit in (1.0, 100.0, 1e3, 1e6, 1 / 1024))  # fmt: skip


NUMBER = re.compile(r"^[+-]?(\d+)(?:\.(\d+))?( %)?$")

# Columns whose cells are not in the files as they stand: ratios, counts of what the budget holds, ranks.
DERIVED = re.compile(r"times|over|apart|rank|slots in|of one expert|memory|share|^of it|tokens a path|^ms$")


def check_numbers(item, directory):
    """Cells of an item's tables against the JSON beside the page."""
    numbers = []
    for name in item["files"]:
        path = directory / name
        if not path.exists():
            yield f"{item['id']}: {name} is linked to and not there"
            continue
        numbers += sorted(set(numbers_in(json.loads(path.read_text()))))
    checked = 0
    for table in item["tables"]:
        header, rows = table[0], table[1:]
        if any(heading.startswith("ours: ") for heading in header):
            continue
        for row in rows:
            for heading, cell in zip(header, row):
                match = NUMBER.match(cell)
                if not match or DERIVED.search(heading):
                    continue
                checked += 1
                shown = float(match.group(0).replace(" %", ""))
                if not close_to_any(shown, len(match.group(2) or ""), numbers):
                    yield f"{item['id']}: {heading} {cell} ({row[0]}) is in none of {', '.join(item['files'])}"
    item["checked"] = checked


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path, help="write one a width and colour scheme here")
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
        browser.close()
    if not order["numeric"] or order["once"] != order["twice"][::-1]:
        complaints.append(f"a click on a heading does not sort: {order}")
    figures = checked = 0
    for item in content["items"]:
        if item["absent"]:
            print(f"{item['id']} is not there: {item['absent']}")
            if arguments.complete:
                complaints.append(f"{item['id']} is not there")
            continue
        figures += item["figures"]
        if not item["files"] or not item["commands"]:
            complaints.append(f"{item['id']}: neither command nor data")
        complaints += check_numbers(item, page.parent)
        checked += item.get("checked", 0)
    for complaint in complaints:
        print(complaint)
    print(f"{len(content['items'])} items, {figures} figures, {checked} numbers equal to the data's, "
          f"{len(complaints)} complaints")  # fmt: skip
    if checked == 0:
        sys.exit("no number was checked")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
