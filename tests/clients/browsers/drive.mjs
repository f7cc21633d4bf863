// A browser that does what it is told: node drive.mjs chrome|firefox PROGRAM PROFILE DOWNLOADS PAGE
//
// A line of JSON on its input ({client, file, ...wish}) is one visit to the page; the answer is a
// line of JSON on its output.

import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const [kind, executablePath, userDataDir, downloads, page] = process.argv.slice(2);
const quiet = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"],
];
const browser = await puppeteer.launch({
  browser: kind,
  executablePath,
  userDataDir,
  headless: true,
  // The node's CA isn't the browser's.
  acceptInsecureCerts: true,
  args: kind === "chrome" ? quiet : [],
  protocolTimeout: 90_000,
  extraPrefsFirefox: {
    "browser.download.dir": downloads,
    "browser.download.folderList": 2,
    "browser.download.always_ask_before_handling_new_types": false,
    "browser.helperApps.neverAsk.saveToDisk": "application/octet-stream, text/plain",
  },
});
if (kind === "chrome") {
  const session = await browser.target().createCDPSession();
  await session.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: downloads });
}

const visit = async ({ client, file, ...wish }) => {
  const tab = await browser.newPage();
  const complaints = [];
  tab.on("console", (message) => complaints.push(message.text()));
  await tab.goto(page);
  if (file) await (await tab.$("#file")).uploadFile(file);
  const act = (client, wish) => window.clients[client](document.querySelector("#file").files[0], wish);
  const result = await tab.evaluate(act, client, wish);
  // A tab that is closed takes its download with it.
  if (client !== "link") await tab.close();
  return { ...result, complaints };
};

process.stdout.write('"ready"\n');
for await (const line of createInterface(process.stdin)) {
  const answer = await visit(JSON.parse(line)).catch((error) => ({ failed: String(error.stack) }));
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await browser.close();
