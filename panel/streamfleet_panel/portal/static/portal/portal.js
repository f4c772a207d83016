// What is more comfortable with scripts; every page works without this file.
"use strict";

(() => {
  const live = document.getElementById("live");
  const say = (words) => {
    live.textContent = "";
    window.setTimeout(() => { live.textContent = words; }, 50);
  };

  // Copy buttons beside values that are pasted into encoders and players.
  for (const element of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) break;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "slim";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${element.dataset.copy}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(element.textContent.trim());
        button.textContent = "Copied";
        say(`${element.dataset.copy} copied`);
      } catch {
        button.textContent = "Not allowed";
        say("The browser does not allow copying");
      }
      window.setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    element.after(button);
  }

  // A state that is about to change is asked for again, until it has settled or ten minutes are over.
  const watched = document.querySelector("[data-status-url]");
  if (watched) {
    let left = 200;
    const ask = async () => {
      left -= 1;
      try {
        const answer = await fetch(watched.dataset.statusUrl, { headers: { Accept: "application/json" }, redirect: "error" });
        if (answer.ok) {
          const status = await answer.json();
          const badge = watched.querySelector(".badge");
          if (badge.textContent.trim() !== status.words) say(`${status.words} ${status.why}`);
          badge.className = `badge ${status.look}`;
          badge.textContent = status.words;
          watched.querySelector(".why").textContent = status.why;
          watched.dataset.settled = status.settled ? "yes" : "no";
        }
      } catch {
        // The panel is restarting or out of reach; the next question may be answered.
      }
      if (watched.dataset.settled !== "yes" && left > 0) window.setTimeout(ask, 3000);
    };
    if (watched.dataset.settled !== "yes") window.setTimeout(ask, 1500);
  }
})();
