#!/usr/bin/env node
// Looks at the report and at every kind of page of `lrl ui` in Chromium, with axe-core.
//
//     npm install --prefix DIR puppeteer-core axe-core        (and Debian's chromium)
//     NODE_PATH=DIR/node_modules node tests/real/pages.mjs --lrl target/release/lrl [--screenshots DIR]
//
// A sample lab with hostile names is backed up, changed and drilled. The pages are found by following the links of the first one, and by asking what
// their forms ask: one of each kind with each set of parameters. Each is shown at 360, 1280 and 3840 pixels, light and dark, and once with scripts off.
// A message of the console, a request to anywhere else, a page wider than its window, an answer that is no success, a difference without scripts, or
// a finding of axe is an error. Prints a line for each page; ends with 1 if there is an error.
import { execFileSync, spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";

const require = createRequire(path.join((process.env.NODE_PATH ?? path.resolve("node_modules")).split(":")[0], "x"));
const puppeteer = require("puppeteer-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const option = (name) => process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : undefined;
if (!option("--lrl")) {
    console.error("usage: pages.mjs --lrl PROGRAM [--screenshots DIR]");
    process.exit(2);
}
const lrl = path.resolve(option("--lrl"));
const shots = option("--screenshots") && path.resolve(option("--screenshots"));
const here = path.dirname(new URL(import.meta.url).pathname);
const place = fs.mkdtempSync(path.join(os.tmpdir(), "lrl-pages-"));
const environment = { ...process.env, LRL_STATE_DIR: path.join(place, "state") };
const run = (program, ...words) => execFileSync(program, words, { cwd: place, env: environment, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
const tolerant = (...words) => { try { run(lrl, ...words); } catch (error) { if (![3, 4].includes(error.status)) throw error; } };
let errors = 0;
const complain = (what, text) => { errors += 1; console.log(`  ${what}: ${text}`); };

function makeLab() {
    run("python3", path.join(here, "../../examples/make_lab.py"), "data");
    const odd = path.join(place, "data/assets", '<img src=x onerror=alert(1)>"\'&');
    fs.mkdirSync(odd);
    fs.writeFileSync(path.join(odd, "<script>alert(2).txt"), "words\n<script>alert(3)</script>\n");
    fs.writeFileSync(path.join(odd, "binary"), Buffer.from([0, 255, 1, 2]));
    fs.writeFileSync(path.join(odd, "a-very-long-name-".repeat(12)), "");
    const sql = (text) => run("python3", "-c", "import sqlite3, sys; db = sqlite3.connect('data/lrl.db'); db.executescript(sys.argv[1])", text);
    sql("CREATE TABLE \"<b>odd</b>\"(\"<i>\" PRIMARY KEY, long, data); INSERT INTO \"<b>odd</b>\" VALUES(1, '<script>alert(4)</script>', x'00ff'), (2, hex(zeroblob(2000)), NULL)");
    run(lrl, "backup");
    sql("UPDATE \"<b>odd</b>\" SET long = 'other'; DELETE FROM sessions; CREATE TABLE made(x)");
    fs.rmSync(path.join(odd, "binary"));
    run(lrl, "backup", "--tag", "<u>tag</u>");
    tolerant("drill", "--snapshot", "latest");
    run(lrl, "backup", "--source", "second", "--new-source", "--snapshot-only");
}

const sizes = [[360, 800], [1280, 900], [3840, 2160]];

async function look(browser, url, name, origin) {
    const page = await browser.newPage();
    let log = [];
    page.on("console", (message) => log.push(`console: ${message.text()}`));
    page.on("pageerror", (error) => log.push(`error: ${error.message}`));
    page.on("dialog", (dialog) => { log.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
    page.on("requestfailed", (request) => log.push(`failed: ${request.url()}`));
    page.on("request", (request) => { if (!request.url().startsWith(origin)) log.push(`request: ${request.url()}`); });
    const texts = [];
    for (const scripts of [true, false]) {
        await page.setJavaScriptEnabled(scripts);
        for (const [width, height] of scripts ? sizes : sizes.slice(0, 1)) {
            for (const scheme of scripts ? ["light", "dark"] : ["light"]) {
                const at = `${name} at ${width}, ${scheme}${scripts ? "" : ", scripts off"}`;
                await page.setViewport({ width, height });
                await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
                const answer = await page.goto(url, { waitUntil: "load" });
                if (answer && answer.status() !== 200 && answer.status() !== 0) complain(at, `status ${answer.status()}`);
                log.forEach((line) => complain(at, line));
                log = [];
                const seen = await page.evaluate(() => ({ text: document.body.textContent, wide: document.documentElement.scrollWidth - document.documentElement.clientWidth }));
                if (seen.wide > 0) complain(at, `${seen.wide} pixels wider than the window`);
                texts.push(seen.text);
                if (shots && scripts) await page.screenshot({ path: path.join(shots, `${name.replace(/[^a-z0-9]+/gi, "-")}-${width}-${scheme}.png`) });
                if (!scripts) continue;
                await page.evaluate(axe);
                const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
                found.violations.forEach((one) => complain(at, `axe: ${one.id} (${one.impact}): ${one.help}: ${one.nodes.slice(0, 2).map((node) => node.html.slice(0, 160)).join(" | ")}`));
                log = [];
            }
        }
    }
    // Times that are told as an age move on.
    const plain = (text) => text.replace(/\d+ (s|min)\b/g, "");
    const other = texts.map(plain).find((text, _, all) => text !== all[0]);
    if (other !== undefined) {
        const at = [...other].findIndex((letter, at) => letter !== plain(texts[0])[at]);
        complain(name, `shows something else without scripts, or later: ${other.slice(Math.max(at - 40, 0), at + 40)}`);
    }
    const links = await page.evaluate(() => [...document.querySelectorAll("a[href]")].map((a) => a.href)).catch(() => []);
    await page.close();
    console.log(`${name}: ${texts.length} times`);
    return links;
}

/// A kind of page: its path, and the names of its parameters.
const kind = (url) => { const at = new URL(url); return `${at.pathname}?${[...new Set(at.searchParams.keys())].sort().join("&")}`; };

async function ui(browser) {
    const server = spawn(lrl, ["ui"], { cwd: place, env: environment, stdio: ["ignore", "pipe", "ignore"] });
    try {
        let told = "";
        for await (const bytes of server.stdout) {
            told += bytes;
            if (/http:\S+\s/.test(told)) break;
        }
        const start = told.match(/http:\S+/)[0];
        const origin = new URL(start).origin;
        const first = await browser.newPage();
        await first.goto(start);
        // All pages are below a path of their own, to which the address that was opened leads.
        const base = first.url();
        await first.close();
        const waiting = [base], seen = new Map(), texts = ["search?q=*.txt", "search?q=%3Cimg"];
        texts.forEach((text) => waiting.push(new URL(text, base).href));
        while (waiting.length > 0) {
            const url = waiting.shift();
            const which = kind(url);
            // Two of each kind: a table with odd names among them.
            if (!url.startsWith(base) || /\/(download|open)\?/.test(url) || (seen.get(which) ?? []).length >= 2 || seen.get(which)?.includes(url)) continue;
            // A time at which there was nothing is no success.
            if (/\/at\?/.test(url)) continue;
            seen.set(which, [...(seen.get(which) ?? []), url]);
            const links = await look(browser, url, `ui /${decodeURIComponent(url.slice(base.length)).slice(0, 70)}`, origin);
            // Odd names first.
            links.sort((a, b) => b.includes("%3C") - a.includes("%3C")).forEach((link) => waiting.push(link.split("#")[0]));
        }
        console.log(`kinds of pages: ${[...seen.keys()].join(", ")}`);
    } finally {
        server.kill("SIGINT");
    }
}

async function reports(browser) {
    const made = { report: ["report", "--out", "report.html"], redacted: ["report", "--redact", "--out", "redacted.html"],
        late: ["report", "--max-age", "1s", "--out", "late.html"], fleet: ["report", "--store", path.join(place, "backups/*"), "--out", "fleet.html"] };
    for (const [name, words] of Object.entries(made)) {
        tolerant(...words);
        await look(browser, `file://${place}/${words.at(-1)}`, `report (${name})`, "file://");
    }
    try { run(lrl, "report", "--store", "nowhere", "--out", "broken.html"); } catch { /* its exit code is the failure's */ }
    await look(browser, `file://${place}/broken.html`, "report (no store)", "file://");
}

makeLab();
if (shots) fs.mkdirSync(shots, { recursive: true });
const browser = await puppeteer.launch({ executablePath: ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find((it) => fs.existsSync(it)), headless: true,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"] });
try {
    await reports(browser);
    await ui(browser);
} finally {
    await browser.close();
    fs.rmSync(place, { recursive: true, force: true });
}
console.log(errors === 0 ? "no errors" : `${errors} errors`);
process.exit(errors === 0 ? 0 : 1);
