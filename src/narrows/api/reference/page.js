"use strict";
// Without this script the page is whole; it adds the filter, the copy buttons, and the folding menu.
const nav = document.querySelector("nav");
const find = document.getElementById("page-find");
const menu = document.getElementById("page-menu");
const none = document.getElementById("page-none");
const links = new Map();

function filter() {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const section of nav.querySelectorAll("section")) {
    let here = 0;
    for (const row of section.querySelectorAll("li")) {
      row.hidden = !words.every((word) => row.dataset.search.includes(word));
      here += row.hidden ? 0 : 1;
    }
    section.hidden = here === 0;
    shown += here;
  }
  none.hidden = shown > 0;
}

function fold(folded) {
  nav.classList.toggle("folded", folded);
  menu.setAttribute("aria-expanded", String(!folded));
}

find.closest("label").hidden = false;
menu.hidden = false;
fold(true);
find.addEventListener("input", filter);
find.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    find.value = "";
    filter();
    find.blur();
  } else if (event.key === "Enter") {
    const first = nav.querySelector("section:not([hidden]) li:not([hidden]) a");
    if (first) first.click();
  }
});
menu.addEventListener("click", () => fold(!nav.classList.contains("folded")));
nav.addEventListener("click", (event) => {
  if (event.target.closest("li a")) fold(true);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.target.closest("input")) {
    event.preventDefault();
    fold(false);
    find.focus();
  }
});

for (const button of document.querySelectorAll(".copy")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.closest("figure").querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}

for (const link of nav.querySelectorAll("li a")) links.set(link.hash.slice(1), link);
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    for (const link of links.values()) link.removeAttribute("aria-current");
    const link = links.get(entry.target.id);
    if (link) link.setAttribute("aria-current", "location");
  }
}, { rootMargin: "-10% 0px -80% 0px" });
for (const article of document.querySelectorAll("article")) seen.observe(article);
