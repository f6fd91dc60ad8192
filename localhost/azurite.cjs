// Runs Azurite for as long as somebody holds the other end of standard input: when the parent ends,
// even by SIGKILL, the pipe closes and Azurite shuts down in order, which writes its data to disk.
"use strict";

const LONGEST_SHUTDOWN_MS = 5000;

// A parent that is gone reads no output either; a failed write must not stop the shutdown.
process.stdout.on("error", () => {});
process.stderr.on("error", () => {});
process.stdin.on("close", () => {
  setTimeout(() => process.exit(1), LONGEST_SHUTDOWN_MS).unref();
  process.kill(process.pid, "SIGTERM");
});
process.stdin.resume();

require("azurite/dist/src/azurite.js");
