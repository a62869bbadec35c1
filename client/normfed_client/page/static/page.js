// Shows the overview anew when it is another; without this the page works as well, and is as old as it was loaded.
"use strict";
const EVERY_MS = 30000;
setInterval(async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch("./", { redirect: "error" });
    if (!answer.ok) return;
    const now = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [mine, other] = [document.querySelector("main"), now.querySelector("main")];
    if (mine.innerHTML === other.innerHTML || mine.contains(document.activeElement) && document.activeElement !== mine) return;
    mine.innerHTML = other.innerHTML;
    document.title = now.title;
  } catch { /* the command was ended; the page stays as it was */ }
}, EVERY_MS);
